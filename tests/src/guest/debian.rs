//! What needs a whole system: systemd as PID 1, real programs, real container runtimes.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::Test;

pub(super) const TESTS: &[Test] =
    &[Test::new("the Debian guest is up, with systemd and no failed unit", is_up)];

/// What the program prints; a failure is an error with what it said.
pub(super) fn say(argv: &[&str]) -> Result<String> {
    let (program, args) = argv.split_first().context("no program")?;
    let output = Command::new(program).args(args).output().with_context(|| format!("start {program}"))?;
    if !output.status.success() {
        bail!(
            "{} ended with {}: {}{}",
            argv.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn is_up() -> Result<()> {
    ensure!(std::fs::read_to_string("/proc/1/comm")?.trim() == "systemd", "PID 1 is not systemd");
    // Says "running" only when every unit is up, and fails otherwise.
    let state = Command::new("systemctl").args(["is-system-running", "--wait"]).output()?;
    let state = String::from_utf8_lossy(&state.stdout).trim().to_owned();
    ensure!(state == "running", "the system is {state}: {}", say(&["systemctl", "list-units", "--failed"])?);
    Ok(())
}
