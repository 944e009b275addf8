//! The drill as the package's timer runs it. All of it takes longer than a test may, under emulation: it is begun as
//! the timer begins it, and stopped.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};

use super::say;
use super::upgrade::{status, until};

const TIMER: &str = "guard-drill.timer";
const SERVICE: &str = "guard-drill.service";

fn drills() -> usize {
    fs::read_dir("/run/guard/drill").map_or(0, Iterator::count)
}

fn shown() -> Result<String> {
    let output = Command::new("guard").arg("status").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(super) fn by_the_timer() -> Result<()> {
    ensure!(say(&["systemctl", "is-enabled", TIMER])? == "enabled", "the timer is not enabled");
    ensure!(say(&["systemctl", "is-active", TIMER])? == "active", "the timer does not run");
    let next = say(&["systemctl", "show", "--value", "--property=NextElapseUSecRealtime", TIMER])?;
    ensure!(!next.is_empty(), "the timer has no next time");
    ensure!(shown()?.contains("drill       never run"), "{}", shown()?);
    say(&["systemctl", "start", "--no-block", SERVICE])?;
    until("a drill's policies are in", || {
        let state = say(&["systemctl", "show", "--value", "--property=ActiveState", SERVICE])?;
        let log = || say(&["journalctl", "--no-pager", "--output=cat", &format!("--unit={SERVICE}")]);
        ensure!(state == "activating" || drills() > 0, "the drill is {state}: {}", log()?);
        Ok(drills() > 0 && fs::exists("/sys/fs/cgroup/guard.drill")?)
    })?;
    say(&["systemctl", "stop", SERVICE])?;
    ensure!(drills() == 0, "a stopped drill left its policies");
    ensure!(!fs::exists("/sys/fs/cgroup/guard.drill")?, "a stopped drill left its cgroups");
    until("the policies of the drill are out", || {
        let now = status()?;
        let names = now["policies"].as_array().cloned().unwrap_or_default();
        let drills = names.iter().filter(|policy| policy["name"].to_string().contains("guard-drill-"));
        Ok(now["enforcing"] == true && drills.count() == 0)
    })?;
    ensure!(status()?["drill"]["state"] == "never", "half a drill counts: {}", status()?["drill"]);
    say(&["systemctl", "reset-failed", SERVICE]).map(drop)
}
