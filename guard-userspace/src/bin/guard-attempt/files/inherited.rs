//! Descriptors that were opened outside: inherited, received, mapped.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use libc::{MAP_SHARED, PROT_READ, PROT_WRITE};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};

use super::open::{open, put, reopen};
use crate::scene::Scene;
use crate::sys::{self, Arg, c, call, words};
use crate::table::{Attempt, handed};

fn writable(at: &Scene) -> io::Result<Vec<OwnedFd>> {
    Ok(vec![open(&at.file(), libc::O_RDWR)?])
}

fn directory(at: &Scene) -> io::Result<Vec<OwnedFd>> {
    Ok(vec![open(&at.d, libc::O_RDONLY)?])
}

/// A socket in whose buffer a descriptor waits.
pub(crate) fn in_flight(file: &OwnedFd) -> io::Result<OwnedFd> {
    let (one, other) = socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::SOCK_CLOEXEC)?;
    let fds = [file.as_raw_fd()];
    sendmsg::<()>(
        one.as_raw_fd(),
        &[IoSlice::new(b"x")],
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::empty(),
        None,
    )?;
    Ok(other)
}

pub(crate) fn receive(socket: &OwnedFd) -> io::Result<OwnedFd> {
    let mut byte = [0u8; 1];
    let mut into = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([i32; 1]);
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut into, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    // The kernel drops what may not be received, says that something is missing, and hands over the rest.
    let Ok(controls) = message.cmsgs() else { return Err(io::Error::from_raw_os_error(libc::EPERM)) };
    for control in controls {
        if let ControlMessageOwned::ScmRights(fds) = control
            && let Some(fd) = fds.first()
        {
            return sys::adopt(*fd);
        }
    }
    Err(io::Error::from_raw_os_error(libc::EPERM))
}

fn poke(fd: &OwnedFd, protection: i32, then: i32) -> io::Result<()> {
    sys::map(fd.as_fd(), protection, MAP_SHARED, |page| {
        if then != protection {
            page.protect(then)?;
        }
        page.write(b"after");
        Ok(())
    })
}

pub(crate) const TRIES: &[Attempt] = &[
    handed("write-inherited", writable, |_, fds| put(fds[0].try_clone()?)),
    handed("pwritev2-inherited", writable, |_, fds| {
        let text = b"after".as_slice();
        let vector = words(&[text.as_ptr() as u64, text.len() as u64]);
        call(
            libc::SYS_pwritev2,
            &mut [(&fds[0]).into(), vector.as_slice().into(), 1.into(), 0.into(), Arg::Num(0), 0.into()],
        )
        .map(drop)
    }),
    handed("splice-inherited", writable, |_, fds| {
        let (read, write) = nix::unistd::pipe()?;
        nix::unistd::write(&write, b"after")?;
        call(
            libc::SYS_splice,
            &mut [(&read).into(), 0.into(), (&fds[0]).into(), 0.into(), 5.into(), 0.into()],
        )
        .map(drop)
    }),
    handed("sendfile-inherited", writable, |at, fds| {
        let from = File::open(at.at_work("mine"))?;
        call(libc::SYS_sendfile, &mut [(&fds[0]).into(), from.as_fd().into(), Arg::Num(0), 5.into()])
            .map(drop)
    }),
    handed("copy-file-range-inherited", writable, |at, fds| {
        let from = File::open(at.at_work("mine"))?;
        let nowhere = || Arg::Num(0);
        call(
            libc::SYS_copy_file_range,
            &mut [from.as_fd().into(), nowhere(), (&fds[0]).into(), nowhere(), 5.into(), 0.into()],
        )
        .map(drop)
    }),
    handed("fallocate-inherited", writable, |_, fds| {
        call(libc::SYS_fallocate, &mut [(&fds[0]).into(), 0.into(), 0.into(), 9000.into()]).map(drop)
    }),
    handed("ftruncate-inherited", writable, |_, fds| {
        call(libc::SYS_ftruncate, &mut [(&fds[0]).into(), 1.into()]).map(drop)
    }),
    handed(
        "receive-file",
        |at| Ok(vec![in_flight(&open(&at.file(), libc::O_RDWR)?)?]),
        |_, fds| put(receive(&fds[0])?),
    ),
    handed("map-inherited", writable, |_, fds| poke(&fds[0], PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE)),
    handed("map-inherited-then-mprotect", writable, |_, fds| {
        poke(&fds[0], PROT_READ, PROT_READ | PROT_WRITE)
    }),
    handed("create-below-inherited", directory, |_, fds| {
        sys::call_fd(
            libc::SYS_openat,
            &mut [(&fds[0]).into(), c"new".into(), (libc::O_CREAT | libc::O_WRONLY).into(), 0o600.into()],
        )
        .map(drop)
    }),
    handed("unlink-below-inherited", directory, |_, fds| {
        call(libc::SYS_unlinkat, &mut [(&fds[0]).into(), c"file".into(), 0.into()]).map(drop)
    }),
    handed("reopen-inherited", writable, |_, fds| put(reopen(&fds[0], libc::O_WRONLY)?)),
    handed(
        "link-inherited-nameless",
        |at| Ok(vec![open(&at.work, libc::O_TMPFILE | libc::O_RDWR)?]),
        |at, fds| {
            let path = format!("/proc/self/fd/{}", fds[0].as_raw_fd());
            super::names::link(std::path::Path::new(&path), &at.on("new"), libc::AT_SYMLINK_FOLLOW)
        },
    ),
    handed("chmod-inherited", writable, |_, fds| {
        call(libc::SYS_fchmod, &mut [(&fds[0]).into(), 0o777.into()]).map(drop)
    }),
    handed("set-times-inherited", writable, |_, fds| {
        let times = words(&[1000, 0, 1000, 0]);
        call(libc::SYS_utimensat, &mut [(&fds[0]).into(), Arg::Num(0), times.as_slice().into(), 0.into()])
            .map(drop)
    }),
    handed(
        "open-below-inherited-o-path",
        |at| Ok(vec![open(&at.d, libc::O_PATH)?]),
        |_, fds| {
            put(sys::call_fd(
                libc::SYS_openat,
                &mut [(&fds[0]).into(), (&c("file")).into(), libc::O_WRONLY.into()],
            )?)
        },
    ),
];
