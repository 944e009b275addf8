//! Sockets from before the label: inherited, received, duplicated.

use std::io;
use std::os::fd::OwnedFd;

use super::{DGRAM, INET, INET6, SECRET, STREAM, connect, pending, send, socket};
use crate::files::inherited::{in_flight, receive};
use crate::scene::Scene;
use crate::sys::{call, v4};
use crate::table::{Attempt, handed};

fn tcp(_: &Scene) -> io::Result<Vec<OwnedFd>> {
    Ok(vec![socket(INET, STREAM, 0)?])
}

fn connected(family: i32, kind: i32, to: &[u8]) -> io::Result<Vec<OwnedFd>> {
    let socket = socket(family, kind, 0)?;
    connect(&socket, to)?;
    Ok(vec![socket])
}

fn to_web(at: &Scene) -> io::Result<Vec<OwnedFd>> {
    connected(INET, STREAM, &at.address("web")?)
}

pub(crate) const TRIES: &[Attempt] = &[
    handed("connect-inherited", tcp, |at, fds| connect(&fds[0], &at.address("web")?)),
    handed("fast-open-inherited", tcp, |at, fds| {
        pending(send(&fds[0], Some(&at.address("web")?), libc::MSG_FASTOPEN))
    }),
    handed("send-inherited-connection", to_web, |_, fds| send(&fds[0], None, 0)),
    handed("send-inherited-oob", to_web, |_, fds| send(&fds[0], None, libc::MSG_OOB)),
    handed("write-inherited-connection", to_web, |_, fds| {
        nix::unistd::write(&fds[0], SECRET)?;
        Ok(())
    }),
    handed("send-inherited-naming-gateway", to_web, |at, fds| {
        send(&fds[0], Some(&at.address("gateway")?), 0)
    }),
    handed(
        "write-inherited-connection-v6",
        |at| connected(INET6, STREAM, &at.address("web6")?),
        |_, fds| {
            nix::unistd::write(&fds[0], SECRET)?;
            Ok(())
        },
    ),
    handed("splice-inherited-connection", to_web, |_, fds| {
        let (read, write) = nix::unistd::pipe()?;
        nix::unistd::write(&write, SECRET)?;
        call(
            libc::SYS_splice,
            &mut [(&read).into(), 0.into(), (&fds[0]).into(), 0.into(), SECRET.len().into(), 0.into()],
        )
        .map(drop)
    }),
    handed("send-duplicated-connection", to_web, |_, fds| send(&nix::unistd::dup(&fds[0])?, None, 0)),
    handed(
        "send-inherited-datagram",
        |_| Ok(vec![socket(INET, DGRAM, 0)?]),
        |at, fds| send(&fds[0], Some(&at.address("dns")?), 0),
    ),
    handed(
        "send-inherited-connected-datagram",
        |at| connected(INET, DGRAM, &at.address("dns")?),
        |_, fds| send(&fds[0], None, 0),
    ),
    handed(
        "send-inherited-connected-v6-no-family",
        |at| connected(INET6, DGRAM, &at.address("dns6")?),
        |_, fds| send(&fds[0], Some(&[0; 28]), 0),
    ),
    handed(
        "send-inherited-raw",
        |_| Ok(vec![socket(INET, libc::SOCK_RAW, 253)?]),
        |at, fds| send(&fds[0], Some(&v4(at.ip("web")?, 0)), 0),
    ),
    handed(
        "send-inherited-udp-lite",
        |at| {
            let socket = socket(INET, DGRAM, 136)?;
            connect(&socket, &at.address("dns")?)?;
            Ok(vec![socket])
        },
        |_, fds| send(&fds[0], None, 0),
    ),
    handed(
        "receive-connection",
        |at| Ok(vec![in_flight(&to_web(at)?[0])?]),
        |_, fds| send(&receive(&fds[0])?, None, 0),
    ),
    handed(
        "sctp-connectx-inherited",
        |_| Ok(vec![socket(INET, STREAM, libc::IPPROTO_SCTP)?]),
        |at, fds| {
            const SCTP_SOCKOPT_CONNECTX: i32 = 110;
            super::option(&fds[0], libc::IPPROTO_SCTP, SCTP_SOCKOPT_CONNECTX, &at.address("web")?)
        },
    ),
    handed(
        "netlink-inherited",
        |_| Ok(vec![socket(libc::AF_NETLINK, libc::SOCK_RAW, 16)?]),
        |_, fds| {
            // struct nlmsghdr of a generic message, CTRL_CMD_GETFAMILY: dump.
            let mut ask = vec![0u8; 20];
            ask[0] = 20;
            ask[4] = 16;
            ask[6..8].copy_from_slice(&0x301u16.to_ne_bytes());
            ask[16] = 3;
            super::send_bytes(&fds[0], &ask, None, 0)
        },
    ),
];
