//! Somebody who tries something: a child process, inside a domain or outside of all.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, bail};
use nix::fcntl::OFlag;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid, pipe2, setgid, setgroups, setuid};

use super::sys;

/// As whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Nobody,
    Root,
}

impl Who {
    pub(super) const BOTH: [Self; 2] = [Self::Nobody, Self::Root];

    pub(super) fn uid(self) -> u32 {
        match self {
            Self::Nobody => 65534,
            Self::Root => 0,
        }
    }

    pub(super) fn become_it(self) -> io::Result<()> {
        if self == Self::Nobody {
            setgroups(&[])?;
            setgid(Gid::from_raw(65534))?;
            setuid(Uid::from_raw(65534))?;
            // Or its own files in procfs would belong to root.
            nix::sys::prctl::set_dumpable(true)?;
        }
        Ok(())
    }
}

/// By which of the process's tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The one that was moved into the cgroup.
    Direct,
    /// A thread that it starts there.
    Thread,
    /// A child that it forks there.
    Forked,
}

impl Way {
    pub(super) const ALL: [Self; 3] = [Self::Direct, Self::Thread, Self::Forked];
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It went through.
    Did,
    /// It returned this errno.
    Errno(i32),
    /// The process became another program, which ended with this status.
    Became(i32),
    /// A signal ended the process.
    Killed(i32),
}

pub(super) const REFUSED: End = End::Errno(libc::EPERM);

/// What a child says when something before the attempt failed.
const NOT_READY: i32 = -2;
/// What it says when a signal ended the child that it forked, less the signal.
const SIGNAL: i32 = -1000;

/// Runs `before` outside, then `act` in the cgroup of that directory, or outside if there is none.
pub(super) fn attempt<T: Send>(
    cgroup: Option<&Path>,
    who: Who,
    way: Way,
    before: impl FnOnce() -> io::Result<T>,
    act: impl FnOnce(T) -> io::Result<()> + Send,
) -> Result<End> {
    attempt_after(cgroup, who, way, before, |_| Ok(()), act)
}

/// As [`attempt`]; `between` runs in the caller, when the process is in its cgroup and has not begun.
pub(super) fn attempt_after<T: Send>(
    cgroup: Option<&Path>,
    who: Who,
    way: Way,
    before: impl FnOnce() -> io::Result<T>,
    between: impl FnOnce(Pid) -> Result<()>,
    act: impl FnOnce(T) -> io::Result<()> + Send,
) -> Result<End> {
    let (ready_here, ready_there) = pipe2(OFlag::O_CLOEXEC)?;
    let (go_there, go_here) = pipe2(OFlag::O_CLOEXEC)?;
    let (report_here, report_there) = pipe2(OFlag::O_CLOEXEC)?;
    let Some(child) = sys::split()? else {
        drop((ready_here, go_here, report_here));
        sys::end_with(|| {
            let prepared = match who.become_it().and_then(|()| before()) {
                Ok(prepared) => prepared,
                Err(error) => {
                    eprintln!("before the attempt: {error}");
                    say(&report_there, NOT_READY);
                    return 0;
                }
            };
            drop(ready_there);
            hear(go_there);
            in_way(way, &report_there, move || act(prepared))
        })
    };
    drop((ready_there, go_there, report_there));
    hear(ready_here);
    if let Some(cgroup) = cgroup {
        enter(cgroup, child)?;
    }
    between(child)?;
    drop(go_here);
    let mut said = Vec::new();
    fs::File::from(report_here).read_to_end(&mut said)?;
    let status = waitpid(child, None)?;
    end(&said, status)
}

/// As [`attempt`], with nothing to prepare.
pub(super) fn inside(cgroup: &Path, who: Who, act: impl FnOnce() -> io::Result<()> + Send) -> Result<End> {
    attempt(Some(cgroup), who, Way::Direct, || Ok(()), |()| act())
}

pub(super) fn outside(who: Who, act: impl FnOnce() -> io::Result<()> + Send) -> Result<End> {
    attempt(None, who, Way::Direct, || Ok(()), |()| act())
}

/// Moves a process into the cgroup of that directory.
pub(super) fn enter(cgroup: &Path, process: Pid) -> Result<()> {
    fs::write(cgroup.join("cgroup.procs"), process.to_string())
        .with_context(|| format!("move a process to {}", cgroup.display()))
}

fn end(said: &[u8], status: WaitStatus) -> Result<End> {
    if let Ok(said) = <[u8; 4]>::try_from(said) {
        return match i32::from_ne_bytes(said) {
            0 => Ok(End::Did),
            NOT_READY => bail!("what comes before the attempt failed"),
            code if code <= SIGNAL => Ok(End::Killed(SIGNAL - code)),
            errno => Ok(End::Errno(errno)),
        };
    }
    match status {
        WaitStatus::Exited(_, code) if said.is_empty() => Ok(End::Became(code)),
        WaitStatus::Signaled(_, signal, _) => Ok(End::Killed(signal as i32)),
        other => bail!("the attempt's process said {said:?} and ended with {other:?}"),
    }
}

fn in_way(way: Way, report: &OwnedFd, act: impl FnOnce() -> io::Result<()> + Send) -> i32 {
    match way {
        Way::Direct => say(report, errno_of(act())),
        Way::Thread => {
            let errno = thread::scope(|scope| scope.spawn(act).join().map_or(-1, errno_of));
            say(report, errno);
        }
        Way::Forked => {
            let forked = sys::spawn(|| {
                say(report, errno_of(act()));
                0
            });
            return match forked.and_then(|child| Ok(waitpid(child, None)?)) {
                Ok(WaitStatus::Exited(_, code)) => code,
                Ok(WaitStatus::Signaled(_, signal, _)) => {
                    say(report, SIGNAL - signal as i32);
                    0
                }
                other => {
                    eprintln!("the forked child: {other:?}");
                    say(report, -1);
                    0
                }
            };
        }
    }
    0
}

/// The error number of an outcome; -1 for an error that has none.
pub(super) fn errno_of(outcome: io::Result<()>) -> i32 {
    match outcome {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or_else(|| {
            eprintln!("an error without a number: {error}");
            -1
        }),
    }
}

fn say(report: &OwnedFd, code: i32) {
    if let Ok(report) = report.try_clone() {
        let _ = fs::File::from(report).write_all(&code.to_ne_bytes());
    }
}

/// Waits until the other side closes.
fn hear(pipe: OwnedFd) {
    let _ = fs::File::from(pipe).read_to_end(&mut Vec::new());
}
