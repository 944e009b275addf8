//! The audit log, seen from outside: what it says is what happened.

pub(super) mod argv;
pub(super) mod log;
mod names;
mod storm;

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::wait::waitpid;
use nix::unistd::execv;

use super::Test;
use super::agent::{End, Way, Who, attempt, inside};
use super::ground::{At, Kind, RAN};
use super::stage::Stage;
use super::{sys, written};
use log::{of, until};

pub(super) const TESTS: &[Test] = &[
    Test::new("every short program leaves its fork, its image, its argv and its end", lineage).within(200),
    Test::new("an exec's record shows argv to its end and no further", argv::whole).within(200),
    Test::new("what one session has done first is told of another too", firsts).within(200),
    Test::new("no name of an agent's choice forges a record or is cut", names::hostile).within(200),
    Test::new("a jump of the clock is told, and the order of records stays", names::clock).within(200),
    Test::new("two agents' storms of opens, connects and programs lose nothing", storm::nothing_is_lost)
        .within(400),
    Test::new("while the daemon is stalled every effect is recorded and every loss counted", storm::stalled)
        .within(300),
    Test::new("when the daemon is killed what was tried is recorded or counted as lost", storm::killed)
        .within(300),
];

/// Records every decision.
pub(super) const POLICY: &str = "version: 1
policy: kt-every
applies_to:
  - cgroup: /kt/every/**
mode: enforce
audit: { allows: every, on_loss: block }
exec: { default: allow }
connect: { default: block }
write:
  default: block
  rules: [{ id: open, paths: [\"/t/open/**\"], verdict: allow }]
read: { default: allow }
";

/// Records each allow once.
pub(super) const FIRST: &str = "version: 1
policy: kt-first
applies_to:
  - cgroup: /kt/first/**
mode: enforce
audit: { allows: first, on_loss: block }
exec: { default: allow }
connect:
  default: block
  rules:
    - { id: dns, to: [\"127.0.0.1:7070/udp\"], verdict: allow }
write:
  default: block
  rules: [{ id: open, paths: [\"/t/open/**\"], verdict: allow }]
read: { default: allow }
";

/// Two sessions under one policy do the same, twice each.
fn firsts() -> Result<()> {
    let stage = Stage::set()?;
    let file = Path::new(super::ground::GROUND).join("open/first");
    std::fs::write(&file, "x")?;
    let mut told = Vec::new();
    for _ in 0..2 {
        let cgroup = stage.cgroup("first")?;
        let end = inside(cgroup.path(), Who::Root, || {
            for _ in 0..2 {
                std::fs::read(&file)?;
                std::net::UdpSocket::bind("127.0.0.1:0")?.send_to(b"x", "127.0.0.1:7070")?;
            }
            Ok(())
        })?;
        ensure!(end == End::Did, "the agent ended with {end:?}");
        let name = cgroup.name();
        let wanted = ["/t/open/first", "127.0.0.1:7070/udp"];
        told.push(until(Duration::from_secs(20), || {
            let records = of(written::records()?, &name);
            let counts = wanted.map(|object| {
                records
                    .iter()
                    .filter(|record| record["object"] == object && record["verdict"] == "allow")
                    .count()
            });
            Ok((counts.iter().all(|&count| count > 0)).then_some(counts))
        }));
    }
    for told in told {
        let counts = told?;
        ensure!(counts == [1, 1], "of what a session did twice {counts:?} records are there");
    }
    Ok(())
}

const PROGRAMS: usize = 50;
/// SHA-256 of `one`, NUL, `two words`, NUL.
const DIGEST: &str = "aca03635cbb065ff174ed5824445637c2f8cd44d2916fda8cc7e03c7c5306dc2";

/// Becomes the program, with two arguments.
fn become_it(program: &Path) -> i32 {
    let Ok(path) = CString::new(program.as_os_str().as_bytes()) else { return 1 };
    let _ = execv(&path, &[path.as_c_str(), c"one", c"two words"]);
    1
}

fn lineage() -> Result<()> {
    let stage = Stage::set()?;
    let at = At::fresh(Kind::Open, Who::Root)?;
    let program = at.on("prog");
    let cgroup = stage.cgroup("every")?;
    let name = cgroup.name();
    let end = attempt(
        Some(cgroup.path()),
        Who::Root,
        Way::Direct,
        || Ok(()),
        |()| {
            for _ in 0..PROGRAMS {
                let child = sys::spawn(|| become_it(&program))?;
                waitpid(child, None)?;
            }
            Ok(())
        },
    )?;
    ensure!(end == End::Did, "the programs did not run: {end:?}");
    let all = until(Duration::from_secs(20), || {
        let all = of(written::records()?, &name);
        Ok((all.iter().filter(|record| record["kind"] == "exit").count() > PROGRAMS).then_some(all))
    })?;
    ensure!(all[0]["kind"] == "session-start" && all[0]["policy"] == "kt-every", "begins with {}", all[0]);
    let entered = all.iter().find(|record| record["kind"] == "enter" && record["op"] == "other");
    let Some(agent) = entered.map(|record| record["pid"].clone()) else { anyhow::bail!("nobody entered") };
    let path = program.display().to_string();
    let mut children = 0;
    for exec in all.iter().filter(|record| record["kind"] == "exec") {
        ensure!(exec["object"] == path.as_str(), "another image: {exec}");
        ensure!(exec["argc"] == 2 && exec["argv_sha256"] == DIGEST, "another argv: {exec}");
        ensure!(exec.get("argv").is_none(), "the policy does not ask for argv's text: {exec}");
        let of_child = |kind: &str| all.iter().find(|r| r["kind"] == kind && r["pid"] == exec["pid"]);
        let (Some(forked), Some(ended)) = (of_child("enter"), of_child("exit")) else {
            anyhow::bail!("no fork or no end of {exec}");
        };
        ensure!(forked["op"] == "fork" && forked["ppid"] == agent, "another parent: {forked}");
        ensure!(ended["exit_code"] == RAN && ended["exe"] == path.as_str(), "another end: {ended}");
        ensure!(forked["start_time"] == ended["start_time"], "another process: {forked} {ended}");
        children += 1;
    }
    ensure!(children == PROGRAMS, "{children} images of {PROGRAMS}");
    let nameless = all.iter().find(|record| record["pid"] != 0 && record["exe"] == "");
    ensure!(nameless.is_none(), "without a program: {nameless:?}");
    drop(cgroup);
    let ended = until(Duration::from_secs(20), || {
        Ok(of(written::records()?, &name).into_iter().find(|record| record["kind"] == "session-end"))
    })?;
    ensure!(ended["programs"] == PROGRAMS && ended["refused"] == 0, "another end: {ended}");
    ensure!(ended["session"] == all[0]["session"], "another session: {ended}");
    Ok(())
}
