//! What a socket has begun before the policies change, and ends after: a connection on which `listen` was called, which
//! makes it no listener, and a datagram that waits for more bytes, which goes to the address it began with.

use std::fs;
use std::io::{self, Read, Write};
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::wait::waitpid;

use super::super::agent::enter;
use super::super::stage::{POLICIES, Stage};
use super::super::sys::{self, call};
use super::limits::wait_for_gateway;
use super::world::{GATEWAY, OPEN, World, bind, connect, listen, option, socket, v4, v6};

const LOOPBACK: [u8; 4] = [127, 0, 0, 1];
const SIX: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
/// Where a datagram begins to go, and to whom its socket is connected then.
const FIRST: u16 = 7072;
const SECOND: u16 = 7073;
const LATE: &[u8] = b"late";

fn send(socket: &OwnedFd, bytes: &[u8], to: Option<&[u8]>, flags: i32) -> io::Result<()> {
    let (address, length) = to.map_or((0.into(), 0), |to| (to.into(), to.len()));
    call(
        libc::SYS_sendto,
        &mut [
            socket.into(),
            bytes.into(),
            bytes.len().into(),
            (flags | libc::MSG_NOSIGNAL).into(),
            address,
            length.into(),
        ],
    )
    .map(drop)
}

/// Has the kernel move the bytes from a pipe: past the hook of sends before 6.5.
fn splice(socket: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    let (out, into) = nix::unistd::pipe()?;
    nix::unistd::write(&into, bytes)?;
    let arguments = &mut [(&out).into(), 0.into(), socket.into(), 0.into(), bytes.len().into(), 0.into()];
    call(libc::SYS_splice, arguments).map(drop)
}

/// How the agent ends what it has begun.
type End = fn(&OwnedFd) -> io::Result<()>;

const ENDS: &[End] = &[|socket| send(socket, LATE, None, 0), |socket| splice(socket, LATE)];

/// The agent: begins, says so, waits, and ends.
fn agent(wait: OwnedFd, tell: OwnedFd, end: End) -> io::Result<()> {
    let (mut wait, mut tell) = (fs::File::from(wait), fs::File::from(tell));
    wait.read_exact(&mut [0])?;
    let stream = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    option(&stream, libc::SOL_SOCKET, libc::SO_REUSEADDR, &[1, 0, 0, 0])?;
    bind(&stream, &v4(LOOPBACK, OPEN))?;
    connect(&stream, &v4(LOOPBACK, GATEWAY))?;
    let _ = listen(&stream);
    let datagram = socket(libc::AF_INET6, libc::SOCK_DGRAM, 0)?;
    send(&datagram, b"early ", Some(&v6(SIX, FIRST)), libc::MSG_MORE)?;
    tell.write_all(b"1")?;
    wait.read_exact(&mut [0])?;
    let _ = end(&stream);
    let _ = connect(&datagram, &v6(SIX, SECOND)).and_then(|()| end(&datagram));
    tell.write_all(b"2")
}

/// What came: late bytes on the connection, and to the two addresses.
#[derive(Debug, PartialEq, Eq)]
struct Came {
    stream: bool,
    first: bool,
    second: bool,
}

fn round(stage: &Stage, world: &World, end: End, change: impl FnOnce() -> Result<()>) -> Result<Came> {
    let cgroup = stage.cgroup("net")?;
    let sinks = [FIRST, SECOND].map(|port| UdpSocket::bind(("::1", port)));
    let [first, second] = sinks;
    let (first, second) = (first?, second?);
    let (wait, go) = nix::unistd::pipe()?;
    let (told, tell) = nix::unistd::pipe()?;
    let Some(child) = sys::split()? else {
        drop((go, told, first, second));
        sys::end_with(|| i32::from(agent(wait, tell, end).is_err()))
    };
    drop((wait, tell));
    let (mut go, mut told) = (fs::File::from(go), fs::File::from(told));
    enter(cgroup.path(), child)?;
    let came = (|| {
        go.write_all(b"1")?;
        told.read_exact(&mut [0]).context("the agent could not begin")?;
        let mut connection = world.accept_from(OPEN)?;
        change()?;
        go.write_all(b"2")?;
        told.read_exact(&mut [0]).context("the agent did not end")?;
        connection.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut room = [0; 64];
        let length = connection.read(&mut room).unwrap_or(0);
        let late = |sink: &UdpSocket| -> Result<bool> {
            sink.set_read_timeout(Some(Duration::from_secs(1)))?;
            let mut room = [0; 64];
            let length = sink.recv(&mut room).unwrap_or(0);
            Ok(room[..length].ends_with(LATE))
        };
        Ok(Came { stream: room[..length].ends_with(LATE), first: late(&first)?, second: late(&second)? })
    })();
    drop(go);
    waitpid(child, None)?;
    came
}

pub(super) fn what_is_begun_ends_under_the_policies_of_now() -> Result<()> {
    let (stage, world) = (Stage::set()?, World::set()?);
    let file = Path::new(POLICIES).join("net.yaml");
    let plain = fs::read_to_string(&file)?;
    let rules = "  rules:\n    - { id: local,";
    let peers = |ports: &[u16]| {
        let to: Vec<String> = ports.iter().map(|port| format!("\"[::1]:{port}/udp\"")).collect();
        let ours = format!(
            "  rules:\n    - {{ id: peers, to: [{}], verdict: allow }}\n    - {{ id: local,",
            to.join(", ")
        );
        plain.replacen(rules, &ours, 1)
    };
    let (wide, narrow) =
        (peers(&[FIRST, SECOND]), peers(&[SECOND]).replace(&format!("gateway: [127.0.0.1:{GATEWAY}]\n"), ""));
    ensure!(wide != plain && !narrow.contains("gateway:"), "another policy than expected: {plain}");
    let set = |text: &str| {
        fs::write(&file, text)?;
        stage.reload()
    };
    for end in ENDS {
        set(&wide)?;
        wait_for_gateway(true)?;
        let both = round(&stage, &world, *end, || Ok(()));
        let changed = round(&stage, &world, *end, || set(&narrow));
        set(&plain)?;
        wait_for_gateway(true)?;
        let both = both?;
        ensure!(both.stream && (both.first || both.second), "under one policy not all came: {both:?}");
        let changed = changed?;
        ensure!(!changed.stream && !changed.first, "after the change: {changed:?}");
        // Where a kernel sends it to the new peer, that is allowed.
        ensure!(!changed.second || both.second, "after the change: {changed:?}, before: {both:?}");
    }
    Ok(())
}
