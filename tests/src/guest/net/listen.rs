//! Letting in, and what must go on working.

use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use super::super::sys::{call, call_fd, spawn};
use super::Road;
use super::world::{
    GATEWAY, OPEN, SIX, bind, check, connect, listen, mapped, option, send, socket, unix, v4, v6,
};

const INET: i32 = libc::AF_INET;
const INET6: i32 = libc::AF_INET6;
const STREAM: i32 = libc::SOCK_STREAM;
const DGRAM: i32 = libc::SOCK_DGRAM;
const LOOPBACK: [u8; 4] = [127, 0, 0, 1];

/// A port that nobody uses.
const FREE: u16 = 5555;
/// The gateway's port on an address where it does not listen: taking it would do if it listened on all.
const SQUAT: [u8; 4] = [127, 0, 0, 3];

pub(super) const ROADS: &[Road] = &[
    Road::call("bind a port", |_| bind(&socket(INET, STREAM, 0)?, &v4(LOOPBACK, FREE))),
    Road::call("bind a port of every address", |_| bind(&socket(INET, STREAM, 0)?, &v4([0; 4], FREE))),
    Road::call("bind an IPv6 port", |_| bind(&socket(INET6, STREAM, 0)?, &v6([0; 16], FREE))),
    Road::call("bind a mapped address", |_| bind(&socket(INET6, STREAM, 0)?, &v6(mapped(LOOPBACK), FREE))),
    Road::call("bind with no family", |_| {
        let mut at = v4([0; 4], FREE);
        at[..2].fill(0);
        bind(&socket(INET, STREAM, 0)?, &at)
    }),
    Road::call("bind a datagram port", |_| bind(&socket(INET, DGRAM, 0)?, &v4([0; 4], FREE))),
    Road::call("listen without binding", |_| listen(&socket(INET, STREAM, 0)?)),
    Road::call("listen on a port of the kernel's choice", |_| {
        let socket = socket(INET, STREAM, 0)?;
        bind(&socket, &v4(LOOPBACK, 0))?;
        listen(&socket)
    }),
    Road::call("take the gateway's port, sharing it", |_| {
        let socket = socket(INET, STREAM, 0)?;
        option(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, &[1, 0, 0, 0])?;
        option(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, &[1, 0, 0, 0])?;
        bind(&socket, &v4(SQUAT, GATEWAY))
    }),
    Road::call("listen on what was bound outside", |fds| listen(&fds[0])).before(|| {
        let socket = socket(INET, STREAM, 0)?;
        bind(&socket, &v4(LOOPBACK, 0))?;
        Ok(vec![socket])
    }),
    Road::call("accept on what listened outside", |fds| accept(&fds[0]).map(drop)).before(waiting),
    Road::call("choose the gateway's port by a range of ports", |_| {
        option(&socket(INET, STREAM, 0)?, libc::IPPROTO_IP, 51, &0x9c40_9c40u32.to_ne_bytes())
    })
    .since(6, 3),
];

/// A listener with a client.
pub(super) fn waiting() -> io::Result<Vec<OwnedFd>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    Ok(vec![listener.into(), client.into()])
}

fn accept(listener: &OwnedFd) -> io::Result<OwnedFd> {
    call_fd(libc::SYS_accept, &mut [listener.into(), 0.into(), 0.into()])
}

/// Listens where the policy lets it, and answers a client from outside, which was started before.
fn serve() -> io::Result<()> {
    let socket = socket(INET, STREAM, 0)?;
    option(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, &[1, 0, 0, 0])?;
    bind(&socket, &v4(LOOPBACK, OPEN))?;
    listen(&socket)?;
    let client = accept(&socket)?;
    send(&client, None, 0)?;
    let mut word = [0];
    // The client says what it has heard.
    call(libc::SYS_read, &mut [(&client).into(), word.as_mut_slice().into(), 1.into()])?;
    check(word == *b"s")
}

/// Somebody outside who waits for the port to open.
fn client() -> io::Result<Vec<OwnedFd>> {
    spawn(|| {
        // Or the attempt would wait for this process to let go of its pipes.
        let _ = call(libc::SYS_close_range, &mut [3.into(), i32::MAX.into(), 0.into()]);
        for _ in 0..500 {
            if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", OPEN)) {
                let mut word = [0];
                let heard = stream.read_exact(&mut word);
                let _ = heard.and_then(|()| io::Write::write_all(&mut stream, &word));
                return 0;
            }
            thread::sleep(Duration::from_millis(10));
        }
        1
    })?;
    Ok(Vec::new())
}

