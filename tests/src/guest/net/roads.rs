//! Ways out.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

use super::super::sys::{adopt, call, call_fd, words};
use super::Road;
use super::world::{
    ALIKE, DNS, GATEWAY, LOCAL, OTHER, OUT, OUT_V6, SECRET, WEB, check, connect, dns, full, mapped, option,
    send, socket, v4, v6,
};

const INET: i32 = libc::AF_INET;
const INET6: i32 = libc::AF_INET6;
const STREAM: i32 = libc::SOCK_STREAM;
const DGRAM: i32 = libc::SOCK_DGRAM;

pub(super) fn web() -> Vec<u8> {
    v4(OUT, WEB)
}

/// A fast open has no answer to wait for, and a connection that does not block has one later.
pub(super) fn pending(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
        other => other,
    }
}

/// `struct msghdr` with one buffer, as words: name, its length, vector, its length, control, its length, flags.
pub(super) fn message(name: &[u8], vector: &[u8], control: &[u8]) -> Vec<u8> {
    let at = |bytes: &[u8]| bytes.as_ptr() as u64;
    words(&[at(name), name.len() as u64, at(vector), 1, at(control), control.len() as u64, 0])
}

pub(super) fn secret() -> Vec<u8> {
    words(&[SECRET.as_ptr() as u64, SECRET.len() as u64])
}

fn send_message(socket: &OwnedFd, to: &[u8]) -> io::Result<()> {
    let vector = secret();
    call(libc::SYS_sendmsg, &mut [socket.into(), message(to, &vector, &[]).as_slice().into(), 0.into()])
        .map(drop)
}

fn sendmmsg(socket: &OwnedFd, to: &[u8]) -> io::Result<()> {
    let vector = secret();
    let mut messages = message(to, &vector, &[]);
    messages.extend([0; 8]);
    let second = messages.clone();
    messages.extend(second);
    call(libc::SYS_sendmmsg, &mut [socket.into(), messages.as_slice().into(), 2.into(), 0.into()]).map(drop)
}

/// Opens to the internet on a socket that is connected to the gateway at the time the call begins, and is not when
/// the call comes to it. Whoever refuses it does so with EPERM.
fn dissolved() -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_millis(400);
    let socket = socket(INET, STREAM | libc::SOCK_NONBLOCK, 0)?;
    let (gateway, stop) = (v4([127, 0, 0, 1], GATEWAY), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = connect(&socket, &gateway);
                let _ = connect(&socket, &[0; 16]);
            }
        });
        let mut ended = Err(io::Error::from_raw_os_error(libc::ETIME));
        let mut through = 0;
        // One that went through can have gone to the gateway: only several are sure to go both ways.
        while through < 8 && Instant::now() < deadline {
            match pending(send(&socket, Some(&web()), libc::MSG_FASTOPEN | libc::MSG_NOSIGNAL)) {
                Ok(()) => (ended, through) = (Ok(()), through + 1),
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                    ended = Err(error);
                    break;
                }
                Err(_) => {}
            }
        }
        stop.store(true, Ordering::Relaxed);
        ended
    })
}

