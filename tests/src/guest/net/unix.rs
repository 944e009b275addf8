//! Unix sockets of others: docker's, the bus, ssh-agent, by whatever name.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::super::sys::call_fd;
use super::Road;
use super::world::{bind, connect, listen, send, socket, unix};

const UNIX: i32 = libc::AF_UNIX;
const STREAM: i32 = libc::SOCK_STREAM;
const DGRAM: i32 = libc::SOCK_DGRAM;
const SEQPACKET: i32 = libc::SOCK_SEQPACKET;

/// Somebody outside who is served under a name.
fn server(kind: i32, name: &[u8]) -> io::Result<Vec<OwnedFd>> {
    let server = socket(UNIX, kind, 0)?;
    // Of the attempt before.
    let _ = std::fs::remove_file(&*String::from_utf8_lossy(name));
    bind(&server, &unix(name))?;
    if kind != DGRAM {
        listen(&server)?;
    }
    Ok(vec![server])
}

/// A name of its own for each user, who could not remove another's.
fn fresh(start: &[u8]) -> Vec<u8> {
    [start, nix::unistd::getuid().to_string().as_bytes()].concat()
}

/// The same with a client that waits.
fn waited_for(name: &[u8]) -> io::Result<Vec<OwnedFd>> {
    let mut fds = server(STREAM, name)?;
    let client = socket(UNIX, STREAM, 0)?;
    connect(&client, &unix(name))?;
    fds.push(client);
    Ok(fds)
}

fn file() -> Vec<u8> {
    fresh(b"/tmp/guard-other-")
}

fn hidden() -> Vec<u8> {
    fresh(b"\0guard-other-")
}

pub(super) const ROADS: &[Road] = &[
    Road::call("connect to a socket file", |_| connect(&socket(UNIX, STREAM, 0)?, &unix(&file())))
        .before(|| server(STREAM, &file())),
    Road::call("connect through a link where sockets are allowed", |_| {
        let link = fresh(b"/tmp/guard-link-");
        let path = |bytes: &[u8]| Path::new(&*String::from_utf8_lossy(bytes)).to_owned();
        let _ = std::fs::remove_file(path(&link));
        symlink(path(&file()), path(&link))?;
        connect(&socket(UNIX, STREAM, 0)?, &unix(&link))
    })
    .before(|| server(STREAM, &file())),
    Road::call("connect to an abstract name", |_| connect(&socket(UNIX, STREAM, 0)?, &unix(&hidden())))
        .before(|| server(STREAM, &hidden())),
    Road::call("connect to a packet socket", |_| connect(&socket(UNIX, SEQPACKET, 0)?, &unix(&hidden())))
        .before(|| server(SEQPACKET, &hidden())),
    Road::call("sendto a datagram socket file", |_| send(&socket(UNIX, DGRAM, 0)?, Some(&unix(&file())), 0))
        .before(|| server(DGRAM, &file())),
    Road::call("sendto an abstract datagram name", |_| {
        send(&socket(UNIX, DGRAM, 0)?, Some(&unix(&hidden())), 0)
    })
    .before(|| server(DGRAM, &hidden())),
    Road::call("connect a datagram socket", |_| connect(&socket(UNIX, DGRAM, 0)?, &unix(&file())))
        .before(|| server(DGRAM, &file())),
    Road::call("connect what was made outside", |fds| connect(&fds[1], &unix(&hidden()))).before(|| {
        let mut fds = server(STREAM, &hidden())?;
        fds.push(socket(UNIX, STREAM, 0)?);
        Ok(fds)
    }),
    Road::call("accept on what listened outside", |fds| {
        call_fd(libc::SYS_accept, &mut [(&fds[0]).into(), 0.into(), 0.into()]).map(drop)
    })
    .before(|| waited_for(&hidden())),
    Road::call("listen on what was bound outside", |fds| listen(&fds[0])).before(|| {
        let socket = socket(UNIX, STREAM, 0)?;
        bind(&socket, &unix(&hidden()))?;
        Ok(vec![socket])
    }),
    Road::call("send to the peer of a datagram socket connected outside", |fds| send(&fds[1], None, 0))
        .before(|| {
            let mut fds = server(DGRAM, &hidden())?;
            let client = socket(UNIX, DGRAM, 0)?;
            connect(&client, &unix(&hidden()))?;
            fds.push(client);
            Ok(fds)
        }),
];
