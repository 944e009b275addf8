//! Descriptors that were opened outside: inherited, received, mapped.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use libc::{MAP_SHARED, PROT_READ, PROT_WRITE};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};

use super::super::ground::At;
use super::super::row::Row;
use super::super::sys::{self, Arg, c, call};
use super::open::open;

fn writable(at: &At) -> io::Result<Vec<OwnedFd>> {
    Ok(vec![open(&at.file(), libc::O_RDWR)?])
}

fn directory(at: &At) -> io::Result<Vec<OwnedFd>> {
    Ok(vec![open(&at.d, libc::O_RDONLY)?])
}

/// A socket in whose buffer a writable descriptor waits.
fn in_flight(at: &At) -> io::Result<Vec<OwnedFd>> {
    let (one, other) = socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::SOCK_CLOEXEC)?;
    let file = open(&at.file(), libc::O_RDWR)?;
    let fds = [file.as_raw_fd()];
    sendmsg::<()>(
        one.as_raw_fd(),
        &[IoSlice::new(b"x")],
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::empty(),
        None,
    )?;
    Ok(vec![other])
}

fn receive(socket: &OwnedFd) -> io::Result<OwnedFd> {
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

fn put(fd: &OwnedFd) -> io::Result<()> {
    File::from(fd.try_clone()?).write_all(b"after\n")
}

pub(super) const INHERITED: &[Row] = &[
    Row::write("receive it over a socket, then write", |_, fds| put(&receive(&fds[0])?)).before(in_flight),
    Row::write("write", |_, fds| put(&fds[0])).before(writable),
    Row::write("ftruncate", |_, fds| call(libc::SYS_ftruncate, &mut [(&fds[0]).into(), 1.into()]).map(drop))
        .before(writable),
    Row::write("fallocate", |_, fds| {
        call(libc::SYS_fallocate, &mut [(&fds[0]).into(), 0.into(), 0.into(), 9000.into()]).map(drop)
    })
    .before(writable),
    Row::write("map shared and write", |_, fds| {
        sys::map(fds[0].as_fd(), PROT_READ | PROT_WRITE, MAP_SHARED, |page| {
            page.write(b"after");
            Ok(())
        })
    })
    .before(writable),
    Row::write("map shared for reading, then make it writable", |_, fds| {
        sys::map(fds[0].as_fd(), PROT_READ, MAP_SHARED, |page| {
            page.protect(PROT_READ | PROT_WRITE)?;
            page.write(b"after");
            Ok(())
        })
    })
    .before(writable),
    Row::write("create below an open directory", |_, fds| {
        sys::call_fd(
            libc::SYS_openat,
            &mut [(&fds[0]).into(), c"new".into(), (libc::O_CREAT | libc::O_WRONLY).into(), 0o600.into()],
        )
        .map(drop)
    })
    .before(directory),
    Row::write("unlink below an open directory", |_, fds| {
        call(libc::SYS_unlinkat, &mut [(&fds[0]).into(), c"file".into(), 0.into()]).map(drop)
    })
    .before(directory),
    Row::write("sendfile into it", |at, fds| {
        let from = open(&at.at_work("mine"), libc::O_RDONLY)?;
        call(libc::SYS_sendfile, &mut [(&fds[0]).into(), (&from).into(), Arg::Num(0), 100.into()]).map(drop)
    })
    .before(writable),
    Row::write("splice into it", |_, fds| {
        let (out, into) = nix::unistd::pipe()?;
        File::from(into).write_all(b"after\n")?;
        let nowhere = || Arg::Num(0);
        call(
            libc::SYS_splice,
            &mut [(&out).into(), nowhere(), (&fds[0]).into(), nowhere(), 6.into(), 0.into()],
        )
        .map(drop)
    })
    .before(writable),
    Row::write("open it again through /proc", |_, fds| {
        let path = format!("/proc/self/fd/{}", fds[0].as_raw_fd());
        put(&open(std::path::Path::new(&path), libc::O_WRONLY)?)
    })
    .before(writable),
    Row::write("link a deleted file back", |at, fds| {
        let path = format!("/proc/self/fd/{}", fds[0].as_raw_fd());
        call(
            libc::SYS_linkat,
            &mut [
                libc::AT_FDCWD.into(),
                (&c(path)).into(),
                libc::AT_FDCWD.into(),
                (&c(at.on("new"))).into(),
                libc::AT_SYMLINK_FOLLOW.into(),
            ],
        )
        .map(drop)
    })
    .before(|at| Ok(vec![open(&at.work, libc::O_TMPFILE | libc::O_RDWR)?])),
];
