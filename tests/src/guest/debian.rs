//! What needs a whole system: systemd as PID 1, real programs, real container runtimes.

mod containers;
mod docs;
mod drill;
mod load;
mod units;
mod upgrade;

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::Test;

/// One walk: each goes on where the one before it ended.
pub(super) const TESTS: &[Test] = &[
    Test::new("the Debian guest is up, with systemd and no failed unit", is_up),
    Test::new("the docs' commands work: quick start", quick_start).within(240),
    Test::new("the docs' commands work: policy guide", policy_guide).within(120),
    Test::new("the service gives up what it does not need", hardened).within(120),
    Test::new("a service and a user's scope are governed, and prepared in peace", units::are_governed)
        .within(240),
    Test::new("containers of runc, crun and podman are governed", containers::are_governed).within(300),
    Test::new(
        "the timer of the package runs the drill, and a stopped one leaves nothing",
        drill::by_the_timer,
    )
    .within(240),
    Test::new("the whole drill is green, and metrics tell of it and of gateways", drill::whole).within(1000),
    Test::new("an upgrade under load leaves no gap", upgrade::without_a_gap).within(240),
    Test::new("a hundred policies and a thousand tasks fit into 40 MiB", load::stays_small).within(600),
    Test::new("the docs' commands work: operations, to the end", operations).within(240),
];

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

fn quick_start() -> Result<()> {
    docs::follow("quick-start.md")
}

fn policy_guide() -> Result<()> {
    docs::follow("policy-guide.md")
}

fn operations() -> Result<()> {
    docs::follow("operations.md")
}

/// systemd's own mark for a unit, from 0 (nothing is left to take away) to 10.
fn hardened() -> Result<()> {
    let said = say(&["systemd-analyze", "security", "--no-pager", "guard.service"])?;
    let line = said.lines().rev().find(|line| line.contains("Overall exposure level")).context("no mark")?;
    println!("{line}");
    let mut words = line.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
    let mark = words.next_back().with_context(|| format!("no number in {line:?}"))?;
    ensure!(mark <= 5.0, "the unit's exposure is {mark}");
    say(&["systemd-analyze", "verify", "--man=no", "/usr/lib/systemd/system/guard.service"]).map(drop)
}
