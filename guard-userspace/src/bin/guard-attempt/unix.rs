//! Unix sockets of others: docker's, the bus, ssh-agent, by whatever name.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;

use crate::net::{connect, send, socket};
use crate::scene::Scene;
use crate::table::{Attempt, handed, plain};

const UNIX: i32 = libc::AF_UNIX;
const STREAM: i32 = libc::SOCK_STREAM;
const DGRAM: i32 = libc::SOCK_DGRAM;
const SEQPACKET: i32 = libc::SOCK_SEQPACKET;

/// `struct sockaddr_un`.
pub(crate) fn address(name: &[u8]) -> Vec<u8> {
    let mut bytes = 1u16.to_ne_bytes().to_vec();
    bytes.extend_from_slice(name);
    bytes
}

/// A socket file of somebody outside.
fn file(at: &Scene, name: &str) -> io::Result<Vec<u8>> {
    let path = at.path("sockets")?.join(name);
    Ok(address(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str())))
}

/// An abstract name of somebody outside.
fn hidden(at: &Scene, name: &str) -> io::Result<Vec<u8>> {
    Ok(address(format!("\0{}-{name}", at.need::<String>("hidden")?).as_bytes()))
}

fn dial(kind: i32, to: &[u8]) -> io::Result<()> {
    let socket = socket(UNIX, kind, 0)?;
    connect(&socket, to)?;
    send(&socket, None, 0)
}

fn made(_: &Scene) -> io::Result<Vec<OwnedFd>> {
    Ok(vec![socket(UNIX, STREAM, 0)?])
}

pub(crate) const TRIES: &[Attempt] = &[
    plain("unix-connect-file", |at, _| dial(STREAM, &file(at, "stream")?)),
    plain("unix-connect-symlink", |at, _| {
        let link = at.at_work("sock");
        symlink(at.path("sockets")?.join("stream"), &link)?;
        dial(STREAM, &address(std::os::unix::ffi::OsStrExt::as_bytes(link.as_os_str())))
    }),
    plain("unix-connect-relative", |at, _| {
        std::env::set_current_dir(at.path("sockets")?)?;
        dial(STREAM, &address(b"stream"))
    }),
    plain("unix-connect-hard-link", |at, _| {
        let link = at.at_work("sock");
        std::fs::hard_link(at.path("sockets")?.join("stream"), &link)?;
        dial(STREAM, &address(std::os::unix::ffi::OsStrExt::as_bytes(link.as_os_str())))
    }),
    plain("unix-connect-abstract", |at, _| dial(STREAM, &hidden(at, "stream")?)),
    plain("unix-connect-seqpacket", |at, _| dial(SEQPACKET, &hidden(at, "seqpacket")?)),
    plain("unix-sendto-file", |at, _| send(&socket(UNIX, DGRAM, 0)?, Some(&file(at, "dgram")?), 0)),
    plain("unix-sendto-abstract", |at, _| send(&socket(UNIX, DGRAM, 0)?, Some(&hidden(at, "dgram")?), 0)),
    plain("unix-connect-datagram", |at, _| dial(DGRAM, &file(at, "dgram")?)),
    handed("unix-connect-inherited", made, |at, fds| {
        connect(&fds[0], &hidden(at, "stream")?)?;
        send(&fds[0], None, 0)
    }),
    handed(
        "unix-send-inherited-datagram",
        |at| {
            let client = socket(UNIX, DGRAM, 0)?;
            connect(&client, &hidden(at, "dgram")?)?;
            Ok(vec![client])
        },
        |_, fds| send(&fds[0], None, 0),
    ),
    plain("uring-connect-unix", |at, _| {
        let (socket, to) = (socket(UNIX, STREAM, 0)?, file(at, "stream")?);
        crate::sys::uring::Ring::new(0)?.run(&crate::sys::uring::Request {
            opcode: crate::sys::uring::OP_CONNECT,
            fd: std::os::fd::AsRawFd::as_raw_fd(&socket),
            first: Some(&to),
            offset: to.len() as u64,
            ..Default::default()
        })?;
        send(&socket, None, 0)
    }),
];
