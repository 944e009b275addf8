//! Signals to processes outside, and their limits.

pub(crate) mod trace;

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::scene::Scene;
use crate::sys::{Arg, call, call_fd, words};
use crate::table::{Attempt, plain};

pub(crate) fn outsider(at: &Scene) -> io::Result<Pid> {
    at.need("outsider").map(Pid::from_raw)
}

pub(crate) fn pidfd(at: &Scene) -> io::Result<OwnedFd> {
    call_fd(libc::SYS_pidfd_open, &mut [outsider(at)?.as_raw().into(), 0.into()])
}

fn guard(at: &Scene) -> io::Result<Pid> {
    at.need("guard").map(Pid::from_raw)
}

fn queue(at: &Scene, number: i64, first: &[Arg<'_>]) -> io::Result<()> {
    // si_signo, si_errno, si_code (SI_QUEUE), and nothing more.
    let mut information = [0u8; 128];
    information[..4].copy_from_slice(&libc::SIGTERM.to_ne_bytes());
    information[8..12].copy_from_slice(&(-1i32).to_ne_bytes());
    let pid = outsider(at)?.as_raw();
    let mut arguments: Vec<Arg<'_>> = first.iter().map(|_| Arg::from(pid)).collect();
    arguments.extend([pid.into(), libc::SIGTERM.into(), information.as_slice().into()]);
    call(number, &mut arguments).map(drop)
}

pub(crate) const TRIES: &[Attempt] = &[
    plain("kill", |at, _| Ok(kill(outsider(at)?, Signal::SIGKILL)?)),
    plain("kill-probe", |at, _| Ok(kill(outsider(at)?, None)?)),
    plain("kill-stop", |at, _| {
        kill(outsider(at)?, Signal::SIGSTOP)?;
        Ok(kill(outsider(at)?, Signal::SIGCONT)?)
    }),
    plain("tgkill", |at, _| {
        let pid = outsider(at)?.as_raw();
        call(libc::SYS_tgkill, &mut [pid.into(), pid.into(), libc::SIGTERM.into()]).map(drop)
    }),
    plain("tkill", |at, _| {
        call(libc::SYS_tkill, &mut [outsider(at)?.as_raw().into(), libc::SIGTERM.into()]).map(drop)
    }),
    plain("rt-sigqueueinfo", |at, _| queue(at, libc::SYS_rt_sigqueueinfo, &[])),
    plain("rt-tgsigqueueinfo", |at, _| queue(at, libc::SYS_rt_tgsigqueueinfo, &[Arg::Num(0)])),
    plain("pidfd-send-signal", |at, _| {
        call(
            libc::SYS_pidfd_send_signal,
            &mut [(&pidfd(at)?).into(), libc::SIGTERM.into(), Arg::Num(0), 0.into()],
        )
        .map(drop)
    }),
    plain("sigio", |at, _| {
        let (one, mut other) = UnixStream::pair()?;
        const F_SETSIG: i32 = 10;
        let fd = one.as_fd();
        call(libc::SYS_fcntl, &mut [fd.into(), libc::F_SETOWN.into(), outsider(at)?.as_raw().into()])?;
        call(libc::SYS_fcntl, &mut [fd.into(), F_SETSIG.into(), libc::SIGTERM.into()])?;
        call(
            libc::SYS_fcntl,
            &mut [fd.into(), libc::F_SETFL.into(), (libc::O_ASYNC | libc::O_NONBLOCK).into()],
        )?;
        other.write_all(b"x")
    }),
    plain("kill-guard-probe", |at, _| Ok(kill(guard(at)?, None)?)),
    plain("kill-guard-winch", |at, _| Ok(kill(guard(at)?, Signal::SIGWINCH)?)),
    plain("prlimit", |at, _| {
        let limit = words(&[10, 10]);
        call(
            libc::SYS_prlimit64,
            &mut [
                outsider(at)?.as_raw().into(),
                libc::RLIMIT_NOFILE.cast_signed().into(),
                limit.as_slice().into(),
                Arg::Num(0),
            ],
        )
        .map(drop)
    }),
    plain("setpriority", |at, _| {
        call(libc::SYS_setpriority, &mut [0.into(), outsider(at)?.as_raw().into(), 19.into()]).map(drop)
    }),
    plain("sched-setscheduler", |at, _| {
        const SCHED_IDLE: i32 = 5;
        let none = [0u8; 4];
        let pid = outsider(at)?.as_raw();
        call(libc::SYS_sched_setscheduler, &mut [pid.into(), SCHED_IDLE.into(), none.as_slice().into()])
            .map(drop)
    }),
    plain("sched-setaffinity", |at, _| {
        let mask = words(&[1]);
        let pid = outsider(at)?.as_raw();
        call(libc::SYS_sched_setaffinity, &mut [pid.into(), 8.into(), mask.as_slice().into()]).map(drop)
    }),
    plain("ioprio-set", |at, _| {
        const IDLE: i32 = 3 << 13;
        call(libc::SYS_ioprio_set, &mut [1.into(), outsider(at)?.as_raw().into(), IDLE.into()]).map(drop)
    }),
    plain("migrate-pages", |at, _| {
        let (from, to) = (words(&[1]), words(&[1]));
        let pid = outsider(at)?.as_raw();
        call(
            libc::SYS_migrate_pages,
            &mut [pid.into(), 64.into(), from.as_slice().into(), to.as_slice().into()],
        )
        .map(drop)
    }),
    plain("timerslack", |at, _| std::fs::write(format!("/proc/{}/timerslack_ns", outsider(at)?), "1000000")),
    plain("oom-score-adj", |at, _| std::fs::write(format!("/proc/{}/oom_score_adj", outsider(at)?), "1000")),
    plain("sched-fifo", |_, _| {
        const SCHED_FIFO: i32 = 1;
        let one = 1u32.to_ne_bytes();
        call(libc::SYS_sched_setscheduler, &mut [0.into(), SCHED_FIFO.into(), one.as_slice().into()])
            .map(drop)
    }),
];
