//! The audit log, followed from where it ended when the drill began.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::arm::Ended;
use super::{DrillError, Expect};
use crate::audit::read::{self, Cursor, Entry};

/// How long a record may take from the kernel to the log.
const PATIENCE: Duration = Duration::from_secs(5);

/// A decision of the log, as far as a drill needs it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    boottime: u64,
    pid: u32,
    below: bool,
    action: String,
    op: String,
    kind: String,
    object: String,
    verdict: String,
    reason: String,
    rule: String,
}

#[derive(Debug)]
pub(super) struct Records {
    directory: PathBuf,
    cursor: Cursor,
    /// The beginning of the paths of the drill's cgroups.
    cgroup: String,
    seen: Vec<Seen>,
}

impl Records {
    pub(super) fn follow(directory: &Path, cgroup: &str) -> Result<Self, DrillError> {
        let cursor = read::end(directory)?;
        Ok(Self { directory: directory.to_owned(), cursor, cgroup: cgroup.to_owned(), seen: Vec::new() })
    }

    /// Reads what is new.
    fn catch_up(&mut self) -> Result<(), DrillError> {
        let (seen, cgroup) = (&mut self.seen, &self.cgroup);
        read::lines(&self.directory, &mut self.cursor, |_, line| {
            if let Some(entry) = Entry::parse(line).filter(Entry::is_decision) {
                seen.push(Seen {
                    boottime: entry.boottime,
                    pid: u32::try_from(entry.pid).unwrap_or(0),
                    below: entry.cgroup.starts_with(cgroup.as_str()),
                    action: entry.action.into_owned(),
                    op: entry.op.into_owned(),
                    kind: entry.object_kind.into_owned(),
                    object: entry.object.into_owned(),
                    verdict: entry.verdict.into_owned(),
                    reason: entry.reason_code.into_owned(),
                    rule: entry.rule.into_owned(),
                });
            }
            ControlFlow::Continue(())
        })?;
        Ok(())
    }

    /// Waits until the log has what this attempt must have left: then it has what came before too. False if it has
    /// not in time.
    pub(super) fn reached(&mut self, sentinels: &[Ended]) -> Result<bool, DrillError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.catch_up()?;
            if sentinels.iter().any(|ended| self.of(ended).next().is_some()) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Everything recorded of one attempt.
    pub(super) fn of(&self, ended: &Ended) -> impl Iterator<Item = &Seen> {
        self.seen.iter().filter(|seen| {
            (ended.from..=ended.until).contains(&seen.boottime)
                && (ended.pids.contains(&seen.pid) || seen.below)
        })
    }

    /// Whether one of these is there.
    pub(super) fn holds(&self, ended: &Ended, wanted: &[Expect]) -> bool {
        wanted.iter().any(|expect| match expect {
            Expect::Nothing(_) | Expect::Counter(_) => true,
            Expect::Rule(..) | Expect::Item(..) | Expect::Capability(_) => {
                self.of(ended).any(|seen| seen.is(expect))
            }
        })
    }

    /// Whether something was refused there by this rule, or by any.
    pub(super) fn names(&self, ended: &Ended, action: &str, rule: Option<&str>) -> bool {
        self.of(ended).any(|seen| {
            seen.verdict != "allow" && seen.action == action && rule.is_none_or(|rule| seen.rule == rule)
        })
    }

    /// Whether something was decided there for this reason.
    pub(super) fn tells(&self, ended: &Ended, reason: &str) -> bool {
        self.of(ended).any(|seen| seen.reason == reason)
    }

    /// In words, what is there.
    pub(super) fn tell(&self, ended: &Ended) -> String {
        let all: Vec<String> = self.of(ended).map(ToString::to_string).take(4).collect();
        if all.is_empty() { "no record".to_owned() } else { format!("recorded: {}", all.join(", ")) }
    }
}

impl Seen {
    fn is(&self, expect: &Expect) -> bool {
        self.verdict != "allow"
            && match expect {
                Expect::Rule(action, op) => self.action == *action && self.op == *op,
                Expect::Item(item, op) => self.kind == "boundary" && self.object == *item && self.op == *op,
                Expect::Capability(name) => self.kind == "capability" && self.object == *name,
                Expect::Counter(_) | Expect::Nothing(_) => false,
            }
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind.as_str() {
            "boundary" => write!(f, "{} {} ({})", self.verdict, self.object, self.op),
            "capability" => write!(f, "{} {}", self.verdict, self.object),
            _ => write!(f, "{} {} ({}, {})", self.verdict, self.action, self.op, self.reason),
        }
    }
}
