//! Reading the log back with the product's own command.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::guest::stage::STATE;

/// Every record, or those that answer a question.
pub(super) fn ask(question: &[&str]) -> Result<Vec<Value>> {
    let output = Command::new("guard")
        .args(["audit", "query", "--json", "--dir", &format!("{STATE}/audit")])
        .args(question)
        .output()
        .context("ask the audit log")?;
    let text = String::from_utf8(output.stdout).context("the log is not UTF-8")?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

pub(super) fn records() -> Result<Vec<Value>> {
    ask(&[])
}

/// Those of one cgroup, and of its session.
pub(super) fn of(records: Vec<Value>, cgroup: &str) -> Vec<Value> {
    records.into_iter().filter(|record| record["cgroup"] == cgroup).collect()
}

/// Looks until there is something to see.
pub(super) fn until<T>(patience: Duration, look: impl Fn() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(seen) = look()? {
            return Ok(seen);
        }
        if Instant::now() >= deadline {
            bail!("not there after {} s", patience.as_secs());
        }
        thread::sleep(Duration::from_millis(200));
    }
}
