//! Break glass: a session is stopped and killed whole, a policy is flipped, and none of it by those it is about.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill as signal};
use nix::sys::wait::{WaitStatus, waitpid};
use serde_json::Value;

use super::agent::{End, REFUSED, Who, enter, inside};
use super::ground::{At, Kind};
use super::sessions::session;
use super::stage::{Cgroup, POLICIES, RUN, Stage};
use super::{Test, sys, written};

pub(super) const TESTS: &[Test] = &[
    Test::new("a session of five hundred tasks that fork is frozen, goes on and is killed whole", whole)
        .within(200),
    Test::new("an agent that makes records faster than they can be written is killed all the same", flooding)
        .within(200),
    Test::new("a policy is flipped by one act, and not from inside", flipped).within(60),
];

/// Writes below `/t/open` only, once it is enforced.
pub(super) const POLICY: &str = "version: 1
policy: kt-flip
applies_to:
  - cgroup: /kt/flip/**
mode: shadow   # for now
exec: { default: allow }
connect: { default: block }
write:
  default: block
  rules:
    - { id: open, paths: [\"/t/open/**\", /dev/null], verdict: allow }
";

const SLEEPERS: usize = 470;
const FORKERS: usize = 30;
const COUNTER: &str = "/t/open/glass";

/// In the command line of each of them.
const MARK: &str = "glass-tree";

fn guard(words: &[&str]) -> Result<Output> {
    Command::new("guard").args(words).args(["--run", RUN]).output().context("start guard")
}

fn tree(cgroup: &Cgroup) -> Result<Child> {
    let script = format!(
        "read go; i=0; while [ $i -lt {SLEEPERS} ]; do sleep 1000 & i=$((i+1)); done; \
         i=0; while [ $i -lt {FORKERS} ]; do (while :; do (echo >> {COUNTER}); usleep 100000; done) & i=$((i+1)); done; \
         wait"
    );
    let mut child = Command::new("sh")
        .args(["-c", &script, MARK])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()?;
    enter(cgroup.path(), nix::unistd::Pid::from_raw(i32::try_from(child.id())?))?;
    // Its end of input lets it begin.
    drop(child.stdin.take());
    Ok(child)
}

/// Processes of the tree: those with the mark, and the sleepers, whose words are their own.
fn alive() -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).into_owned();
        if words.contains(MARK) || words == "sleep\u{0}1000\u{0}" {
            found.push(pid);
        }
    }
    Ok(found)
}

fn written() -> u64 {
    fs::metadata(COUNTER).map_or(0, |facts| facts.len())
}

fn until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds()? {
        ensure!(Instant::now() < deadline, "not within a minute: {what}");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn noted(note: &str) -> Result<bool> {
    Ok(written::records()?
        .iter()
        .any(|record| record["note"] == note && record["by"] == "root" && record["failed"] == ""))
}

fn whole() -> Result<()> {
    let stage = Stage::set()?;
    let cgroup = stage.cgroup("box")?;
    let _ = fs::remove_file(COUNTER);
    let mut child = tree(&cgroup)?;
    until("the whole tree is there", || Ok(alive()?.len() >= SLEEPERS + FORKERS && written() > 100))?;
    // Some live in a nested cgroup, and one has left: its label has not.
    let nested = cgroup.path().join("nested");
    fs::create_dir(&nested)?;
    let all = alive()?;
    for pid in &all[..20] {
        let _ = fs::write(nested.join("cgroup.procs"), pid.to_string());
    }
    let away = Cgroup::make(Path::new("/sys/fs/cgroup/kt-away"))?;
    fs::write(away.path().join("cgroup.procs"), all[30].to_string())?;
    let name = cgroup.name();
    until("the session is known", || Ok(session(&name)?.is_some()))?;
    let found = session(&name)?.context("no session")?;
    let id = found["session"].as_str().context("no name")?.to_owned();

    let frozen = guard(&["freeze", &id, "--note", "glass 1"])?;
    ensure!(frozen.status.success(), "freeze: {}", String::from_utf8_lossy(&frozen.stderr));
    let before = written();
    thread::sleep(Duration::from_millis(500));
    ensure!(written() == before, "something went on while the session was frozen");
    let thawed = guard(&["thaw", &id, "--note", "glass 2"])?;
    ensure!(thawed.status.success(), "thaw: {}", String::from_utf8_lossy(&thawed.stderr));
    until("the session goes on", || Ok(written() > before + 50))?;

    let killed = guard(&["kill", &id, "--note", "glass 3", "--json"])?;
    let left = alive()?;
    let zombies = |pid: &i32| {
        fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
    };
    let left: Vec<_> = left.into_iter().filter(|pid| !zombies(pid)).collect();
    let _ = child.wait();
    let said: Value = serde_json::from_slice(&killed.stdout)
        .with_context(|| format!("kill: {}", String::from_utf8_lossy(&killed.stderr)))?;
    println!("{} processes killed within {} ms", said["processes"], said["milliseconds"]);
    ensure!(left.is_empty(), "{} survive", left.len());
    ensure!(said["processes"].as_u64().is_some_and(|count| count >= 500), "{said}");
    ensure!(said["milliseconds"].as_u64().is_some_and(|took| took < 3000), "{said}");
    thread::sleep(Duration::from_millis(300));
    ensure!(alive()?.is_empty(), "somebody came back");
    for note in ["glass 1", "glass 2", "glass 3"] {
        until("the act is recorded", || noted(note))?;
    }
    Ok(())
}

/// Processes that do nothing but what is refused: more than there are processors, so that the daemon has less than they.
const FLOODERS: usize = 6;
/// After which they end by themselves, and the test has failed.
const FLOOD: Duration = Duration::from_secs(150);

fn flooding() -> Result<()> {
    let stage = Stage::set()?;
    let cgroup = stage.cgroup("box")?;
    let at = At::fresh(Kind::Shut, Who::Root)?;
    let flood = || {
        let begun = Instant::now();
        while begun.elapsed() < FLOOD {
            let _ = fs::write(at.file(), "after\n");
        }
        0
    };
    let flooders = (0..FLOODERS).map(|_| sys::spawn(flood)).collect::<std::io::Result<Vec<_>>>()?;
    let killed = flooders.iter().try_for_each(|flooder| enter(cgroup.path(), *flooder)).and_then(|()| {
        // Until the ring is full, or would be.
        thread::sleep(Duration::from_secs(3));
        let begun = Instant::now();
        let found = session(&cgroup.name())?.context("the session is not known")?;
        let id = found["session"].as_str().context("no name")?;
        let killed = guard(&["kill", id, "--note", "glass 4"])?;
        ensure!(killed.status.success(), "kill: {}", String::from_utf8_lossy(&killed.stderr));
        Ok(begun.elapsed())
    });
    if killed.is_err() {
        for flooder in &flooders {
            let _ = signal(*flooder, Signal::SIGKILL);
        }
    }
    for flooder in flooders {
        let end = waitpid(flooder, None)?;
        ensure!(matches!(end, WaitStatus::Signaled(_, Signal::SIGKILL, _)), "a flooder ended with {end:?}");
    }
    println!("asked for and killed within {:?}", killed?);
    // What comes next counts what is lost from here on.
    let mut before = 0;
    until("the log is at rest", || {
        let now = written::size();
        let rests = now == before;
        before = now;
        thread::sleep(Duration::from_millis(if rests { 0 } else { 2500 }));
        Ok(rests)
    })
}

fn flipped() -> Result<()> {
    let stage = Stage::set()?;
    let cgroup = stage.cgroup("flip")?;
    let at = Path::new(POLICIES).join("flip.yaml");
    let text = fs::read_to_string(&at)?;
    let write = || -> Result<End> {
        let shut = At::fresh(Kind::Shut, Who::Root)?;
        inside(cgroup.path(), Who::Root, || fs::write(shut.file(), "after\n"))
    };
    ensure!(write()? == End::Did, "shadow mode refuses");
    let flip = |mode: &str, note: &str| -> Result<()> {
        let output = guard(&["mode", "kt-flip", mode, "--note", note])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        until("the flip is recorded", || noted(note))
    };
    flip("enforce", "flip 1")?;
    ensure!(write()? == REFUSED, "enforce mode lets through");
    ensure!(
        fs::read_to_string(&at)? == text.replace("mode: shadow ", "mode: enforce "),
        "the file says more"
    );
    // Those it is about have no say.
    let from_inside = inside(cgroup.path(), Who::Root, || {
        let words = ["mode", "kt-flip", "shadow", "--run", RUN];
        match Command::new("guard").args(words).output()?.status.success() {
            true => Ok(()),
            false => Err(std::io::Error::from_raw_os_error(libc::EPERM)),
        }
    })?;
    ensure!(from_inside == REFUSED && write()? == REFUSED, "a domain flips its own policy");
    flip("shadow", "flip 2")?;
    ensure!(write()? == End::Did && fs::read_to_string(&at)? == text, "the way back is another");
    let unknown = guard(&["mode", "nothing", "enforce"])?;
    ensure!(!unknown.status.success(), "a policy that is not there was flipped");
    Ok(())
}
