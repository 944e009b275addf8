//! The figures of a run, as the guests printed them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// One operation in one arm, in guest instructions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    /// In the context of the caller.
    pub(crate) inline: u64,
    /// Until the call was over, whoever worked meanwhile.
    pub(crate) elapsed: u64,
    /// Of the daemon, for each operation, later work included.
    pub(crate) daemon: u64,
    /// Calls that failed: such a figure means nothing.
    pub(crate) failed: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Results {
    pub(crate) kernel: String,
    pub(crate) release: String,
    /// Arms and operations in the order of measurement.
    pub(crate) arms: Vec<String>,
    pub(crate) ops: Vec<String>,
    figures: BTreeMap<(String, String), Figure>,
    /// What the verifier processed for each program.
    pub(crate) verified: BTreeMap<String, u64>,
    /// Instructions from the daemon's start to enforcing.
    pub(crate) start: Option<u64>,
    /// What of that the daemon used itself; the rest it waited.
    pub(crate) start_worked: Option<u64>,
    /// Bytes of the daemon's resident memory.
    pub(crate) resident: Option<u64>,
    /// Instructions until a reload took effect, by arm.
    pub(crate) reloads: BTreeMap<String, u64>,
}

impl Results {
    pub(crate) fn new(kernel: &str) -> Self {
        Self {
            kernel: kernel.to_owned(),
            release: String::new(),
            arms: Vec::new(),
            ops: Vec::new(),
            figures: BTreeMap::new(),
            verified: BTreeMap::new(),
            start: None,
            start_worked: None,
            resident: None,
            reloads: BTreeMap::new(),
        }
    }

    /// Takes one line of JSON.
    pub(crate) fn add(&mut self, line: &str) -> Result<()> {
        let value: Value = serde_json::from_str(line).with_context(|| format!("read {line:?}"))?;
        let number = |name: &str| value[name].as_u64();
        let arm = value["arm"].as_str().context("a line without an arm")?.to_owned();
        if let (Some(program), Some(verified)) = (value["program"].as_str(), number("verified")) {
            self.verified.insert(program.to_owned(), verified);
        }
        self.start = number("start").or(self.start);
        self.start_worked = number("start_worked").or(self.start_worked);
        self.resident = number("resident").or(self.resident);
        if let Some(reload) = number("reload") {
            self.reloads.insert(arm.clone(), reload);
        }
        let Some(op) = value["op"].as_str() else { return Ok(()) };
        let figure = Figure {
            inline: number("inline").context("a line without a figure")?,
            elapsed: number("elapsed").unwrap_or(0),
            daemon: number("daemon").unwrap_or(0),
            failed: number("failed").unwrap_or(0),
        };
        for (list, name) in [(&mut self.arms, &arm), (&mut self.ops, &op.to_owned())] {
            if !list.contains(name) {
                list.push(name.clone());
            }
        }
        // Of an arm that several boots have, the first counts; the others are there for what follows them.
        self.figures.entry((arm, op.to_owned())).or_insert(figure);
        Ok(())
    }

    pub(crate) fn get(&self, arm: &str, op: &str) -> Option<Figure> {
        self.figures.get(&(arm.to_owned(), op.to_owned())).copied()
    }

    /// What an operation costs more in one arm than in another, inline.
    pub(crate) fn over(&self, arm: &str, base: &str, op: &str) -> Option<i64> {
        let (this, that) = (self.get(arm, op)?, self.get(base, op)?);
        Some(this.inline.cast_signed() - that.inline.cast_signed())
    }

    pub(crate) fn json(&self) -> Result<String> {
        let figures: Vec<Value> = self
            .figures
            .iter()
            .map(|((arm, op), figure)| {
                json!({
                    "arm": arm, "op": op, "inline": figure.inline, "elapsed": figure.elapsed,
                    "daemon": figure.daemon, "failed": figure.failed,
                })
            })
            .collect();
        let all = json!({
            "kernel": self.kernel, "release": self.release, "unit": "guest instructions per operation",
            "figures": figures, "verified": self.verified, "start": self.start, "start_worked": self.start_worked,
            "resident_bytes": self.resident, "reloads": self.reloads,
        });
        serde_json::to_string_pretty(&all).context("write JSON")
    }

    /// By how much two runs differ, in one sentence.
    pub(crate) fn compare(&self, other: &Self) -> String {
        /// What two runs may be apart, in per cent.
        const SAME: f64 = 0.5;
        let (mut worst, mut same) = ((0.0f64, String::new()), 0);
        for ((arm, op), first) in &self.figures {
            let Some(second) = other.get(arm, op) else { continue };
            let apart = first.inline.abs_diff(second.inline) as f64 / first.inline.max(1) as f64 * 100.0;
            same += usize::from(apart <= SAME);
            if apart > worst.0 {
                worst = (apart, format!("{op}, {arm}: {} and {}", first.inline, second.inline));
            }
        }
        let (apart, whose) = worst;
        let count = self.figures.len();
        format!(
            "two runs: {same} of {count} figures agree within {SAME} %; none differs by more than {apart:.2} % ({whose})"
        )
    }
}
