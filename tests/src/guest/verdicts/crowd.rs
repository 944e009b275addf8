//! Several calls that are held at once.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use guard_userspace::approvals::Request as Waiting;
use guard_userspace::control::{Client, Request};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::super::agent::{End, Who, inside};
use super::super::stage::RUN;
use super::super::sys;
use super::hold::{PATIENCE, answer, any_waiting, beside, exists, ground, list, make};
use super::{Stage, records};

/// So many children make a file each, all at once; an error unless each ends with 0.
fn children(count: usize, child: impl Fn(usize) -> i32) -> io::Result<()> {
    let children: Vec<Pid> = (0..count).map(|n| sys::spawn(|| child(n))).collect::<io::Result<_>>()?;
    for child in children {
        match waitpid(child, None)? {
            WaitStatus::Exited(_, 0) => {}
            other => {
                eprintln!("a child ended with {other:?}");
                return Err(io::ErrorKind::Other.into());
            }
        }
    }
    Ok(())
}

pub(super) fn full() -> Result<()> {
    let stage = Stage::set()?;
    ground()?;
    let cgroup = stage.cgroup("brief")?;
    let end =
        inside(cgroup.path(), Who::Root, || children(5, |n| i32::from(make(&format!("full-{n}")).is_ok())))?;
    ensure!(end == End::Did, "it ended with {end:?}");
    let of = |code: &'static str| {
        move |record: &serde_json::Value| {
            record["reason_code"] == code
                && record["object"].as_str().is_some_and(|object| object.starts_with("/t/open/v/asked/full-"))
        }
    };
    ensure!(records(of("queue-full"), 3)?.len() == 3, "three of five find no room");
    ensure!(records(of("timeout"), 2)?.len() == 2, "two of five wait");
    Ok(())
}

pub(super) fn many() -> Result<()> {
    const CALLS: usize = 200;
    let stage = Stage::set()?;
    ground()?;
    let cgroup = stage.cgroup("held")?;
    let act = || children(CALLS, |n| i32::from(make(&format!("many-{n}")).is_err()));
    let end = beside(&cgroup, act, |_| {
        let deadline = Instant::now() + PATIENCE * 2;
        while list()?.len() < CALLS {
            ensure!(Instant::now() < deadline, "only {} of {CALLS} wait", list()?.len());
            thread::sleep(Duration::from_millis(100));
        }
        let mut client = Client::connect(Path::new(RUN))?;
        for call in list()? {
            client.ask::<Waiting>(&Request::Answer {
                id: call.id,
                approve: true,
                note: String::new(),
                session_seconds: None,
            })?;
        }
        Ok(())
    })?;
    ensure!(end == End::Did, "it ended with {end:?}");
    let made = (0..CALLS).filter(|n| exists(&format!("/t/open/v/asked/many-{n}"))).count();
    ensure!(made == CALLS, "{made} of {CALLS} were made");
    Ok(())
}

pub(super) fn threads() -> Result<()> {
    let stage = Stage::set()?;
    ground()?;
    let cgroup = stage.cgroup("held")?;
    let act = || {
        let counter = AtomicU32::new(0);
        thread::scope(|scope| {
            let other = scope.spawn(|| make("second"));
            let counts = scope.spawn(|| {
                for _ in 0..50 {
                    counter.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(2));
                }
            });
            make("first")?;
            other.join().map_err(|_| io::Error::other("a thread panicked"))??;
            counts.join().map_err(|_| io::Error::other("a thread panicked"))
        })?;
        if counter.into_inner() == 50 { Ok(()) } else { Err(io::ErrorKind::Other.into()) }
    };
    let end = beside(&cgroup, act, |_| {
        // The first call that is held stops the whole process, maybe before the other thread has made its own.
        let mut left = vec!["/t/open/v/asked/first", "/t/open/v/asked/second"];
        while !left.is_empty() {
            let held = any_waiting(&left)?;
            answer(held.id, true)?;
            left.retain(|name| *name != held.object);
        }
        Ok(())
    })?;
    ensure!(end == End::Did, "it ended with {end:?}");
    ensure!(exists("/t/open/v/asked/first") && exists("/t/open/v/asked/second"), "a file is missing");
    Ok(())
}
