//! What the daemon costs with a hundred policies and a thousand tasks.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::say;
use super::upgrade::{status, until};

const POLICIES: u32 = 100;
const TASKS: u64 = 1000;
/// In KiB.
const MOST: u64 = 40 * 1024;

fn policy(number: u32) -> String {
    format!(
        "version: 1\npolicy: many-{number}\napplies_to:\n  - cgroup: \"/many.slice/{number}/**\"\nmode: enforce\n\
         exec: {{ default: block, rules: [{{ id: tools, paths: [\"/usr/bin/**\", \"/opt/{number}/**\"], verdict: allow }}] }}\n\
         connect: {{ default: block, rules: [{{ id: db, to: [\"10.0.{number}.1:5432/tcp\"], verdict: allow }}] }}\n\
         write: {{ default: block, rules: [{{ id: work, paths: [\"/workspace/{number}/**\", /dev/null], verdict: allow }}] }}\n"
    )
}

fn field(pid: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).context("read the daemon's status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    line.split_whitespace().next().and_then(|word| word.parse().ok()).with_context(|| format!("read {name}"))
}

/// Clock ticks that the process has run.
fn ticks(pid: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).context("read the daemon's times")?;
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Ok(number(11) + number(12))
}

fn loaded(count: usize) -> Result<()> {
    say(&["systemctl", "reload", "guard"])?;
    until("the policies are loaded", || {
        let now = status()?;
        Ok(now["policies"].as_array().is_some_and(|list| list.len() == count) && now["enforcing"] == true)
    })
}

/// What follows is not to be about a hundred policies.
fn without(done: Result<()>) -> Result<()> {
    for number in 0..POLICIES {
        fs::remove_file(format!("/etc/guard/policies/many-{number}.yaml"))?;
    }
    let gone = loaded(1);
    done.and(gone)
}

pub(super) fn stays_small() -> Result<()> {
    for number in 0..POLICIES {
        fs::write(format!("/etc/guard/policies/many-{number}.yaml"), policy(number))?;
    }
    without(loaded(POLICIES as usize + 1).and_then(|()| measured()))
}

fn measured() -> Result<()> {
    let crowd = format!("for n in $(seq {TASKS}); do sleep 600 & done; wait");
    let mut crowd = Command::new("guard")
        .args(["run", "--policy", "many-7", "--", "bash", "-c", &crowd])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    until("a thousand tasks are governed", || Ok(status()?["tasks"].as_u64() >= Some(TASKS)))?;
    // What has been decided is written, and what periodical looks cost is seen.
    thread::sleep(Duration::from_secs(3));
    let pid = say(&["systemctl", "show", "--value", "--property=MainPID", "guard"])?;
    let (before, begun) = (ticks(&pid)?, Instant::now());
    thread::sleep(Duration::from_secs(12));
    let busy = (ticks(&pid)? - before) as f64 / begun.elapsed().as_secs_f64();
    let facts = ["VmRSS:", "VmHWM:", "RssAnon:", "RssFile:"].map(|name| field(&pid, name));
    let [now, most, heap, files] = facts;
    let (now, most, heap, files) = (now?, most?, heap?, files?);
    println!(
        "{POLICIES} policies, {TASKS} tasks: {now} KiB resident ({heap} of its own, {files} of files and the \
         kernel), {most} at most; idle {busy:.1} % of a processor"
    );
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(crowd.id())?),
        nix::sys::signal::Signal::SIGTERM,
    )?;
    crowd.wait()?;
    ensure!(now < MOST, "the daemon has {now} KiB in memory, {heap} of its own");
    // An emulated processor is a twentieth of one.
    ensure!(busy < 20.0, "the idle daemon uses {busy:.1} % of a processor");
    Ok(())
}
