//! `guard run`, `guard ps` and `guard discover`: sessions, on whose behalf they are, and what has none.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::Test;
use super::stage::{PINS, RUN, STATE, Stage};

pub(super) const TESTS: &[Test] = &[
    test("guard run starts a command in a session of its own and gives its status back", runs),
    test("every record of a session says on whose behalf it is", named),
    test("guard run passes signals on, and nothing of a session outlives it", ends),
    test("a session has no more tasks than its policy says", crowded).within(60),
    test("a session has no more memory than its policy says", greedy).within(60),
    test("a session has no more time than its policy says", overdue).within(60),
    test("a session keeps its name when the daemon is replaced", kept),
    test("guard discover finds an agent outside every domain, and none inside", discovered),
];

const fn test(name: &'static str, run: fn() -> Result<()>) -> Test {
    Test::new(name, run).within(200)
}

const PATIENCE: Duration = Duration::from_secs(30);

/// May run everything and write below `/t/open`; few tasks, little memory.
pub(super) const POLICY: &str = "version: 1
policy: kt-run
applies_to:
  - cgroup: /kt/run/**
mode: enforce
audit: { allows: every, on_loss: block }
limits: { max_tasks: 12, max_memory: 32MiB }
exec: { default: allow }
connect: { default: block }
write:
  default: block
  rules:
    - { id: open, paths: [\"/t/open/**\", /dev/null], verdict: allow }
";

/// The same, for a few seconds.
pub(super) const SHORT: &str = "version: 1
policy: kt-short
applies_to:
  - cgroup: /kt/short/**
mode: enforce
limits: { max_runtime: 3s }
exec: { default: allow }
connect: { default: block }
write: { default: block }
";

fn guard_run(policy: &str, options: &[&str], script: &str) -> Command {
    let mut command = Command::new("guard");
    command.args(["run", "--run", RUN, "--policy", policy]).args(options).args(["--", "sh", "-c", script]);
    command.stdin(Stdio::null());
    command
}

fn output(policy: &str, options: &[&str], script: &str) -> Result<Output> {
    guard_run(policy, options, script).output().context("start guard run")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn ps() -> Result<Value> {
    let output = Command::new("guard").args(["ps", "--json", "--run", RUN]).output()?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("guard ps: {}", String::from_utf8_lossy(&output.stderr)))
}

/// The session whose cgroup ends so.
pub(super) fn session(end: &str) -> Result<Option<Value>> {
    let overview = ps()?;
    let sessions = overview["sessions"].as_array().cloned().unwrap_or_default();
    Ok(sessions
        .into_iter()
        .find(|session| session["cgroup"].as_str().is_some_and(|path| path.ends_with(end))))
}

fn until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds()? {
        if Instant::now() >= deadline {
            bail!("not within {} s: {what}", PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn runs() -> Result<()> {
    Stage::set()?;
    ensure!(output("kt-run", &[], "exit 7")?.status.code() == Some(7), "the status is not the command's");
    let said = output(
        "kt-run",
        &[],
        "cat /proc/self/cgroup; echo $GUARD_SESSION; grep NoNewPrivs /proc/self/status; ls /proc/self/fd",
    )?;
    let lines: Vec<String> = text(&said).lines().map(str::to_owned).collect();
    let [cgroup, session, privileges, files @ ..] = lines.as_slice() else {
        bail!("it said {lines:?} {said:?}")
    };
    ensure!(*cgroup == format!("0::/guard.slice/run:kt-run:{session}.scope"), "it ran in {cgroup}");
    ensure!(privileges.ends_with('1'), "{privileges}");
    // The three, and the directory that ls itself opens.
    ensure!(files.len() == 4, "open files: {files:?}");
    // What the policy forbids, and the same without guard.
    let act = "echo x > /t/shut/by-run";
    ensure!(!output("kt-run", &[], act)?.status.success(), "the session wrote where its policy forbids it");
    ensure!(!Path::new("/t/shut/by-run").exists(), "the refused write left a file");
    ensure!(Command::new("sh").args(["-c", act]).status()?.success(), "the control does not work");
    fs::remove_file("/t/shut/by-run")?;
    let unknown = output("nobody", &[], "true")?;
    let error = String::from_utf8_lossy(&unknown.stderr).into_owned();
    ensure!(unknown.status.code() == Some(125) && error.contains("kt-run"), "{unknown:?}");
    let missing =
        Command::new("guard").args(["run", "--run", RUN, "--policy", "kt-run", "--", "/no/such"]).output()?;
    ensure!(missing.status.code() == Some(127), "{missing:?}");
    Ok(())
}

fn named() -> Result<()> {
    Stage::set()?;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let options = [
        "--principal",
        "alice",
        "--purpose",
        "fix the build",
        "--trace",
        &format!("00-{trace}-00f067aa0ba902b7-01"),
    ];
    let said = output("kt-run", &options, "echo $GUARD_SESSION; echo x > /t/shut/no")?;
    let session = text(&said);
    let mut lines = Vec::new();
    until("the log has the session's records", || {
        let mut query = Command::new("guard");
        // Not the whole log: by now it is larger than the guest's memory.
        query.args(["audit", "query", "--json", "--session", &session, "--dir"]);
        query.arg(Path::new(STATE).join("audit"));
        let log = String::from_utf8_lossy(&query.output()?.stdout).into_owned();
        lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|record| record["session"] == session.as_str())
            .collect();
        Ok(lines.iter().any(|record| record["verdict"] == "block")
            && lines.iter().any(|record| record["kind"] == "session-end"))
    })?;
    for record in lines.iter().filter(|record| record["kind"] != "session-end") {
        ensure!(record["principal"] == "alice" && record["trace"] == trace, "{record}");
    }
    let start =
        lines.iter().find(|record| record["kind"] == "session-start").context("no record of the start")?;
    ensure!(start["purpose"] == "fix the build", "{start}");
    let asked = lines.iter().find(|record| record["kind"] == "run").context("no record of who asked")?;
    ensure!(asked["by"] == "root" && asked["by_uid"] == 0, "{asked}");
    Ok(())
}

fn ends() -> Result<()> {
    Stage::set()?;
    let mut child =
        guard_run("kt-run", &[], "trap 'exit 9' TERM; echo > /t/open/trapped; while :; do sleep 0.1; done")
            .spawn()?;
    until("the command runs", || Ok(Path::new("/t/open/trapped").exists()))?;
    let shown = ps()?;
    let tasks: u64 = shown["sessions"]
        .as_array()
        .context("no sessions")?
        .iter()
        .filter(|session| session["policies"][0] == "kt-run")
        .filter_map(|session| session["tasks"].as_u64())
        .sum();
    ensure!(tasks >= 1, "{shown}");
    kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
    ensure!(child.wait()?.code() == Some(9), "the signal did not get there");
    fs::remove_file("/t/open/trapped")?;
    // Left behind in the background, detached, and out of the session's process group.
    let said = output(
        "kt-run",
        &[],
        "(trap '' HUP TERM; exec sleep 1000) >/dev/null 2>&1 & echo $! $GUARD_SESSION",
    )?;
    let said = text(&said);
    let (left, name) = said.split_once(' ').context("it said nothing")?;
    until("what was left is gone", || Ok(!Path::new(&format!("/proc/{left}")).exists()))?;
    until("the session is gone", || Ok(session(&format!("{name}.scope"))?.is_none()))?;
    ensure!(
        !Path::new(&format!("/sys/fs/cgroup/guard.slice/run:kt-run:{name}.scope")).exists(),
        "the cgroup is left"
    );
    Ok(())
}

fn crowded() -> Result<()> {
    Stage::set()?;
    let crowd = "for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do sleep 5 & done; wait";
    let said = output("kt-run", &[], crowd)?;
    let error = String::from_utf8_lossy(&said.stderr).into_owned();
    ensure!(error.contains("fork") || error.contains("Resource"), "16 tasks of 12 were no error: {said:?}");
    let control = crowd.replace("sleep 5", "true");
    ensure!(Command::new("sh").args(["-c", &control]).status()?.success(), "the control fails");
    Ok(())
}

fn greedy() -> Result<()> {
    Stage::set()?;
    // 64 MiB that are written to, of 32.
    let glutton = "dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null && echo had them";
    let said = output("kt-run", &[], glutton)?;
    ensure!(text(&said).is_empty() && !said.status.success(), "64 MiB of 32 were no error: {said:?}");
    let control = Command::new("sh").args(["-c", glutton]).output()?;
    ensure!(text(&control) == "had them", "the control fails: {control:?}");
    Ok(())
}

fn overdue() -> Result<()> {
    Stage::set()?;
    let begun = Instant::now();
    let said = output("kt-short", &[], "sleep 50")?;
    ensure!(said.status.code() == Some(137), "the session ended with {:?}", said.status);
    ensure!(begun.elapsed() < Duration::from_secs(25), "it ran for {:?}", begun.elapsed());
    Ok(())
}

/// Whether a session of the policy has a process.
fn begins(policy: &str) -> bool {
    let scopes = fs::read_dir("/sys/fs/cgroup/guard.slice").into_iter().flatten().flatten();
    scopes.filter(|scope| scope.file_name().to_string_lossy().starts_with(&format!("run:{policy}:"))).any(
        |scope| fs::read_to_string(scope.path().join("cgroup.procs")).is_ok_and(|tasks| !tasks.is_empty()),
    )
}

fn kept() -> Result<()> {
    let stage = Stage::set()?;
    let mut child =
        guard_run("kt-run", &["--principal", "bob"], "echo $GUARD_SESSION > /t/open/name; exec sleep 1000")
            .spawn()?;
    // In the moment in which it comes to its cgroup, and before guard run is told so.
    let placed = Instant::now() + PATIENCE;
    while !begins("kt-run") {
        ensure!(Instant::now() < placed, "guard run starts nothing");
    }
    kill(stage.daemon, Signal::SIGKILL)?;
    until("the command runs", || {
        Ok(fs::read_to_string("/t/open/name").is_ok_and(|name| name.ends_with('\n')))
    })?;
    let name = fs::read_to_string("/t/open/name")?.trim().to_owned();
    until("the daemon is gone", || Ok(ps().is_err()))?;
    Stage::start()?;
    let after = session(&format!("{name}.scope"))?.context("the session is not known any more")?;
    ensure!(after["principal"] == "bob" && after["session"] == name.as_str(), "{after}");
    ensure!(after["tasks"].as_u64() > Some(0), "{after}");
    kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
    child.wait()?;
    until("the session is gone", || Ok(session(&format!("{name}.scope"))?.is_none()))?;
    fs::remove_file("/t/open/name")?;
    Ok(())
}

fn discovered() -> Result<()> {
    Stage::set()?;
    let agent = Path::new("/t/open/claude");
    fs::copy(fs::canonicalize("/proc/self/exe")?, agent)?;
    let look = |more: &[&str]| -> Result<Vec<u64>> {
        let output = Command::new("guard")
            .args(["discover", "--json", "--offline", "--pins", PINS])
            .args(more)
            .output()?;
        let found: Value = serde_json::from_slice(&output.stdout)?;
        Ok(found.as_array().into_iter().flatten().filter_map(|sighting| sighting["pid"].as_u64()).collect())
    };
    let mut outside = Command::new(agent).args(["--wait"]).spawn()?;
    until("it is found", || Ok(look(&[])?.contains(&u64::from(outside.id()))))?;
    let mut inside = Command::new("guard")
        .args(["run", "--run", RUN, "--policy", "kt-run", "--"])
        .arg(agent)
        .arg("--wait")
        .spawn()?;
    let running = || -> Result<Vec<u64>> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let exe = fs::read_link(entry.path().join("exe")).unwrap_or_default();
            if exe == agent {
                found.extend(entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
            }
        }
        Ok(found)
    };
    until("both run", || Ok(running()?.len() == 2))?;
    ensure!(look(&[])? == [u64::from(outside.id())], "found {:?} of {:?}", look(&[])?, running()?);
    outside.kill()?;
    outside.wait()?;
    kill(Pid::from_raw(i32::try_from(inside.id())?), Signal::SIGTERM)?;
    inside.wait()?;
    ensure!(look(&[])?.is_empty(), "something is found that is gone");
    fs::remove_file(agent)?;
    Ok(())
}
