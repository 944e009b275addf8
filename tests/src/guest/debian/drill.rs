//! The drill as the package's timer runs it, stopped once and once to its end; and what metrics say of it and of a gateway.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

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

/// The port of the gateway that comes and goes.
const GATEWAY: u16 = 18099;
const CONFIG: &str = "/etc/guard/guard.yaml";
const POLICY: &str = "/etc/guard/policies/metered.yaml";

/// The value of a metric, labels included in its name.
fn metric(name: &str) -> Result<Option<f64>> {
    let page = say(&["curl", "--silent", "--show-error", "--fail", "http://127.0.0.1:9464/metrics"])?;
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.map(str::parse).transpose()?)
}

pub(super) fn whole() -> Result<()> {
    fs::write(CONFIG, "metrics: { listen: \"127.0.0.1:9464\" }\n")?;
    let policy = format!(
        "version: 1\npolicy: metered\napplies_to: [{{cgroup: \"/metered/**\"}}]\ngateway: [\"127.0.0.1:{GATEWAY}\"]\n\
         exec: {{default: block}}\nconnect: {{default: block}}\nwrite: {{default: block}}\n"
    );
    fs::write(POLICY, policy)?;
    say(&["systemctl", "restart", "guard.service"])?;
    let up = format!("guard_gateway_up{{gateway=\"127.0.0.1:{GATEWAY}\"}}");
    until("the metrics say that the gateway is down", || Ok(metric(&up)? == Some(0.0)))?;
    ensure!(metric("guard_drill_age_seconds")?.is_none(), "metrics tell of a drill that was not");
    let gateway = TcpListener::bind(("127.0.0.1", GATEWAY))?;
    until("the metrics say that the gateway is up", || Ok(metric(&up)? == Some(1.0)))?;
    drop(gateway);

    let ran = say(&["systemctl", "start", SERVICE]);
    ensure!(ran.is_ok(), "the drill's unit failed: {}", complaints()?);
    let drill = status()?["drill"].clone();
    ensure!(drill["state"] == "green", "{drill}: {}", complaints()?);
    let green = drill["green"].as_f64().unwrap_or_default();
    println!("{green} drills are green");
    ensure!(green > 400.0, "only {green} drills are green");
    let counted = |outcome| format!("guard_drill_results{{outcome=\"{outcome}\"}}");
    until("the metrics tell of the drill", || Ok(metric(&counted("green"))? == Some(green)))?;
    ensure!(metric(&counted("gap"))? == Some(0.0), "metrics tell of a gap");
    ensure!(metric("guard_drill_age_seconds")?.is_some_and(|age| age < 600.0), "the drill is old already");
    fs::remove_file(CONFIG)?;
    fs::remove_file(POLICY)?;
    say(&["systemctl", "restart", "guard.service"]).map(drop)
}

/// The drills of the kept report that are a gap.
fn complaints() -> Result<String> {
    let report: Value = serde_json::from_slice(&fs::read("/var/lib/guard/drill.json")?)?;
    let drills = report["drills"].as_array().context("a report without drills")?;
    let gaps: Vec<_> = drills.iter().filter(|drill| drill["status"] == "gap").map(Value::to_string).collect();
    Ok(gaps.join("; "))
}
