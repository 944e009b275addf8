//! The drills that may be skipped in a guest, and why: `guard_userspace::drill::measured`.

use std::fs;

use anyhow::{Context, Result, ensure};
use guard_userspace::drill::measured;
use serde_json::Value;

/// An unexpected skip is a failure, and so is an expected one that did not happen.
pub(super) fn check(skipped: &[&Value]) -> Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let series = measured::series(&release).with_context(|| format!("{release} is of no series"))?;
    let wanted: Vec<(&str, &str)> = measured::skips(series).collect();
    let mut wrong = Vec::new();
    for (id, why) in &wanted {
        match skipped.iter().find(|one| one["id"] == *id) {
            None => wrong.push(format!("{id} is expected to be skipped, and was not")),
            Some(one) if !one["why"].to_string().contains(why) => {
                wrong.push(format!("{id} was skipped for {}, not for {why:?}", one["why"]));
            }
            Some(_) => {}
        }
    }
    for one in skipped.iter().filter(|one| !wanted.iter().any(|(id, _)| one["id"] == *id)) {
        wrong.push(format!("{} was skipped, and nobody expects it: {}", one["id"], one["why"]));
    }
    ensure!(wrong.is_empty(), "{} skip(s) are not as expected:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}