pub(super) const DIRECT: &[Road] = &[
    Road::out("connect", |_| connect(&socket(INET, STREAM, 0)?, &web())),
    Road::out("connect without blocking", |_| {
        pending(connect(&socket(INET, STREAM | libc::SOCK_NONBLOCK, 0)?, &web()))
    }),
    Road::out("connect over IPv6", |_| connect(&socket(INET6, STREAM, 0)?, &v6(OUT_V6, WEB))),
    Road::out("connect to a mapped address", |_| connect(&socket(INET6, STREAM, 0)?, &v6(mapped(OUT), WEB))),
    Road::out("connect to another service of the host", |_| {
        connect(&socket(INET, STREAM, 0)?, &v4([127, 0, 0, 1], OTHER))
    }),
    Road::out("connect to it by the wildcard address", |_| {
        connect(&socket(INET, STREAM, 0)?, &v4([0; 4], OTHER))
    }),
    Road::out("connect to it by the IPv6 wildcard", |_| {
        connect(&socket(INET6, STREAM, 0)?, &v6([0; 16], OTHER))
    }),
    Road::out("connect to it by the mapped wildcard", |_| {
        connect(&socket(INET6, STREAM, 0)?, &v6(mapped([0; 4]), OTHER))
    }),
    Road::out("connect to the gateway's port on another address", |_| {
        connect(&socket(INET, STREAM, 0)?, &v4([127, 0, 0, 2], GATEWAY))
    }),
    Road::out("connect to an IPv6 address that holds the gateway's key", |_| {
        connect(&socket(INET6, STREAM, 0)?, &v6(ALIKE, GATEWAY))
    }),
    Road::out("TCP fast open", |_| {
        pending(send(&socket(INET, STREAM, 0)?, Some(&web()), libc::MSG_FASTOPEN))
    }),
    Road::out("TCP fast open over IPv6", |_| {
        pending(send(&socket(INET6, STREAM, 0)?, Some(&v6(OUT_V6, WEB)), libc::MSG_FASTOPEN))
    }),
    Road::out("TCP fast open to a mapped address", |_| {
        pending(send(&socket(INET6, STREAM, 0)?, Some(&v6(mapped(OUT), WEB)), libc::MSG_FASTOPEN))
    }),
    Road::out("TCP fast open by two threads, one of which dissolves a connection to the gateway", |_| {
        dissolved()
    }),
    Road::out("TCP_FASTOPEN_CONNECT", |_| {
        let socket = socket(INET, STREAM, 0)?;
        option(&socket, libc::IPPROTO_TCP, 30, &1u32.to_ne_bytes())?;
        connect(&socket, &web())?;
        send(&socket, None, 0)
    }),
    Road::out("sendto", |_| send(&socket(INET, DGRAM, 0)?, Some(&dns()), 0)),
    Road::out("sendto with no address family", |_| {
        let mut to = dns();
        to[..2].fill(0);
        send(&socket(INET, DGRAM, 0)?, Some(&to), 0)
    }),
    Road::out("sendto over IPv6", |_| send(&socket(INET6, DGRAM, 0)?, Some(&v6(OUT_V6, DNS)), 0)),
    Road::out("sendto a mapped address", |_| send(&socket(INET6, DGRAM, 0)?, Some(&v6(mapped(OUT), DNS)), 0)),
    Road::out("sendto an IPv4 address from an IPv6 socket", |_| {
        send(&socket(INET6, DGRAM, 0)?, Some(&dns()), 0)
    }),
    Road::out("sendmsg", |_| send_message(&socket(INET, DGRAM, 0)?, &dns())),
    Road::out("sendmmsg", |_| sendmmsg(&socket(INET, DGRAM, 0)?, &dns())),
    Road::out("connect a datagram socket and write", |_| {
        let socket = socket(INET, DGRAM, 0)?;
        connect(&socket, &dns())?;
        nix::unistd::write(&socket, SECRET)?;
        Ok(())
    }),
    Road::out("sendto an address although connected to the gateway", |_| {
        let socket = socket(INET, DGRAM, 0)?;
        let _ = connect(&socket, &v4([127, 0, 0, 1], GATEWAY));
        send(&socket, Some(&dns()), 0)
    }),
    Road::out("a corked datagram", |_| {
        let socket = socket(INET, DGRAM, 0)?;
        send(&socket, Some(&dns()), libc::MSG_MORE)?;
        send(&socket, None, 0)
    }),
];

/// A raw IPv4 packet's payload does not matter; its header is the kernel's.
fn raw(protocol: i32) -> io::Result<()> {
    send(&socket(INET, libc::SOCK_RAW, protocol)?, Some(&web()), 0)
}

/// An echo request.
fn ping(kind: i32) -> io::Result<()> {
    let socket = socket(INET, kind, libc::IPPROTO_ICMP)?;
    let echo: &[u8] = &[8, 0, 0xf7, 0xff, 0, 0, 0, 0];
    let to = web();
    call(
        libc::SYS_sendto,
        &mut [
            (&socket).into(),
            echo.into(),
            echo.len().into(),
            0.into(),
            to.as_slice().into(),
            to.len().into(),
        ],
    )
    .map(drop)
}

/// A frame of an experimental protocol through the loopback device.
fn frame(kind: i32) -> io::Result<()> {
    let socket = socket(libc::AF_PACKET, kind, 0)?;
    // struct sockaddr_ll: family, protocol, interface, hardware type, packet type, length, address.
    let mut to = vec![0; 20];
    to[..2].copy_from_slice(&17u16.to_ne_bytes());
    to[2..4].copy_from_slice(&0x88b5u16.to_be_bytes());
    to[4..8].copy_from_slice(&1u32.to_ne_bytes());
    to[11] = 6;
    let mut bytes = vec![0; 12];
    bytes.extend(0x88b5u16.to_be_bytes());
    bytes.extend(SECRET);
    call(
        libc::SYS_sendto,
        &mut [
            (&socket).into(),
            bytes.as_slice().into(),
            bytes.len().into(),
            0.into(),
            to.as_slice().into(),
            to.len().into(),
        ],
    )
    .map(drop)
}

