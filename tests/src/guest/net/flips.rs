//! Policies that change while an agent makes sockets, connects and sends as fast as it can, from several threads: what was
//! agreed to in the moment of a change must not outlive it.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use guard_userspace::control::{Client, Greeting, Request};
use nix::sys::wait::{WaitStatus, waitpid};

use super::super::agent::enter;
use super::super::stage::{POLICIES, RUN, Stage};
use super::super::sys;
use super::world::{SECRET, World, connect, dns, send_bytes, socket};

/// Lets the datagrams out by one of these rules, or none.
const RULES: [&str; 3] = [
    "",
    // Listed for the packets, so nothing is kept for a socket.
    "    - { id: dns, to: [\"203.0.113.7:53/udp\"], verdict: allow }\n",
    // Not listed: it is kept for each socket.
    "    - { id: dns, to: [\"203.0.113.0/24:53/udp\"], verdict: allow }\n",
];

const FLIPS: usize = 6;
const THREADS: usize = 4;
/// How many sockets a thread keeps, from the newest on.
const KEPT: usize = 4;
const PAUSE: Duration = Duration::from_millis(5);
const STOP: &str = "/t/open/flips-over";

fn policy(rule: &str) -> String {
    let rules = if rule.is_empty() { String::new() } else { format!("  rules:\n{rule}") };
    format!(
        "version: 1\npolicy: kt-flips\napplies_to:\n  - cgroup: /kt/flips/**\nmode: enforce\n\
         audit: {{ allows: none, on_loss: block }}\nexec: {{ default: allow }}\nread: {{ default: allow }}\n\
         connect:\n  default: block\n{rules}write: {{ default: allow }}\n"
    )
}

/// Makes a socket, connects it, and sends on all that it has, by their peers and by name.
fn press(over: &AtomicBool) -> io::Result<()> {
    let mut kept: Vec<OwnedFd> = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let fresh = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
        if connect(&fresh, &dns()).is_ok() {
            kept.insert(0, fresh);
            kept.truncate(KEPT);
        }
        for socket in &kept {
            let _ = send_bytes(socket, None, SECRET);
            let _ = send_bytes(socket, Some(&dns()), SECRET);
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

fn agent() -> io::Result<()> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| press(&over))).collect();
        while !Path::new(STOP).exists() {
            thread::sleep(PAUSE);
        }
        over.store(true, Ordering::Relaxed);
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| io::ErrorKind::Other)?)
    })
}

pub(super) fn what_was_agreed_to_in_the_moment_of_a_change_does_not_outlive_it() -> Result<()> {
    let (stage, world) = (Stage::set()?, World::set()?);
    let file = Path::new(POLICIES).join("flips.yaml");
    let set = |rule: &str| -> Result<()> {
        fs::write(&file, policy(rule))?;
        let _: Greeting = Client::connect(Path::new(RUN))?.ask(&Request::Reload)?;
        // What was decided before is on its way for a moment.
        thread::sleep(Duration::from_millis(30));
        world.seen().map(drop)
    };
    set(RULES[0])?;
    let cgroup = stage.cgroup("flips")?;
    let _ = fs::remove_file(STOP);
    let agent = sys::spawn(|| i32::from(agent().is_err()))?;
    let outcome = enter(cgroup.path(), agent).and_then(|()| {
        (0..FLIPS).try_for_each(|flip| -> Result<()> {
            set(RULES[1 + flip % 2])?;
            thread::sleep(Duration::from_millis(60));
            let control = world.seen()?.secrets;
            ensure!(control > 0, "while {} nothing arrives", RULES[1 + flip % 2].trim());
            set(RULES[0])?;
            thread::sleep(Duration::from_millis(90));
            let after = world.seen()?.secrets;
            ensure!(after == 0, "{after} packets went on after {} was gone", RULES[1 + flip % 2].trim());
            Ok(())
        })
    });
    fs::write(STOP, "")?;
    let end = waitpid(agent, None)?;
    fs::remove_file(STOP).context("let the next one begin")?;
    fs::remove_file(&file)?;
    stage.reload()?;
    outcome?;
    ensure!(matches!(end, WaitStatus::Exited(_, 0)), "the agent ended with {end:?}");
    Ok(())
}
