//! Ways out: TCP and UDP by every call that connects or sends.

pub(crate) mod before;
pub(crate) mod listen;
pub(crate) mod uring;

use std::io;
use std::os::fd::OwnedFd;

use crate::scene::Scene;
use crate::sys::{call, call_fd, words};
use crate::table::{Attempt, plain};

pub(crate) const INET: i32 = libc::AF_INET;
pub(crate) const INET6: i32 = libc::AF_INET6;
pub(crate) const STREAM: i32 = libc::SOCK_STREAM;
pub(crate) const DGRAM: i32 = libc::SOCK_DGRAM;

/// What must not get out.
pub(crate) const SECRET: &[u8] = b"guard-drill-secret";

pub(crate) fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    let kind = kind | libc::SOCK_CLOEXEC;
    call_fd(libc::SYS_socket, &mut [family.into(), kind.into(), protocol.into()])
}

pub(crate) fn connect(socket: &OwnedFd, to: &[u8]) -> io::Result<()> {
    call(libc::SYS_connect, &mut [socket.into(), to.into(), to.len().into()]).map(drop)
}

pub(crate) fn bind(socket: &OwnedFd, to: &[u8]) -> io::Result<()> {
    call(libc::SYS_bind, &mut [socket.into(), to.into(), to.len().into()]).map(drop)
}

pub(crate) fn listen(socket: &OwnedFd) -> io::Result<()> {
    call(libc::SYS_listen, &mut [socket.into(), 8.into()]).map(drop)
}

/// Sends to an address, or to the peer if there is none.
pub(crate) fn send(socket: &OwnedFd, to: Option<&[u8]>, flags: i32) -> io::Result<()> {
    send_bytes(socket, SECRET, to, flags)
}

pub(crate) fn send_bytes(socket: &OwnedFd, bytes: &[u8], to: Option<&[u8]>, flags: i32) -> io::Result<()> {
    let (to, length) = to.map_or((0.into(), 0), |to| (to.into(), to.len()));
    call(
        libc::SYS_sendto,
        &mut [socket.into(), bytes.into(), bytes.len().into(), flags.into(), to, length.into()],
    )
    .map(drop)
}

pub(crate) fn option(socket: &OwnedFd, level: i32, option: i32, value: &[u8]) -> io::Result<()> {
    call(
        libc::SYS_setsockopt,
        &mut [socket.into(), level.into(), option.into(), value.into(), value.len().into()],
    )
    .map(drop)
}

/// A fast open has no answer to wait for, and a connection that does not block has one later.
pub(crate) fn pending(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
        other => other,
    }
}

/// `struct msghdr` with one buffer, as words: name, its length, vector, its length, control, its length, flags.
pub(crate) fn message(name: &[u8], vector: &[u8], control: &[u8]) -> Vec<u8> {
    let at = |bytes: &[u8]| bytes.as_ptr() as u64;
    words(&[at(name), name.len() as u64, at(vector), 1, at(control), control.len() as u64, 0])
}

/// A vector of one buffer, the secret.
pub(crate) fn secret() -> Vec<u8> {
    words(&[SECRET.as_ptr() as u64, SECRET.len() as u64])
}

fn sendmsg(socket: &OwnedFd, to: &[u8], control: &[u8]) -> io::Result<()> {
    let vector = secret();
    let message = message(to, &vector, control);
    call(libc::SYS_sendmsg, &mut [socket.into(), message.as_slice().into(), 0.into()]).map(drop)
}

fn sendmmsg(socket: &OwnedFd, to: &[u8]) -> io::Result<()> {
    let vector = secret();
    let mut messages = message(to, &vector, &[]);
    messages.extend([0; 8]);
    let second = messages.clone();
    messages.extend(second);
    call(libc::SYS_sendmmsg, &mut [socket.into(), messages.as_slice().into(), 2.into(), 0.into()]).map(drop)
}

/// `::ffff:a.b.c.d`.
fn mapped(at: &Scene, word: &str) -> io::Result<Vec<u8>> {
    let to = at.address(word)?;
    let mut address = [0; 16];
    address[10..12].fill(0xff);
    address[12..].copy_from_slice(&to[4..8]);
    Ok(crate::sys::v6(address, u16::from_be_bytes([to[2], to[3]])))
}

fn tcp(at: &Scene, word: &str) -> io::Result<()> {
    connect(&socket(INET, STREAM, 0)?, &at.address(word)?)
}

/// Ancillary data that names the interface and source: struct cmsghdr, struct in_pktinfo.
fn interface(index: u32) -> Vec<u8> {
    let mut control = words(&[28]);
    control.extend([0u32, 8, index, 0, 0, 0].iter().flat_map(|word| word.to_ne_bytes()));
    control
}

