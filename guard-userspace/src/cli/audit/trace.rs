//! `guard audit trace`.

use std::ops::ControlFlow;

use guard_common::abi::Reason;
use guard_userspace::audit::filter::Filter;
use guard_userspace::audit::read::{Cursor, Entry, search};

use super::super::{Ending, term};
use super::Where;
use super::row::{other, outcome};

#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code 1 if nothing is known of it.")]
pub(crate) struct Args {
    #[command(flatten)]
    place: Where,
    /// A session's UUID or how it begins, or a W3C trace id
    id: String,
    /// Print the records as they stand in the log, one JSON object a line
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        let filter = Filter { session: Some(self.id.clone()), ..Filter::default() };
        let mut timeline = Timeline::default();
        let mut failed = None;
        search(&self.place.dir, &filter, &mut Cursor::default(), |entry, line| {
            let text = if self.json {
                format!("{}\n", String::from_utf8_lossy(line))
            } else {
                timeline.row(entry, line)
            };
            timeline.rows += 1;
            match term::print(&text) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        if timeline.rows == 0 {
            eprintln!("no record of `{}`", self.id);
            return Ok(Ending::Finding);
        }
        if !self.json {
            term::print(&timeline.end())?;
        }
        Ok(Ending::Fine)
    }
}

/// One session, from its first record on.
#[derive(Default)]
struct Timeline {
    rows: u64,
    start: u64,
    session: String,
    blocked: u64,
    allowed: u64,
}

impl Timeline {
    fn row(&mut self, entry: &Entry<'_>, line: &[u8]) -> String {
        let mut text = String::new();
        if entry.session != self.session {
            text.push_str(&heading(entry));
            self.session = entry.session.clone().into_owned();
            self.start = entry.boottime;
        }
        let since = entry.boottime.saturating_sub(self.start);
        let clock = format!("{:>6}.{:03}s", since / 1_000_000_000, since / 1_000_000 % 1000);
        if !entry.is_decision() {
            let what = other(entry, line).replace('\n', &format!("\n{:13}", ""));
            text.push_str(&format!("{clock}  {what}\n"));
            return text;
        }
        let is_held = entry.reason_code == Reason::Held.name();
        let mut outcome = outcome(entry).map_or(String::new(), |came| format!(" ({came})"));
        // A held call has not ended: the record of its answer, or the next of the same call, says how it did.
        if is_held {
            outcome = "waits for an answer".to_owned();
        } else if entry.errno == 0 {
            self.allowed += 1;
            outcome.insert_str(0, "went on");
        } else {
            self.blocked += 1;
            outcome.insert_str(0, &format!("failed with errno {}", entry.errno));
        }
        text.push_str(&format!(
            "{clock}  {:8} {:8} {}\n{:13}{}[{}] from [{}], {outcome}: {}, {}\n",
            entry.verdict,
            entry.action,
            entry.object,
            "",
            entry.comm,
            entry.pid,
            entry.ppid,
            entry.rule,
            entry.reason
        ));
        if !entry.remedy.is_empty() {
            text.push_str(&format!("{:13}instead: {}\n", "", entry.remedy));
        }
        text
    }

    fn end(&self) -> String {
        format!(
            "\n{}, {} went on, {} did not\n",
            term::count(self.rows as usize, "record"),
            self.allowed,
            self.blocked
        )
    }
}

fn heading(entry: &Entry<'_>) -> String {
    let mut text = format!("session {} on {}, from {}\n", entry.session, entry.host, entry.time);
    for (what, value) in
        [("for", &entry.principal), ("trace", &entry.trace), ("in", &entry.cgroup), ("under", &entry.policy)]
    {
        if !value.is_empty() {
            text.push_str(&format!("  {what} {value}\n"));
        }
    }
    text.push('\n');
    text
}