/// Asks for the host's addresses, as getifaddrs(3) does.
fn addresses() -> io::Result<()> {
    let socket = socket(libc::AF_NETLINK, libc::SOCK_RAW, 0)?;
    // struct nlmsghdr (length, RTM_GETADDR, request and dump, sequence, port), struct rtgenmsg.
    let mut ask = vec![0u8; 20];
    ask[0] = 20;
    ask[4] = 22;
    ask[6..8].copy_from_slice(&0x301u16.to_ne_bytes());
    call(
        libc::SYS_sendto,
        &mut [(&socket).into(), ask.as_slice().into(), ask.len().into(), 0.into(), 0.into(), 0.into()],
    )?;
    let mut answer = [0u8; 4096];
    let got = call(libc::SYS_read, &mut [(&socket).into(), answer.as_mut_slice().into(), 4096.into()])?;
    check(got > 16)
}

/// A listener and its client, both of the session.
fn own(name: &[u8], kind: i32) -> io::Result<()> {
    let (listener, client) = (socket(libc::AF_UNIX, kind, 0)?, socket(libc::AF_UNIX, kind, 0)?);
    bind(&listener, &unix(name))?;
    if kind == DGRAM {
        return send(&client, Some(&unix(name)), 0);
    }
    listen(&listener)?;
    connect(&client, &unix(name))?;
    send(&client, None, 0)
}

pub(super) const KEPT: &[Road] = &[
    Road::stays("connect to the gateway", |_| {
        let socket = socket(INET, STREAM, 0)?;
        connect(&socket, &v4(LOOPBACK, GATEWAY))?;
        send(&socket, None, 0)?;
        send(&socket, None, 0)
    }),
    Road::stays("connect to the gateway by a mapped address", |_| {
        let socket = socket(INET6, STREAM, 0)?;
        connect(&socket, &v6(mapped(LOOPBACK), GATEWAY))?;
        send(&socket, None, 0)
    }),
    Road::stays("connect to the gateway by the wildcard", |_| {
        connect(&socket(INET, STREAM, 0)?, &v4([0; 4], GATEWAY))
    }),
    Road::stays("connect to an IPv6 address that is given", |_| {
        let mut loopback = [0; 16];
        loopback[15] = 1;
        let socket = socket(INET6, STREAM, 0)?;
        connect(&socket, &v6(loopback, SIX))?;
        send(&socket, None, 0)
    }),
    Road::stays("listen on an open port of every IPv6 address", |_| {
        let socket = socket(INET6, STREAM, 0)?;
        option(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, &[1, 0, 0, 0])?;
        bind(&socket, &v6([0; 16], OPEN))?;
        listen(&socket)
    }),
    Road::stays("fast open to the gateway", |_| {
        match send(&socket(INET, STREAM, 0)?, Some(&v4(LOOPBACK, GATEWAY)), libc::MSG_FASTOPEN) {
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
            other => other,
        }
    }),
    Road::stays("reach the gateway on a socket made outside", |fds| {
        connect(&fds[0], &v4(LOOPBACK, GATEWAY))?;
        send(&fds[0], None, 0)
    })
    .before(|| Ok(vec![socket(INET, STREAM, 0)?])),
    Road::stays("dissolve a connection", |_| {
        let socket = socket(INET, STREAM, 0)?;
        connect(&socket, &v4(LOOPBACK, GATEWAY))?;
        connect(&socket, &[0; 16])?;
        connect(&socket, &v4(LOOPBACK, GATEWAY))
    }),
    Road::stays("bind a datagram socket to a port of the kernel's choice", |_| {
        bind(&socket(INET, DGRAM, 0)?, &v4([0; 4], 0))
    }),
    Road::stays("serve on a port that is open", |_| serve()).before(client),
    Road::stays("ask for the host's addresses", |_| addresses()),
    Road::stays("a pair of sockets", |_| {
        let (one, other) = std::os::unix::net::UnixStream::pair()?;
        io::Write::write_all(&mut &one, b"s")?;
        let mut word = [0];
        (&other).read_exact(&mut word)
    }),
    Road::stays("a pair of datagram sockets", |_| {
        let (one, _other) = std::os::unix::net::UnixDatagram::pair()?;
        one.send(b"s").map(drop)
    }),
    Road::stays("a pair made outside", |fds| send(&fds[0], None, 0)).before(|| {
        let (one, other) = std::os::unix::net::UnixDatagram::pair()?;
        Ok(vec![one.into(), other.into()])
    }),
    Road::stays("an abstract socket of its own", |_| own(&name(b"\0guard-own-"), STREAM)),
    Road::stays("a packet socket of its own", |_| own(&name(b"\0guard-packets-"), libc::SOCK_SEQPACKET)),
    Road::stays("a datagram socket of its own", |_| own(&name(b"\0guard-datagrams-"), DGRAM)),
    Road::stays("a socket file of its own", |_| own(&name(b"/tmp/guard-own-"), STREAM)),
];

fn name(start: &[u8]) -> Vec<u8> {
    [start, nix::unistd::gettid().to_string().as_bytes()].concat()
}
