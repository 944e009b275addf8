//! The last result, beside the audit log: what `guard status` knows of drills.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::engine::{Report, Status};
use crate::audit::Hash;
use crate::control::DrillResult;

/// A result older than this says nothing of today.
pub const STALE: Duration = Duration::from_secs(26 * 3600);
/// Names of gaps in the audit record, which is bounded.
const NAMED: usize = 100;

/// Where the whole report is kept.
pub fn path(state: &Path) -> PathBuf {
    state.join("drill.json")
}

/// What the daemon writes into the log, and the report that it is of.
pub fn summary(report: &Report) -> io::Result<(DrillResult, String)> {
    let text = serde_json::to_string_pretty(report)? + "\n";
    let number = |count: usize| count as u64;
    let gaps = report.drills.iter().filter(|drill| drill.status == Status::Gap);
    let result = DrillResult {
        green: number(report.summary.green),
        gap: number(report.summary.gap),
        skipped: number(report.summary.skipped),
        not_covered: number(report.summary.not_covered),
        gaps: gaps.map(|drill| drill.id.clone()).take(NAMED).collect(),
        profile: format!("{:?}", report.profile).to_lowercase(),
        report_sha256: Hash(Sha256::digest(text.as_bytes()).into()).to_string(),
    };
    Ok((result, text))
}

/// Keeps the report.
pub fn keep(state: &Path, text: &str) -> io::Result<()> {
    let fresh = state.join("drill.json.new");
    fs::write(&fresh, text)?;
    fs::rename(fresh, path(state))
}

/// What `guard status` tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Last {
    /// `green`, `gap`, `stale` or `never`.
    pub state: &'static str,
    /// Seconds since 1970, 0 for never.
    pub time: u64,
    pub age_seconds: u64,
    pub green: u64,
    pub gap: u64,
    pub skipped: u64,
}

/// The parts of a report that matter here.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Kept {
    time: u64,
    summary: Counts,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Counts {
    green: u64,
    gap: u64,
    skipped: u64,
}

impl Last {
    /// Reads it.
    pub fn read(state: &Path) -> Self {
        Self::of(kept(state), now())
    }

    fn of(kept: Option<Kept>, now: u64) -> Self {
        let Some(kept) = kept else {
            return Self { state: "never", time: 0, age_seconds: 0, green: 0, gap: 0, skipped: 0 };
        };
        let Counts { green, gap, skipped } = kept.summary;
        let age_seconds = now.saturating_sub(kept.time);
        // A result of the future is of a clock that was wrong.
        let fresh = kept.time <= now && age_seconds <= STALE.as_secs();
        let state = match (fresh, gap, green) {
            (false, ..) => "stale",
            (true, 0, 1..) => "green",
            (true, ..) => "gap",
        };
        Self { state, time: kept.time, age_seconds, green, gap, skipped }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

fn kept(state: &Path) -> Option<Kept> {
    serde_json::from_slice(&fs::read(path(state)).ok()?).ok()
}

/// The same for whoever asks each second: the report is read again when there is another one.
#[derive(Debug)]
pub struct Watch {
    state: PathBuf,
    /// When the report that is known was written, and its length.
    stamp: Option<(SystemTime, u64)>,
    kept: Option<Kept>,
}

impl Watch {
    pub fn new(state: &Path) -> Self {
        Self { state: state.to_owned(), stamp: None, kept: None }
    }

    /// The last result; `None` if there has been none.
    pub fn look(&mut self) -> Option<Last> {
        let facts = fs::metadata(path(&self.state)).ok();
        let stamp = facts.and_then(|facts| Some((facts.modified().ok()?, facts.len())));
        if stamp != self.stamp {
            (self.stamp, self.kept) = (stamp, kept(&self.state));
        }
        self.kept.map(|kept| Last::of(Some(kept), now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: u64, gap: u64) -> &'static str {
        Last::of(Some(Kept { time, summary: Counts { green: 5, gap, skipped: 2 } }), 1_000_000).state
    }

    #[test]
    fn another_report_is_read_when_it_is_there() {
        let state = std::env::temp_dir().join(format!("guard-last-{}", std::process::id()));
        fs::create_dir_all(&state).unwrap();
        let mut watch = Watch::new(&state);
        assert_eq!(watch.look(), None);
        for (green, text) in [
            (3, "{\"time\":7,\"summary\":{\"green\":3,\"gap\":0,\"skipped\":1}}"),
            (12, "{\"time\":9,\"summary\":{\"green\":12,\"gap\":1,\"skipped\":0}}"),
        ] {
            keep(&state, text).unwrap();
            assert_eq!(watch.look().map(|last| last.green), Some(green));
        }
        fs::remove_dir_all(&state).unwrap();
    }

    #[test]
    fn a_stale_result_is_never_green() {
        assert_eq!(at(1_000_000, 0), "green");
        assert_eq!(at(1_000_000 - 26 * 3600, 0), "green");
        assert_eq!(at(1_000_000 - 26 * 3600 - 1, 0), "stale");
        assert_eq!(at(1_000_001, 0), "stale");
        assert_eq!(at(1_000_000, 1), "gap");
        assert_eq!(Last::of(None, 1_000_000).state, "never");
    }
}
