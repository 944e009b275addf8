//! `guard audit replay`.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use guard_userspace::audit::read::{Cursor, search};
use guard_userspace::audit::replay::{Change, Replay, Tally};
use serde_json::json;

use super::super::{Ending, policy, term};
use super::Where;
use super::filter::Which;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Decides again what the policy of the same name decided (for a candidate: the one it is for). \
                        Exit code 1 if anything would change, or if nothing is recorded of that policy."
)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    which: Which,
    /// The file of the policy as it would be
    #[arg(long, value_name = "NEW")]
    policy: PathBuf,
    /// Print the changes as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        let filter = self.which.filter();
        let policy = match policy::load_one(&self.policy) {
            Ok(policy) => Arc::new(policy),
            Err(ending) => return Ok(ending),
        };
        let mut replay = Replay::new(&policy).context("compile the policy")?;
        search(&self.place.dir, &filter, &mut Cursor::default(), |entry, _| {
            replay.take(entry);
            ControlFlow::Continue(())
        })?;
        if self.json {
            term::print_json(&value(&replay))?;
        } else {
            term::print(&text(&replay))?;
        }
        if let Some(why) = replay.nothing() {
            eprintln!("guard: {why}");
            return Ok(Ending::Finding);
        }
        Ok(if replay.changes.is_empty() { Ending::Fine } else { Ending::Finding })
    }
}

/// The most frequent first.
fn sorted(replay: &Replay) -> Vec<(&Change, &Tally)> {
    let mut changes: Vec<_> = replay.changes.iter().collect();
    changes.sort_by_key(|(change, tally)| (std::cmp::Reverse(tally.count), *change));
    changes
}

pub(crate) fn text(replay: &Replay) -> String {
    let mut out = String::new();
    for (change, tally) in sorted(replay) {
        out.push_str(&format!(
            "{:>8}  {:8} {} → {}   {} → {}\n{:10}{}\n",
            tally.count,
            change.action,
            change.old_verdict,
            change.new_verdict,
            change.old_rule,
            change.new_rule,
            "",
            tally.first
        ));
        if tally.last != tally.first {
            out.push_str(&format!("{:10}{}\n", "", tally.last));
        }
    }
    let changed = replay.decided - replay.same;
    out.push_str(&format!(
        "{} decided again: {changed} would change, {} stay the same\n",
        term::count(replay.decided as usize, "record"),
        replay.same
    ));
    let notices = [
        (replay.not_rules, "not decided by rules (the boundary, unreadable paths): they stay as they are"),
        (replay.needs_argv, "hang on argv, which the log has as a digest only: not decided"),
        (replay.no_profile, "of a profile that the new policy does not have: not decided"),
    ];
    for (count, what) in notices.iter().filter(|(count, _)| *count > 0) {
        out.push_str(&format!("  {count} {what}\n"));
    }
    out
}

pub(crate) fn value(replay: &Replay) -> serde_json::Value {
    let changes: Vec<_> = sorted(replay)
        .into_iter()
        .map(|(change, tally)| {
            json!({
                "action": change.action,
                "old": { "verdict": change.old_verdict, "rule": change.old_rule },
                "new": { "verdict": change.new_verdict, "rule": change.new_rule },
                "count": tally.count,
                "examples": [tally.first, tally.last],
            })
        })
        .collect();
    json!({
        "decided": replay.decided,
        "same": replay.same,
        "not_rules": replay.not_rules,
        "needs_argv": replay.needs_argv,
        "no_profile": replay.no_profile,
        "changes": changes,
    })
}