pub(super) const ODD: &[Road] = &[
    Road::out("MPTCP", |_| connect(&socket(INET, STREAM, 262)?, &web())).if_any(),
    Road::out("UDP-Lite", |_| send(&socket(INET, DGRAM, 136)?, Some(&dns()), 0)).if_any(),
    Road::out("UDP-Lite, connected", |_| {
        let socket = socket(INET, DGRAM, 136)?;
        connect(&socket, &dns())?;
        send(&socket, None, 0)
    })
    .if_any(),
    Road::out("ping", |_| ping(DGRAM)),
    Road::out("raw ICMP", |_| ping(libc::SOCK_RAW)).as_root(),
    Road::out("raw of a made-up protocol", |_| raw(253)).as_root(),
    Road::out("packet socket", |_| frame(libc::SOCK_RAW)).as_root(),
    Road::out("packet socket without headers", |_| frame(DGRAM)).as_root(),
    Road::call("SCTP", |_| socket(INET, STREAM, libc::IPPROTO_SCTP).map(drop)).if_any(),
    Road::call("SMC", |_| socket(43, STREAM, 0).map(drop)).if_any(),
    Road::call("vsock", |_| socket(libc::AF_VSOCK, STREAM, 0).map(drop)).if_any(),
    Road::call("AF_ALG", |_| socket(libc::AF_ALG, 5, 0).map(drop)).if_any(),
    Road::call("XDP", |_| socket(44, libc::SOCK_RAW, 0).map(drop)).as_root().if_any(),
    Road::call("TIPC", |_| socket(libc::AF_TIPC, 4, 0).map(drop)).if_any(),
    Road::call("generic netlink", |_| socket(libc::AF_NETLINK, libc::SOCK_RAW, 16).map(drop)),
    Road::call("netlink to other programs", |_| socket(libc::AF_NETLINK, libc::SOCK_RAW, 2).map(drop)),
    Road::call("socket diagnosis", |_| socket(libc::AF_NETLINK, libc::SOCK_RAW, 4).map(drop)),
    Road::call("key management", |_| socket(libc::AF_KEY, libc::SOCK_RAW, 2).map(drop)).as_root().if_any(),
];

pub(super) fn made(family: i32, kind: i32, protocol: i32) -> io::Result<Vec<OwnedFd>> {
    Ok(vec![socket(family, kind, protocol)?])
}

pub(super) fn connected(family: i32, kind: i32, to: &[u8]) -> io::Result<Vec<OwnedFd>> {
    let socket = socket(family, kind, 0)?;
    connect(&socket, to)?;
    Ok(vec![socket])
}

