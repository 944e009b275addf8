//! `guard mode`: what a policy in shadow mode would have blocked, whether it is safe to enforce it, and the flip.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use guard_userspace::audit::filter::Filter;
use guard_userspace::audit::read::{Cursor, search};
use guard_userspace::audit::replay::Replay;
use guard_userspace::audit::report::{Hit, Report, Way};
use guard_userspace::control::{Client, Greeting, Request};
use guard_userspace::daemon;
use guard_userspace::policy::mode::Wanted;
use guard_userspace::policy::model::Policy;
use serde_json::{Value, json};

use super::audit::{replay, since};
use super::{Ending, places, term};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "With --report, exit code 1 if it is not safe to enforce, as far as the log can tell."
)]
pub(crate) struct Args {
    /// The policy's name
    policy: String,
    /// The mode to put it into: one word of its file changes, and the act is recorded
    #[arg(value_enum, required_unless_present = "report", conflicts_with = "report")]
    mode: Option<To>,
    /// Sum up what shadow mode would have blocked, by rule, and what candidates would change
    #[arg(long)]
    report: bool,
    /// Why, for the record of the flip
    #[arg(long, default_value = "", value_name = "TEXT")]
    note: String,
    /// Directory of sockets and runtime state
    #[arg(long, default_value = places::RUN)]
    run: PathBuf,
    /// Not before: 2026-03-01, 2026-03-01T09:30 (UTC), or ago: 90s, 15m, 2h, 7d
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<u64>,
    /// Directory of the log's segments
    #[arg(long, value_name = "DIR", default_value = places::AUDIT)]
    dir: PathBuf,
    /// Directory of policies, for candidates
    #[arg(long, value_name = "DIR", default_value = places::POLICIES)]
    policies: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum To {
    Enforce,
    Shadow,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        match self.mode {
            Some(To::Enforce) => self.flip(Wanted::Enforce),
            Some(To::Shadow) => self.flip(Wanted::Shadow),
            None => self.sum_up(),
        }
    }

    fn flip(self, mode: Wanted) -> anyhow::Result<Ending> {
        let request = Request::Mode { policy: self.policy.clone(), mode, note: self.note };
        let greeting: Greeting = Client::connect(&self.run)?.ask(&request)?;
        if self.json {
            term::print_json(&serde_json::to_value(&greeting)?)?;
        } else {
            let text = format!("{}: {}, generation {}\n", self.policy, mode.name(), greeting.generation);
            term::print(&text)?;
        }
        Ok(Ending::Fine)
    }

    fn sum_up(self) -> anyhow::Result<Ending> {
        let mut report = Report::new(&self.policy);
        let mut candidates = Vec::new();
        for policy in candidates_for(&self.policies, &self.policy) {
            let replay = Replay::new(&policy)?;
            candidates.push((policy.name.value.clone(), replay));
        }
        let filter = Filter { since: self.since, ..Filter::default() };
        search(&self.dir, &filter, &mut Cursor::default(), |entry, _| {
            report.take(entry);
            candidates.iter_mut().for_each(|(_, replay)| replay.take(entry));
            ControlFlow::Continue(())
        })?;
        if self.json {
            term::print_json(&value(&self.policy, &report, &candidates))?;
        } else {
            term::print(&text(&self.policy, &report, &candidates))?;
        }
        Ok(if report.doubts().is_empty() { Ending::Fine } else { Ending::Finding })
    }
}

/// The candidates for a policy. Without readable policies there are none to speak of.
fn candidates_for(directory: &Path, name: &str) -> Vec<Arc<Policy>> {
    let is_one =
        |policy: &Arc<Policy>| policy.candidate_for.as_ref().is_some_and(|target| target.value == name);
    daemon::load_policies(directory)
        .map(|loaded| loaded.policies.into_iter().filter(is_one).collect())
        .unwrap_or_default()
}

/// The most frequent first.
fn sorted(report: &Report) -> Vec<(&Way, &Hit)> {
    let mut hits: Vec<_> = report.hits.iter().collect();
    hits.sort_by_key(|(way, hit)| (std::cmp::Reverse(hit.count), *way));
    hits
}

fn text(name: &str, report: &Report, candidates: &[(String, Replay)]) -> String {
    let mut out = format!(
        "{name}: {}, {} of {}",
        report.mode.as_deref().unwrap_or("mode unknown"),
        term::count(report.decisions as usize, "decision"),
        term::count(report.sessions.len(), "session"),
    );
    if let (Some(since), Some(until)) = (&report.since, &report.until) {
        out.push_str(&format!(", {} to {}", short(since), short(until)));
    }
    out.push_str("\n\n");
    for (way, hit) in sorted(report) {
        out.push_str(&format!(
            "{:>8}  would {:8} {:8} {}: {}\n",
            hit.count, way.verdict, way.action, way.rule, hit.reason
        ));
        hit.examples.iter().for_each(|example| out.push_str(&format!("{:10}{example}\n", "")));
        let programs: Vec<&str> = hit.programs.iter().map(String::as_str).collect();
        out.push_str(&format!(
            "{:10}in {}, by {}, last {}\n",
            "",
            term::count(hit.sessions.len(), "session"),
            programs.join(" "),
            short(&hit.last)
        ));
    }
    for (candidate, changes) in candidates {
        out.push_str(&format!(
            "candidate {candidate}, against what was decided:\n{}\n",
            replay::text(changes)
        ));
    }
    if report.earlier > 0 {
        out.push_str(&format!(
            "{} under earlier texts left out\n",
            term::count(report.earlier as usize, "decision")
        ));
    }
    let doubts = report.doubts();
    if doubts.is_empty() {
        out.push_str("safe to enforce, as far as the log can tell: nothing recorded would end otherwise\n");
    } else {
        doubts.iter().for_each(|doubt| out.push_str(&format!("not safe to enforce: {doubt}\n")));
    }
    out
}

fn short(time: &str) -> String {
    time.get(..16).unwrap_or(time).replace('T', " ")
}

fn value(name: &str, report: &Report, candidates: &[(String, Replay)]) -> Value {
    let hits: Vec<Value> = sorted(report)
        .into_iter()
        .map(|(way, hit)| {
            json!({
                "action": way.action, "verdict": way.verdict, "rule": way.rule, "policy": way.policy,
                "reason": hit.reason, "count": hit.count, "sessions": hit.sessions.len(),
                "programs": hit.programs, "examples": hit.examples, "first": hit.first, "last": hit.last,
            })
        })
        .collect();
    let candidates: Vec<Value> = candidates
        .iter()
        .map(|(name, changes)| json!({ "policy": name, "replay": replay::value(changes) }))
        .collect();
    let doubts = report.doubts();
    json!({
        "policy": name,
        "mode": report.mode,
        "decisions": report.decisions,
        "sessions": report.sessions.len(),
        "since": report.since,
        "until": report.until,
        "would_change": hits,
        "candidates": candidates,
        "earlier_texts": report.earlier,
        "lost": report.lost,
        "safe": doubts.is_empty(),
        "doubts": doubts,
    })
}
