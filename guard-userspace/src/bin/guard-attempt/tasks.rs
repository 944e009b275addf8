//! Signals to processes outside, and their limits.

pub(crate) mod trace;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
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

/// Has a socket's signal sent to whoever `set` makes its owner.
fn signals_by(set: impl FnOnce(BorrowedFd<'_>) -> io::Result<i64>) -> io::Result<()> {
    let (one, mut other) = UnixStream::pair()?;
    signals_to(one.as_fd(), set)?;
    other.write_all(b"x")
}

/// Makes a file send its signal, to whoever `set` makes its owner.
fn signals_to(fd: BorrowedFd<'_>, set: impl FnOnce(BorrowedFd<'_>) -> io::Result<i64>) -> io::Result<()> {
    const F_SETSIG: i32 = 10;
    set(fd)?;
    call(libc::SYS_fcntl, &mut [fd.into(), F_SETSIG.into(), libc::SIGTERM.into()])?;
    let flags = libc::O_ASYNC | libc::O_NONBLOCK;
    call(libc::SYS_fcntl, &mut [fd.into(), libc::F_SETFL.into(), flags.into()]).map(drop)
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
        let owner = outsider(at)?.as_raw();
        signals_by(|fd| call(libc::SYS_fcntl, &mut [fd.into(), libc::F_SETOWN.into(), owner.into()]))
    }),
    plain("sigio-structure", |at, _| {
        const F_SETOWN_EX: i32 = 15;
        const F_OWNER_PID: u64 = 1;
        let owner = words(&[F_OWNER_PID | u64::from(outsider(at)?.as_raw().cast_unsigned()) << 32]);
        signals_by(|fd| call(libc::SYS_fcntl, &mut [fd.into(), F_SETOWN_EX.into(), owner.as_slice().into()]))
    }),
    plain("sigio-ioctl", |at, _| {
        const FIOSETOWN: i32 = 0x8901;
        let owner = words(&[outsider(at)?.as_raw().cast_unsigned().into()]);
        signals_by(|fd| call(libc::SYS_ioctl, &mut [fd.into(), FIOSETOWN.into(), owner.as_slice().into()]))
    }),
    plain("sigio-terminal", |at, _| {
        const TIOCSPTLCK: i32 = 0x4004_5431;
        const TIOCGPTPEER: i32 = 0x5441;
        let owner = outsider(at)?.as_raw();
        let mut master = File::options().read(true).write(true).open("/dev/ptmx")?;
        let unlocked = [0u8; 4];
        call(libc::SYS_ioctl, &mut [master.as_fd().into(), TIOCSPTLCK.into(), unlocked.as_slice().into()])?;
        let flags = libc::O_RDWR | libc::O_NOCTTY;
        let slave = call_fd(libc::SYS_ioctl, &mut [master.as_fd().into(), TIOCGPTPEER.into(), flags.into()])?;
        // What is typed comes to the other end in a thread of the kernel's.
        signals_to(slave.as_fd(), |fd| {
            call(libc::SYS_fcntl, &mut [fd.into(), libc::F_SETOWN.into(), owner.into()])
        })?;
        master.write_all(b"x\n")?;
        std::thread::sleep(std::time::Duration::from_millis(300));
        Ok(())
    }),
    plain("file-lease", |_, _| {
        const F_SETLEASE: i32 = 1024;
        let path = std::env::temp_dir().join(format!("leased-{}", std::process::id()));
        drop(File::create(&path)?);
        let file = File::open(&path)?;
        fs::remove_file(&path)?;
        call(libc::SYS_fcntl, &mut [file.as_fd().into(), F_SETLEASE.into(), libc::F_RDLCK.into()]).map(drop)
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
    plain("timerslack", |at, _| fs::write(format!("/proc/{}/timerslack_ns", outsider(at)?), "1000000")),
    plain("oom-score-adj", |at, _| fs::write(format!("/proc/{}/oom_score_adj", outsider(at)?), "1000")),
    plain("sched-fifo", |_, _| {
        const SCHED_FIFO: i32 = 1;
        let one = 1u32.to_ne_bytes();
        call(libc::SYS_sched_setscheduler, &mut [0.into(), SCHED_FIFO.into(), one.as_slice().into()])
            .map(drop)
    }),
];
