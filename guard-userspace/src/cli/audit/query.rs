//! `guard audit query`.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;

use guard_userspace::audit::read::{Cursor, Entry, search};

use super::super::{Ending, term};
use super::Where;
use super::filter::{Under, Which};
use super::row::row;

/// How long `--follow` waits before it looks again.
const WAIT: Duration = Duration::from_millis(200);
/// Lines of one group of totals.
const TOP: usize = 20;

#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code 0 if a record was found, 1 if none was.")]
pub(crate) struct Args {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    under: Under,
    /// Print the records as they stand in the log, one JSON object a line
    #[arg(long)]
    json: bool,
    /// Print how many there are, by verdict, action, policy, rule and reason
    #[arg(long)]
    totals: bool,
    /// Go on with the records to come
    #[arg(long, conflicts_with = "totals")]
    follow: bool,
    /// Stop after so many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        let filter = self.under.filter(&self.which);
        let mut answer = Answer { args: &self, found: 0, totals: Totals::default(), failed: None };
        let mut cursor = Cursor::default();
        loop {
            search(&self.place.dir, &filter, &mut cursor, |entry, line| answer.take(entry, line))?;
            if let Some(error) = answer.failed {
                return Err(error.into());
            }
            if !self.follow || answer.is_full() {
                break;
            }
            io::stdout().flush()?;
            thread::sleep(WAIT);
        }
        let found = answer.found;
        if self.totals {
            let text = if self.json {
                format!("{}\n", serde_json::to_string_pretty(&answer.totals.json(found))?)
            } else {
                answer.totals.text(found)
            };
            term::print(&text)?;
        } else if !self.json {
            eprintln!("{}", term::count(found as usize, "record"));
        }
        Ok(if found == 0 { Ending::Finding } else { Ending::Fine })
    }
}

/// What has been found so far.
struct Answer<'a> {
    args: &'a Args,
    found: u64,
    totals: Totals,
    failed: Option<io::Error>,
}

impl Answer<'_> {
    fn is_full(&self) -> bool {
        self.args.limit.is_some_and(|limit| self.found >= limit)
    }

    fn take(&mut self, entry: &Entry<'_>, line: &[u8]) -> ControlFlow<()> {
        if self.is_full() {
            return ControlFlow::Break(());
        }
        self.found += 1;
        let written = if self.args.totals {
            self.totals.count(entry);
            Ok(())
        } else if self.args.json {
            let mut out = io::stdout().lock();
            out.write_all(line).and_then(|()| out.write_all(b"\n"))
        } else {
            io::stdout().lock().write_all(row(entry, line).as_bytes())
        };
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }
}

/// Counts by the words of a column.
#[derive(Default)]
struct Totals {
    columns: BTreeMap<&'static str, BTreeMap<String, u64>>,
}

impl Totals {
    fn count(&mut self, entry: &Entry<'_>) {
        let mut add = |column, value: &str| {
            if !value.is_empty() {
                *self.columns.entry(column).or_default().entry(value.to_owned()).or_default() += 1;
            }
        };
        add("kind", &entry.kind);
        add("verdict", &entry.verdict);
        add("action", &entry.action);
        add("policy", &entry.policy);
        add("rule", &entry.rule);
        add("reason", &entry.reason_code);
        add("session", &entry.session);
    }

    fn json(&self, found: u64) -> serde_json::Value {
        serde_json::json!({ "records": found, "by": self.columns })
    }

    fn text(&self, found: u64) -> String {
        let mut out = format!("{}\n", term::count(found as usize, "record"));
        for column in ["verdict", "action", "policy", "rule", "reason", "session", "kind"] {
            let Some(counts) = self.columns.get(column) else { continue };
            let mut sorted: Vec<_> = counts.iter().collect();
            sorted.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), name.as_str()));
            out.push_str(&format!("\nby {column}\n"));
            for (name, count) in sorted.iter().take(TOP) {
                out.push_str(&format!("  {count:>10}  {name}\n"));
            }
            if sorted.len() > TOP {
                out.push_str(&format!("  {:>10}  … {} more\n", "", sorted.len() - TOP));
            }
        }
        out
    }
}
