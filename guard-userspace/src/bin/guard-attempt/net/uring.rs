//! Sockets by io_uring requests.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::{DGRAM, INET, SECRET, STREAM, connect, socket};
use crate::scene::Scene;
use crate::sys::uring::{ASYNC, OP_CONNECT, OP_SEND, OP_SEND_ZC, OP_SOCKET, OP_URING_CMD, Request, Ring};
use crate::table::{Attempt, handed, plain};

fn dial(at: &Scene, flags: u8) -> io::Result<()> {
    let (socket, to) = (socket(INET, STREAM, 0)?, at.address("web")?);
    Ring::new(0)?
        .run(&Request {
            opcode: OP_CONNECT,
            flags,
            fd: socket.as_raw_fd(),
            first: Some(&to),
            offset: to.len() as u64,
            ..Request::default()
        })
        .map(drop)
}

fn send(opcode: u8, socket: &OwnedFd) -> io::Result<()> {
    Ring::new(0)?
        .run(&Request {
            opcode,
            fd: socket.as_raw_fd(),
            first: Some(SECRET),
            len: SECRET.len() as u32,
            ..Request::default()
        })
        .map(drop)
}

fn to_web(at: &Scene) -> io::Result<Vec<OwnedFd>> {
    let socket = socket(INET, STREAM, 0)?;
    connect(&socket, &at.address("web")?)?;
    Ok(vec![socket])
}

pub(crate) const TRIES: &[Attempt] = &[
    plain("uring-connect", |at, _| dial(at, 0)),
    plain("uring-connect-by-worker", |at, _| dial(at, ASYNC)),
    plain("uring-socket-udp-lite", |_, _| {
        // Domain, type and protocol lie in fd, off and len.
        Ring::new(0)?
            .run(&Request {
                opcode: OP_SOCKET,
                fd: INET,
                offset: DGRAM as u64,
                len: 136,
                ..Request::default()
            })
            .map(drop)
    }),
    handed("uring-send-inherited", to_web, |_, fds| send(OP_SEND, &fds[0])),
    handed("uring-send-zc-inherited", to_web, |_, fds| send(OP_SEND_ZC, &fds[0])),
    plain("uring-sqpoll", |_, _| Ring::new(2).map(drop)),
    plain("uring-cmd", |_, _| {
        let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
        Ring::new(0)?
            .run(&Request { opcode: OP_URING_CMD, fd: null.as_raw_fd(), ..Request::default() })
            .map(drop)
    }),
    plain("uring-personality", |_, _| {
        const REGISTER_PERSONALITY: i32 = 9;
        let ring = Ring::new(0)?;
        let own = crate::sys::call(
            libc::SYS_io_uring_register,
            &mut [
                ring.fd().into(),
                REGISTER_PERSONALITY.into(),
                crate::sys::Arg::Num(0),
                crate::sys::Arg::Num(0),
            ],
        )?;
        // A request that does nothing, with other credentials.
        ring.run(&Request { opcode: 0, personality: own as u16, ..Request::default() }).map(drop)
    }),
];
