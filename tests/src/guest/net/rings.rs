//! The same by io_uring, by the task itself and by the kernel's workers.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::super::sys::adopt;
use super::super::sys::uring::{
    ASYNC, OP_ACCEPT, OP_CONNECT, OP_SEND, OP_SEND_ZC, OP_SENDMSG, OP_SOCKET, OP_WRITE, Request, Ring,
};
use super::Road;
use super::listen::waiting;
use super::roads::{connected, made, message, pending, secret, web};
use super::world::{GATEWAY, SECRET, connect, dns, send, socket, v4};

const INET: i32 = libc::AF_INET;
const STREAM: i32 = libc::SOCK_STREAM;
const DGRAM: i32 = libc::SOCK_DGRAM;

fn run(request: &Request<'_>) -> io::Result<i32> {
    Ring::new(0)?.run(request)
}

fn connect_by(socket: &OwnedFd, to: &[u8], flags: u8) -> io::Result<()> {
    let (fd, number) = (socket.as_raw_fd(), to.len() as u64);
    run(&Request { opcode: OP_CONNECT, flags, fd, bytes: Some(to), number, ..Request::default() }).map(drop)
}

fn send_by(opcode: u8, socket: &OwnedFd, flags: u8) -> io::Result<()> {
    let (fd, len) = (socket.as_raw_fd(), SECRET.len() as u32);
    // OP_WRITE takes a place in the file here, which a socket has not got.
    let number = if opcode == OP_WRITE { u64::MAX } else { 0 };
    run(&Request { opcode, flags, fd, bytes: Some(SECRET), number, len, ..Request::default() }).map(drop)
}

fn message_by(socket: &OwnedFd, to: &[u8], flags: u8, op_flags: i32) -> io::Result<()> {
    let vector = secret();
    let (message, fd) = (message(to, &vector, &[]), socket.as_raw_fd());
    let op_flags = op_flags.cast_unsigned();
    let request = Request {
        opcode: OP_SENDMSG,
        flags,
        fd,
        bytes: Some(&message),
        len: 1,
        op_flags,
        ..Request::default()
    };
    run(&request).map(drop)
}

/// Makes a socket: the protocol's number lies where a length does.
fn socket_by(family: i32, kind: i32, protocol: u32) -> io::Result<OwnedFd> {
    let (fd, number) = (family, kind as u64);
    adopt(run(&Request { opcode: OP_SOCKET, fd, number, len: protocol, ..Request::default() })?)
}

pub(super) const ROADS: &[Road] = &[
    Road::out("connect", |_| connect_by(&socket(INET, STREAM, 0)?, &web(), 0)),
    Road::out("connect, by a worker", |_| connect_by(&socket(INET, STREAM, 0)?, &web(), ASYNC)),
    Road::out("sendmsg", |_| message_by(&socket(INET, DGRAM, 0)?, &dns(), 0, 0)),
    Road::out("sendmsg, by a worker", |_| message_by(&socket(INET, DGRAM, 0)?, &dns(), ASYNC, 0)),
    Road::out("TCP fast open", |_| {
        pending(message_by(&socket(INET, STREAM, 0)?, &web(), 0, libc::MSG_FASTOPEN))
    }),
    Road::out("make a socket and connect it", |_| connect_by(&socket_by(INET, STREAM, 0)?, &web(), 0))
        .since(6, 1),
    Road::call("make a raw socket", |_| socket_by(INET, libc::SOCK_RAW, 253).map(drop)).as_root(),
    Road::call("make an MPTCP socket", |_| socket_by(INET, STREAM, 262).map(drop)).if_any(),
    Road::tell("send on a connection made outside", |fds| send_by(OP_SEND, &fds[0], 0))
        .before(|| connected(INET, STREAM, &web())),
    Road::tell("send on a connection made outside, by a worker", |fds| send_by(OP_SEND, &fds[0], ASYNC))
        .before(|| connected(INET, STREAM, &web())),
    Road::tell("write on a connection made outside", |fds| send_by(OP_WRITE, &fds[0], 0))
        .before(|| connected(INET, STREAM, &web())),
    Road::tell("send without a copy on a connection made outside", |fds| send_by(OP_SEND_ZC, &fds[0], 0))
        .before(|| connected(INET, DGRAM, &dns())),
    Road::out("connect what was made outside, by a worker", |fds| connect_by(&fds[0], &web(), ASYNC))
        .before(|| made(INET, STREAM, 0)),
    Road::call("accept on what listened outside", |fds| {
        let fd = fds[0].as_raw_fd();
        run(&Request { opcode: OP_ACCEPT, fd, ..Request::default() }).map(drop)
    })
    .before(waiting),
];

pub(super) const KEPT: &[Road] = &[
    Road::stays("connect to the gateway by a ring, and send", |_| {
        let socket = socket(INET, STREAM, 0)?;
        connect_by(&socket, &v4([127, 0, 0, 1], GATEWAY), ASYNC)?;
        send_by(OP_SEND, &socket, ASYNC)?;
        send(&socket, None, 0)
    }),
    Road::stays("send by a ring on a connection to the gateway", |_| {
        let socket = socket(INET, STREAM, 0)?;
        connect(&socket, &v4([127, 0, 0, 1], GATEWAY))?;
        send_by(OP_SEND_ZC, &socket, 0)
    }),
];