pub(super) const BEFORE: &[Road] = &[
    Road::out("connect what was made outside", |fds| connect(&fds[0], &web()))
        .before(|| made(INET, STREAM, 0)),
    Road::out("fast open on what was made outside", |fds| {
        pending(send(&fds[0], Some(&web()), libc::MSG_FASTOPEN))
    })
    .before(|| made(INET, STREAM, 0)),
    Road::tell("send on a connection made outside", |fds| send(&fds[0], None, 0))
        .before(|| connected(INET, STREAM, &web())),
    Road::tell("name the gateway on a connection made outside", |fds| {
        send(&fds[0], Some(&v4([127, 0, 0, 1], GATEWAY)), 0)
    })
    .before(|| connected(INET, STREAM, &web())),
    Road::tell("write on an IPv6 connection made outside", |fds| {
        nix::unistd::write(&fds[0], SECRET)?;
        Ok(())
    })
    .before(|| connected(INET6, STREAM, &v6(OUT_V6, WEB))),
    Road::tell("splice into a connection made outside", |fds| splice(&fds[0]))
        .before(|| connected(INET, STREAM, &web())),
    Road::tell("splice into a datagram socket connected outside", |fds| splice(&fds[0]))
        .before(|| connected(INET, DGRAM, &dns())),
    Road::tell("vmsplice and tee into a connection made outside", |fds| {
        let (first, second) = (nix::unistd::pipe()?, nix::unistd::pipe()?);
        let (vector, length) = (secret(), SECRET.len());
        let mut given = [(&first.1).into(), vector.as_slice().into(), 1.into(), 0.into()];
        call(libc::SYS_vmsplice, &mut given)?;
        call(libc::SYS_tee, &mut [(&first.0).into(), (&second.1).into(), length.into(), 0.into()])?;
        into(&second.0, &fds[0])
    })
    .before(|| connected(INET, STREAM, &web())),
    Road::tell("sendfile into a connection made outside", |fds| {
        call(libc::SYS_sendfile, &mut [(&fds[0]).into(), (&fds[1]).into(), 0.into(), SECRET.len().into()])?;
        Ok(())
    })
    .before(|| {
        let mut fds = connected(INET, STREAM, &web())?;
        let file = call_fd(libc::SYS_memfd_create, &mut [c"secret".into(), 0.into()])?;
        nix::unistd::write(&file, SECRET)?;
        nix::unistd::lseek(&file, 0, nix::unistd::Whence::SeekSet)?;
        fds.push(file);
        Ok(fds)
    }),
    Road::out("sendto on a datagram socket made outside", |fds| send(&fds[0], Some(&dns()), 0))
        .before(|| made(INET, DGRAM, 0)),
    Road::tell("send on a datagram socket connected outside", |fds| send(&fds[0], None, 0))
        .before(|| connected(INET, DGRAM, &dns())),
    Road::tell("no family on an IPv6 datagram socket connected outside", |fds| {
        send(&fds[0], Some(&[0; 28]), 0)
    })
    .before(|| connected(INET6, DGRAM, &v6(OUT_V6, DNS))),
    Road::out("send on a raw socket made outside", |fds| send(&fds[0], Some(&web()), 0))
        .as_root()
        .before(|| made(INET, libc::SOCK_RAW, 253)),
    Road::out("send on UDP-Lite connected outside", |fds| send(&fds[0], None, 0))
        .since(6, 1)
        .if_any()
        .before(|| {
            let socket = socket(INET, DGRAM, 136).or_else(|_| socket(INET, DGRAM, 0))?;
            connect(&socket, &dns())?;
            Ok(vec![socket])
        }),
    Road::call("write to a device opened outside", |fds| {
        Ok(nix::unistd::write(&fds[0], b"<7>an agent\n").map(drop)?)
    })
    .as_root()
    .before(|| Ok(vec![std::fs::File::options().write(true).open("/dev/kmsg")?.into()])),
    Road::call("a datagram where nothing can be remembered of its socket", |fds| {
        send(&fds[0], Some(&v4([127, 0, 0, 1], LOCAL)), 0)
    })
    .before(|| full(DGRAM)),
    Road::call("a connection where nothing can be remembered of its socket", |fds| {
        connect(&fds[0], &v4([127, 0, 0, 1], GATEWAY))
    })
    .as_root()
    .before(|| full(STREAM)),
    Road::tell("send on a socket received from outside", |fds| {
        let received = receive(&fds[1])?;
        send(&received, None, 0)
    })
    .before(hand_over),
    Road::tell("send on a connection duplicated from before", |fds| {
        let copy = nix::unistd::dup(&fds[0])?;
        check_other(&copy, &fds[0])?;
        send(&copy, None, 0)
    })
    .before(|| connected(INET, STREAM, &web())),
];

/// Takes the secret out of a pipe, into a socket.
fn into(pipe: &OwnedFd, socket: &OwnedFd) -> io::Result<()> {
    let length = SECRET.len().into();
    call(libc::SYS_splice, &mut [pipe.into(), 0.into(), socket.into(), 0.into(), length, 0.into()]).map(drop)
}

fn splice(socket: &OwnedFd) -> io::Result<()> {
    let (read, write) = nix::unistd::pipe()?;
    nix::unistd::write(&write, SECRET)?;
    into(&read, socket)
}

fn check_other(one: &OwnedFd, other: &OwnedFd) -> io::Result<()> {
    check(one.as_raw_fd() != other.as_raw_fd())
}

/// A connected socket on its way through a pair: it is received inside.
fn hand_over() -> io::Result<Vec<OwnedFd>> {
    let (here, there) = UnixStream::pair()?;
    let socket = connected(INET, DGRAM, &dns())?.remove(0);
    let rights = [ControlMessage::ScmRights(&[socket.as_raw_fd()])];
    sendmsg::<()>(here.as_raw_fd(), &[IoSlice::new(b"x")], &rights, MsgFlags::empty(), None)?;
    Ok(vec![here.into(), there.into()])
}

/// The descriptor that waits there. One that is refused is left out of the message.
fn receive(from: &OwnedFd) -> io::Result<OwnedFd> {
    let (mut byte, mut space) = ([0], nix::cmsg_space!([i32; 1]));
    let mut parts = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<()>(from.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty())?;
    // What was left out makes the message a cut one.
    for control in message.cmsgs().map_err(|_| refused())? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            return fds.first().map_or(Err(refused()), |fd| adopt(*fd));
        }
    }
    Err(refused())
}

fn refused() -> io::Error {
    io::Error::from_raw_os_error(libc::EPERM)
}
