//! Policies that change while an exec is under way: between its path and its argv stands whoever holds one of its
//! threads.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::unistd::{gettid, pause, pipe};

use super::super::agent::{End, Way, Who, attempt};
use super::super::ground::{At, Kind, RAN};
use super::super::stage::{POLICIES, Stage};
use super::super::sys;
use super::{ENDED, POLICY, run};

/// What is asked about in the meantime, and what comes of it.
const NEXT: &[(&str, &str, End)] = &[
    // Other automata in which the same rules hold.
    ("args: [push], verdict: block", "args: [push], verdict: block", End::Became(RAN)),
    ("args: [push], verdict: block", "args: [pull], verdict: block", ENDED),
    // No word of argv counts any more.
    ("args: [push], verdict: block", "verdict: allow", End::Became(RAN)),
    ("args: [push], verdict: block", "verdict: block", ENDED),
];

/// Rules that nothing comes to, so that states and answers have other numbers.
fn shifted(policy: &str) -> String {
    let more: String = (0..8)
        .map(|n| {
            format!(
                "    - {{ id: more-{n}, paths: [\"/a{n}/*/x{n}\", \"/t/a{n}*\"], args: [a{n}], verdict: block }}\n"
            )
        })
        .collect();
    policy.replacen("  rules:\n", &format!("  rules:\n{more}"), 1)
}

pub(super) fn overtaken() -> Result<()> {
    let stage = Stage::set()?;
    let at = At::fresh(Kind::Open, Who::Root)?;
    let (program, file) = (at.on("prog"), Path::new(POLICIES).join("args.yaml"));
    let mut wrong = Vec::new();
    for (rule, next, expected) in NEXT {
        let cgroup = stage.cgroup("args")?;
        let (held, go) = (pipe()?, pipe()?);
        let next = shifted(&POLICY.replace(rule, next));
        let end = thread::scope(|scope| {
            let beside = scope.spawn(|| -> Result<()> {
                File::from(held.0.try_clone()?).read_exact(&mut [0]).context("nobody is held")?;
                // For as long as it takes to the exec and into it.
                thread::sleep(Duration::from_millis(500));
                fs::write(&file, &next)?;
                let reloaded = stage.reload();
                File::from(go.1.try_clone()?).write_all(b"g")?;
                reloaded
            });
            let end = attempt(
                Some(cgroup.path()),
                Who::Root,
                Way::Direct,
                || Ok(()),
                |()| slowly(&program, &held.1, &go.0),
            );
            // If nobody was held, whoever waits for that has to be told.
            File::from(held.1.try_clone()?).write_all(b"e")?;
            beside.join().map_err(|_| anyhow::anyhow!("the one beside panicked"))??;
            end
        });
        fs::write(&file, POLICY)?;
        stage.reload()?;
        let end = end?;
        if end != *expected {
            wrong.push(format!("{end:?} instead of {expected:?} under {next}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Runs the program while a child of this process holds a thread of it, until it is told to let go.
fn slowly(program: &Path, held: &OwnedFd, go: &OwnedFd) -> io::Result<()> {
    const SEIZE: i32 = 0x4206;
    static THREAD: AtomicI32 = AtomicI32::new(0);
    THREAD.store(0, Ordering::SeqCst);
    thread::spawn(|| {
        THREAD.store(gettid().as_raw(), Ordering::SeqCst);
        loop {
            pause();
        }
    });
    let thread = loop {
        match THREAD.load(Ordering::SeqCst) {
            0 => thread::sleep(Duration::from_millis(1)),
            thread => break thread,
        }
    };
    sys::spawn(|| {
        let holds = || -> io::Result<()> {
            sys::call(libc::SYS_ptrace, &mut [SEIZE.into(), thread.into(), 0.into(), 0.into()])?;
            File::from(held.try_clone()?).write_all(b"h")?;
            File::from(go.try_clone()?).read_exact(&mut [0])
        };
        i32::from(holds().is_err())
    })?;
    let held = || fs::read_to_string(format!("/proc/self/task/{thread}/status"));
    while held()?.contains("TracerPid:\t0\n") {
        thread::sleep(Duration::from_millis(1));
    }
    run(program, &["pull"])
}
