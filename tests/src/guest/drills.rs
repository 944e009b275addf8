//! `guard drill`: the whole catalogue, an operator's own rules, the hooks one by one, and a daemon that comes and goes.

mod chaos;
mod expected;
mod hook;
mod hooks;
mod scene;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::runner::{reference, thorough};
use super::{On, Test};
use scene::{Scene, drill};

pub(super) const TESTS: &[Test] = &[
    Test::new("the whole catalogue of drills is green, and every skip is expected", catalogue).within(1500),
    Test::new("each rule of an operator's own policy is tried", own_rules).within(300),
    Test::new("without any one hook a drill turns red", hooks::each).within(1500).on(On::Reference),
    Test::new("drills see no effect while the daemon is killed and everything runs short", chaos::run)
        .within(900)
        .on(On::Reference),
];

fn list<'v>(report: &'v Value, status: &str) -> Vec<&'v Value> {
    let all = report["drills"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter(|one| one["status"] == status).collect()
}

/// What is wrong with each of them, a line each.
fn tell(drills: &[&Value]) -> String {
    let line = |one: &&Value| format!("{}: {}", one["id"].as_str().unwrap_or_default(), one["why"]);
    drills.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn catalogue() -> Result<()> {
    Scene::set()?;
    // Each tier is a third of the time, under emulation minutes; the other kernels' is for whoever asks.
    let more: &[&str] = match (thorough(), reference()) {
        (true, _) => &["--thorough"],
        (false, true) => &[],
        (false, false) => &["--tier", "root"],
    };
    let report = drill(&[&["--profile", "vm"], more].concat())?;
    let gaps = list(&report, "gap");
    println!("{} in {} ms, {} attempts", report["summary"], report["milliseconds"], report["attempts"]);
    println!("{}", tell(&list(&report, "skipped")));
    ensure!(gaps.is_empty(), "{} gap(s):\n{}", gaps.len(), tell(&gaps));
    ensure!(list(&report, "green").len() > 400, "{}", report["summary"]);
    expected::check(&list(&report, "skipped"))
}

/// A file with a rule of each kind.
const OWN: &str = r#"version: 1
policy: own
applies_to: [{ cgroup: /own/** }]
mode: shadow
gateway: ["127.0.0.1:8080"]
exec:
  default: block
  rules:
    - { id: tools, paths: ["/usr/bin/**"], verdict: allow }
    - { id: no-curl, paths: ["/usr/bin/curl"], verdict: block }
    - { id: no-push, paths: ["/usr/bin/git"], args: [push], verdict: block }
load:
  default: allow
  rules:
    - { id: no-plugins, paths: ["/home/*/.plugins/**"], verdict: block }
connect:
  default: block
  rules:
    - { id: web, to: ["10.1.0.0/16:443/tcp"], verdict: allow }
    - { id: names, to: ["10.53.0.1:53/udp"], verdict: allow }
    - { id: no-metadata, to: ["169.254.169.254"], verdict: block }
    - { id: six, to: ["[2001:db8::/32]:443/tcp"], verdict: allow }
    - { id: no-bus, unix: ["/run/bus/*"], verdict: block }
    - { id: own-sockets, unix: ["/project/**", "@work-*"], verdict: allow }
listen:
  default: block
  rules:
    - { id: dev, ports: [8000-8010/tcp], verdict: allow }
write:
  default: block
  rules:
    - { id: work, paths: ["/project/**"], except: ["/project/.git/**"], verdict: allow }
    - { id: no-hooks, paths: ["/project/**/hooks/*"], verdict: block }
read:
  default: allow
  rules:
    - { id: no-keys, paths: ["/home/*/.ssh/**"], verdict: block }
    - { id: no-keys-either, paths: ["/home/*/.ssh/id"], verdict: block }
"#;

fn own_rules() -> Result<()> {
    Scene::set()?;
    std::fs::write("/tmp/own.yaml", OWN)?;
    // The daemon calls it from time to time, and lets nobody else when it does not answer.
    let gateway = std::net::TcpListener::bind("127.0.0.1:8080")?;
    let report = drill(&["--policy", "/tmp/own.yaml", "--only", "policy"])?;
    drop(gateway);
    let gaps = list(&report, "gap");
    ensure!(gaps.is_empty(), "{} gap(s):\n{}", gaps.len(), tell(&gaps));
    let green: Vec<&str> = list(&report, "green").iter().filter_map(|one| one["id"].as_str()).collect();
    for rule in [
        "gateway",
        "tools",
        "no-curl",
        "no-push",
        "exec-default",
        "no-plugins",
        "load-default",
        "web",
        "names",
        "no-metadata",
        "six",
        "no-bus",
        "own-sockets",
        "connect-default",
        "dev",
        "listen-default",
        "work",
        "no-hooks",
        "write-default",
        "no-keys",
        "read-default",
    ] {
        ensure!(
            green.contains(&format!("policy:{rule}").as_str()),
            "{rule} is not green: {}",
            tell(&list(&report, "skipped"))
        );
    }
    // Refused by the other rule already, and told so.
    ensure!(!green.contains(&"policy:no-keys-either"), "a rule that decides nothing is green");
    Ok(())
}