pub(crate) const TRIES: &[Attempt] = &[
    plain("tcp-connect", |at, _| tcp(at, "web")),
    plain("tcp-connect-nonblocking", |at, _| {
        pending(connect(&socket(INET, STREAM | libc::SOCK_NONBLOCK, 0)?, &at.address("web")?))
    }),
    plain("tcp-connect-v6", |at, _| connect(&socket(INET6, STREAM, 0)?, &at.address("web6")?)),
    plain("tcp-connect-mapped", |at, _| connect(&socket(INET6, STREAM, 0)?, &mapped(at, "web")?)),
    plain("tcp-connect-local-service", |at, _| tcp(at, "other")),
    plain("tcp-connect-wildcard", |at, _| {
        connect(&socket(INET, STREAM, 0)?, &at.elsewhere("other", [0; 4])?)
    }),
    plain("tcp-connect-wildcard-v6", |at, _| {
        let mut to = at.address("web6")?;
        to[8..24].fill(0);
        connect(&socket(INET6, STREAM, 0)?, &to)
    }),
    plain("tcp-connect-gateway-port-elsewhere", |at, _| tcp(at, "twin")),
    plain("tcp-fast-open", |at, _| {
        pending(send(&socket(INET, STREAM, 0)?, Some(&at.address("web")?), libc::MSG_FASTOPEN))
    }),
    plain("tcp-fast-open-v6", |at, _| {
        pending(send(&socket(INET6, STREAM, 0)?, Some(&at.address("web6")?), libc::MSG_FASTOPEN))
    }),
    plain("tcp-fast-open-mapped", |at, _| {
        pending(send(&socket(INET6, STREAM, 0)?, Some(&mapped(at, "web")?), libc::MSG_FASTOPEN))
    }),
    plain("tcp-fast-open-sendmsg", |at, _| {
        let socket = socket(INET, STREAM, 0)?;
        let (to, vector) = (at.address("web")?, secret());
        let message = message(&to, &vector, &[]);
        let flags = libc::MSG_FASTOPEN | libc::MSG_DONTWAIT;
        pending(
            call(libc::SYS_sendmsg, &mut [(&socket).into(), message.as_slice().into(), flags.into()])
                .map(drop),
        )
    }),
    plain("tcp-fastopen-connect", |at, _| {
        let socket = socket(INET, STREAM, 0)?;
        option(&socket, libc::IPPROTO_TCP, 30, &1u32.to_ne_bytes())?;
        connect(&socket, &at.address("web")?)?;
        send(&socket, None, 0)
    }),
    plain("tcp-bind-then-connect", |at, _| {
        let socket = socket(INET, STREAM, 0)?;
        bind(&socket, &crate::sys::v4([127, 0, 0, 1], 0))?;
        connect(&socket, &at.address("web")?)
    }),
    plain("tcp-connect-repeated", |at, _| {
        let to = at.address("web")?;
        let socket = socket(INET, STREAM, 0)?;
        for _ in 0..20 {
            if connect(&socket, &to).is_ok() {
                return Ok(());
            }
        }
        connect(&socket, &to)
    }),
    plain("udp-sendto", |at, _| send(&socket(INET, DGRAM, 0)?, Some(&at.address("dns")?), 0)),
    plain("udp-sendto-no-family", |at, _| {
        let mut to = at.address("dns")?;
        to[..2].fill(0);
        send(&socket(INET, DGRAM, 0)?, Some(&to), 0)
    }),
    plain("udp-sendto-v6", |at, _| send(&socket(INET6, DGRAM, 0)?, Some(&at.address("dns6")?), 0)),
    plain("udp-sendto-mapped", |at, _| send(&socket(INET6, DGRAM, 0)?, Some(&mapped(at, "dns")?), 0)),
    plain("udp-sendto-v4-from-v6", |at, _| send(&socket(INET6, DGRAM, 0)?, Some(&at.address("dns")?), 0)),
    plain("udp-sendmsg", |at, _| sendmsg(&socket(INET, DGRAM, 0)?, &at.address("dns")?, &[])),
    plain("udp-sendmsg-pktinfo", |at, _| {
        sendmsg(&socket(INET, DGRAM, 0)?, &at.address("dns")?, &interface(1))
    }),
    plain("udp-sendmmsg", |at, _| sendmmsg(&socket(INET, DGRAM, 0)?, &at.address("dns")?)),
    plain("udp-connect-write", |at, _| {
        let socket = socket(INET, DGRAM, 0)?;
        connect(&socket, &at.address("dns")?)?;
        nix::unistd::write(&socket, SECRET)?;
        Ok(())
    }),
    plain("udp-connected-to-gateway-sendto", |at, _| {
        let socket = socket(INET, DGRAM, 0)?;
        let _ = connect(&socket, &at.address("gateway")?);
        send(&socket, Some(&at.address("dns")?), 0)
    }),
    plain("udp-corked", |at, _| {
        let socket = socket(INET, DGRAM, 0)?;
        send(&socket, Some(&at.address("dns")?), libc::MSG_MORE)?;
        send(&socket, None, 0)
    }),
    plain("udp-segment", |at, _| {
        const UDP_SEGMENT: i32 = 103;
        let socket = socket(INET, DGRAM, 0)?;
        option(&socket, libc::IPPROTO_UDP, UDP_SEGMENT, &8u32.to_ne_bytes())?;
        send(&socket, Some(&at.address("dns")?), 0)
    }),
];
