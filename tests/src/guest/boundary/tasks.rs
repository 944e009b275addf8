//! Other tasks: traces, signals, limits.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::super::agent::End;
use super::super::sys::{Arg, call, call_fd, words};
use super::{Fence, Scene};

fn of(scene: &Scene, file: &str) -> String {
    format!("/proc/{}/{file}", scene.outsider)
}

fn pidfd(scene: &Scene) -> io::Result<std::os::fd::OwnedFd> {
    call_fd(libc::SYS_pidfd_open, &mut [scene.outsider.as_raw().into(), 0.into()])
}

/// The outsider is a copy of this process: what lies at an address here lies there too.
static SHARED: [u8; 16] = *b"something to see";

fn there() -> RemoteIoVec {
    RemoteIoVec { base: SHARED.as_ptr() as usize, len: 8 }
}

const NOT_SEEN: &[End] = &[End::Errno(libc::EPERM), End::Errno(libc::EACCES)];

pub(super) const TRACES: &[Fence] = &[
    // Whoever attaches lets go by ending.
    Fence::anybody("attach", |scene| Ok(ptrace::attach(scene.outsider)?)).directly(),
    Fence::anybody("seize", |scene| Ok(ptrace::seize(scene.outsider, ptrace::Options::empty())?)).directly(),
    Fence::anybody("read memory by process_vm_readv", |scene| {
        let mut bytes = [0u8; 8];
        process_vm_readv(scene.outsider, &mut [IoSliceMut::new(&mut bytes)], &[there()])?;
        Ok(())
    }),
    Fence::anybody("write memory by process_vm_writev", |scene| {
        // The page is read-only there: what refuses outside is the page, not the permission.
        process_vm_writev(scene.outsider, &[IoSlice::new(b"x")], &[there()])?;
        Ok(())
    })
    .control(&[End::Errno(libc::EFAULT)]),
    Fence::anybody("open its memory", |scene| {
        OpenOptions::new().read(true).write(true).open(of(scene, "mem")).map(drop)
    })
    .ends(NOT_SEEN),
    Fence::anybody("read its environment", |scene| fs::read(of(scene, "environ")).map(drop)).ends(NOT_SEEN),
    Fence::anybody("read its map of memory", |scene| fs::read(of(scene, "maps")).map(drop)).ends(NOT_SEEN),
    Fence::anybody("look at its descriptors", |scene| fs::read_link(of(scene, "fd/0")).map(drop))
        .ends(NOT_SEEN),
    Fence::anybody("open through its root", |scene| File::open(of(scene, "root/etc/hosts")).map(drop))
        .ends(NOT_SEEN),
    Fence::anybody("open through its working directory", |scene| File::open(of(scene, "cwd")).map(drop))
        .ends(NOT_SEEN),
    Fence::anybody("run its program file", |scene| File::open(of(scene, "exe")).map(drop)).ends(NOT_SEEN),
    Fence::anybody("take a descriptor of it", |scene| {
        call_fd(libc::SYS_pidfd_getfd, &mut [(&pidfd(scene)?).into(), 0.into(), 0.into()]).map(drop)
    }),
    Fence::anybody("compare descriptors", |scene| {
        let (own, other) = (std::process::id() as i32, scene.outsider.as_raw());
        call(libc::SYS_kcmp, &mut [own.into(), other.into(), 0.into(), 0.into(), 0.into()]).map(drop)
    }),
    Fence::anybody("be traced by an outsider", |_| Ok(ptrace::traceme()?)).directly(),
    Fence::root("advise on its memory", |scene| {
        const MADV_COLD: i32 = 20;
        let page = words(&[SHARED.as_ptr() as u64 & !4095, 4096]);
        call(
            libc::SYS_process_madvise,
            &mut [(&pidfd(scene)?).into(), page.as_slice().into(), 1.into(), MADV_COLD.into(), 0.into()],
        )
        .map(drop)
    })
    .ends(NOT_SEEN),
];

