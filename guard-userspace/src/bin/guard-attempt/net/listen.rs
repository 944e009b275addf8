//! Letting in.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use super::{DGRAM, INET, INET6, STREAM, bind, listen, option, socket};
use crate::sys::{call_fd, v4, v6};
use crate::table::{Attempt, handed, plain};

const LOOPBACK: [u8; 4] = [127, 0, 0, 1];

fn accept(listener: &OwnedFd) -> io::Result<OwnedFd> {
    call_fd(libc::SYS_accept, &mut [listener.into(), 0.into(), 0.into()])
}

pub(crate) const TRIES: &[Attempt] = &[
    plain("bind-port", |at, _| bind(&socket(INET, STREAM, 0)?, &v4(LOOPBACK, at.need("free")?))),
    plain("bind-port-everywhere", |at, _| bind(&socket(INET, STREAM, 0)?, &v4([0; 4], at.need("free")?))),
    plain("bind-port-v6", |at, _| bind(&socket(INET6, STREAM, 0)?, &v6([0; 16], at.need("free")?))),
    plain("bind-no-family", |at, _| {
        let mut to = v4([0; 4], at.need("free")?);
        to[..2].fill(0);
        bind(&socket(INET, STREAM, 0)?, &to)
    }),
    plain("bind-datagram-port", |at, _| bind(&socket(INET, DGRAM, 0)?, &v4([0; 4], at.need("free")?))),
    plain("listen-unbound", |_, _| listen(&socket(INET, STREAM, 0)?)),
    plain("listen-any-port", |_, _| {
        let socket = socket(INET, STREAM, 0)?;
        bind(&socket, &v4(LOOPBACK, 0))?;
        listen(&socket)
    }),
    plain("squat-gateway-port", |at, _| {
        let socket = socket(INET, STREAM, 0)?;
        option(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, &[1, 0, 0, 0])?;
        option(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, &[1, 0, 0, 0])?;
        bind(&socket, &at.elsewhere("gateway", [127, 0, 0, 77])?)
    }),
    handed(
        "listen-inherited",
        |_| {
            let socket = socket(INET, STREAM, 0)?;
            bind(&socket, &v4(LOOPBACK, 0))?;
            Ok(vec![socket])
        },
        |_, fds| listen(&fds[0]),
    ),
    handed(
        "accept-inherited",
        |_| {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let client = TcpStream::connect(listener.local_addr()?)?;
            Ok(vec![listener.into(), client.into()])
        },
        |_, fds| accept(&fds[0]).map(drop),
    ),
];
