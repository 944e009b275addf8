//! Looking for records.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

/// Those of one cgroup, and of its session.
pub(in crate::guest) fn of(records: Vec<Value>, cgroup: &str) -> Vec<Value> {
    records.into_iter().filter(|record| record["cgroup"] == cgroup).collect()
}

/// Looks until there is something to see.
pub(in crate::guest) fn until<T>(patience: Duration, look: impl Fn() -> Result<Option<T>>) -> Result<T> {
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