pub(super) const SIGNALS: &[Fence] = &[
    Fence::anybody("kill", |scene| Ok(kill(scene.outsider, Signal::SIGKILL)?)).kills(),
    Fence::anybody("ask whether it lives", |scene| Ok(kill(scene.outsider, None)?)),
    Fence::anybody("stop", |scene| {
        kill(scene.outsider, Signal::SIGSTOP)?;
        Ok(kill(scene.outsider, Signal::SIGCONT)?)
    }),
    Fence::anybody("tgkill", |scene| {
        let pid = scene.outsider.as_raw();
        call(libc::SYS_tgkill, &mut [pid.into(), pid.into(), libc::SIGTERM.into()]).map(drop)
    })
    .kills(),
    Fence::anybody("queue a signal", |scene| {
        // si_signo, si_errno, si_code (SI_QUEUE), and nothing more.
        let mut information = [0u8; 128];
        information[..4].copy_from_slice(&libc::SIGTERM.to_ne_bytes());
        information[8..12].copy_from_slice(&(-1i32).to_ne_bytes());
        let pid = scene.outsider.as_raw();
        call(
            libc::SYS_rt_sigqueueinfo,
            &mut [pid.into(), libc::SIGTERM.into(), information.as_slice().into()],
        )
        .map(drop)
    })
    .kills(),
    Fence::anybody("signal a process's descriptor", |scene| {
        call(
            libc::SYS_pidfd_send_signal,
            &mut [(&pidfd(scene)?).into(), libc::SIGTERM.into(), Arg::Num(0), 0.into()],
        )
        .map(drop)
    })
    .kills(),
    Fence::anybody("signal its process group", |scene| {
        // The group of whoever started this test, its harness excepted: a signal that harms nobody.
        Ok(kill(Pid::from_raw(-nix::unistd::getpgid(Some(scene.outsider))?.as_raw()), Signal::SIGCONT)?)
    })
    // Its own process is in the group and may be signalled, so the call succeeds: what counts is the outsider.
    .ends(&[End::Did, End::Errno(libc::EPERM)]),
    Fence::anybody("let a socket signal it", |scene| {
        let (one, mut other) = UnixStream::pair()?;
        const F_SETSIG: i32 = 10;
        let fd = one.as_fd();
        call(libc::SYS_fcntl, &mut [fd.into(), libc::F_SETOWN.into(), scene.outsider.as_raw().into()])?;
        call(libc::SYS_fcntl, &mut [fd.into(), F_SETSIG.into(), libc::SIGTERM.into()])?;
        call(
            libc::SYS_fcntl,
            &mut [fd.into(), libc::F_SETFL.into(), (libc::O_ASYNC | libc::O_NONBLOCK).into()],
        )?;
        other.write_all(b"x")
    })
    // Nothing tells the sender.
    .ends(&[End::Did, End::Errno(libc::EPERM)])
    .kills(),
    Fence::root("reap its memory", |scene| {
        call(libc::SYS_process_mrelease, &mut [(&pidfd(scene)?).into(), 0.into()]).map(drop)
    })
    .control(&[End::Errno(libc::EINVAL)])
    .ends(&[End::Errno(libc::EPERM), End::Errno(libc::EINVAL)]),
    Fence::anybody("a child of its own may be killed", |_| {
        let child = super::super::sys::spawn(|| {
            nix::unistd::pause();
            0
        })?;
        kill(child, Signal::SIGKILL)?;
        waitpid(child, None)?;
        Ok(())
    })
    .ends(&[End::Did]),
];

pub(super) const LIMITS: &[Fence] = &[
    Fence::anybody("set a limit", |scene| {
        let limit = words(&[10, 10]);
        call(
            libc::SYS_prlimit64,
            &mut [
                scene.outsider.as_raw().into(),
                libc::RLIMIT_NOFILE.cast_signed().into(),
                limit.as_slice().into(),
                Arg::Num(0),
            ],
        )
        .map(drop)
    }),
    Fence::anybody("lower its priority", |scene| {
        let pid = scene.outsider.as_raw();
        call(libc::SYS_setpriority, &mut [0.into(), pid.into(), 19.into()]).map(drop)
    }),
    Fence::anybody("set its scheduler", |scene| {
        const SCHED_IDLE: i32 = 5;
        let none = [0u8; 4];
        call(
            libc::SYS_sched_setscheduler,
            &mut [scene.outsider.as_raw().into(), SCHED_IDLE.into(), none.as_slice().into()],
        )
        .map(drop)
    }),
    Fence::anybody("bind it to a processor", |scene| {
        let mask = words(&[1]);
        call(
            libc::SYS_sched_setaffinity,
            &mut [scene.outsider.as_raw().into(), 8.into(), mask.as_slice().into()],
        )
        .map(drop)
    }),
    Fence::anybody("set its io priority", |scene| {
        const IDLE: i32 = 3 << 13;
        call(libc::SYS_ioprio_set, &mut [1.into(), scene.outsider.as_raw().into(), IDLE.into()]).map(drop)
    }),
    Fence::anybody("write its name", |scene| fs::write(of(scene, "comm"), "x"))
        // Only its own threads may, says the kernel.
        .control(&[End::Errno(libc::EINVAL)])
        .ends(&[End::Errno(libc::EPERM), End::Errno(libc::EINVAL)]),
    Fence::root("write its timer slack", |scene| fs::write(of(scene, "timerslack_ns"), "1000000")),
    Fence::root("get a real-time scheduler", |_| {
        const SCHED_FIFO: i32 = 1;
        let one = 1u32.to_ne_bytes();
        call(libc::SYS_sched_setscheduler, &mut [0.into(), SCHED_FIFO.into(), one.as_slice().into()])
            .map(drop)
    }),
    Fence::anybody("write its oom score", |scene| fs::write(of(scene, "oom_score_adj"), "1000")),
    Fence::anybody("write what its core dump holds", |scene| fs::write(of(scene, "coredump_filter"), "0")),
    Fence::root("write its login id", |_| fs::write("/proc/self/loginuid", "1234"))
        .ends(&[End::Errno(libc::EPERM)]),
];
