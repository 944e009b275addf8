//! Packets that wait in a socket when the policies change: no call of the agent's follows by which it could be stopped, so
//! the packets' program alone says that they go no further.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::SockaddrIn;
use nix::sys::wait::waitpid;

use super::super::agent::enter;
use super::super::stage::{POLICIES, Stage};
use super::super::sys;
use super::limits::wait_for_gateway;
use super::world::{GATEWAY, World};

/// Governs the same cgroups as the policy with the gateway, and lets nothing out.
const ALSO: &str = "version: 1
policy: kt-also
applies_to:
  - cgroup: /kt/net/**
mode: enforce
exec: { default: allow }
load: { default: allow }
read: { default: allow }
write: { default: allow }
connect: { default: block }
";

/// What the agent sent, and what came.
struct Sent {
    queued: u64,
    came: u64,
}

/// Has an agent fill its connection to a gateway that does not read, makes the change, and has the gateway read. `foreign`:
/// the socket is made before the process enters the cgroup.
fn queued(stage: &Stage, world: &World, foreign: bool, change: impl FnOnce() -> Result<()>) -> Result<Sent> {
    let cgroup = stage.cgroup("net")?;
    let (wait, go) = nix::unistd::pipe()?;
    let (told, tell) = nix::unistd::pipe()?;
    let Some(child) = sys::split()? else {
        drop((go, told));
        sys::end_with(|| {
            let early = foreign.then(socket);
            let _ = fs::File::from(wait).read(&mut [0]);
            match early.unwrap_or_else(socket).and_then(fill) {
                Ok((connection, words)) => {
                    let _ = fs::File::from(tell).write_all(&words.map(u64::to_ne_bytes).concat());
                    nix::unistd::pause();
                    drop(connection);
                    0
                }
                Err(_) => 1,
            }
        })
    };
    drop((wait, tell));
    let sent = (|| {
        if foreign {
            // Until it has its socket.
            thread::sleep(Duration::from_millis(300));
        }
        enter(cgroup.path(), child)?;
        drop(go);
        let mut words = [0u8; 16];
        fs::File::from(told).read_exact(&mut words).context("the agent could not fill its connection")?;
        let [port, queued] =
            [0, 8].map(|at| words[at..at + 8].iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)));
        let mut connection = world.accept_from(u16::try_from(port)?)?;
        change()?;
        Ok(Sent { queued, came: drain(&mut connection, queued)? })
    })();
    let _ = kill(child, Signal::SIGKILL);
    waitpid(child, None)?;
    sent
}

fn socket() -> io::Result<OwnedFd> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    Ok(socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)?)
}

/// Connects and writes until nothing more finds room; gives the port it comes from and how much that was.
fn fill(socket: OwnedFd) -> io::Result<(TcpStream, [u64; 2])> {
    let gateway = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, GATEWAY));
    nix::sys::socket::connect(socket.as_raw_fd(), &gateway)?;
    let mut connection = TcpStream::from(socket);
    connection.set_nonblocking(true)?;
    let (mut queued, mut full) = (0, 0);
    while full < 20 {
        match connection.write(&[b'q'; 16 << 10]) {
            Ok(written) => (queued, full) = (queued + written as u64, 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                full += 1;
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(error),
        }
    }
    let port = connection.local_addr()?.port();
    Ok((connection, [port.into(), queued]))
}

/// Reads until all has come, or nothing for a while.
fn drain(connection: &mut TcpStream, all: u64) -> Result<u64> {
    connection.set_read_timeout(Some(Duration::from_secs(3)))?;
    let (mut came, mut room) = (0, vec![0; 64 << 10]);
    while came < all {
        match connection.read(&mut room) {
            Ok(0) => return Ok(came),
            Ok(length) => came += length as u64,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(came),
            Err(error) => return Err(error).context("read as the gateway"),
        }
    }
    Ok(came)
}

pub(super) fn what_is_queued_goes_by_the_policies_of_its_time() -> Result<()> {
    let (stage, world) = (Stage::set()?, World::set()?);
    world.narrow_gateway()?;
    let own = Path::new(POLICIES).join("net.yaml");
    let with = fs::read_to_string(&own)?;
    let without = with.replace(&format!("gateway: [127.0.0.1:{GATEWAY}]\n"), "");
    ensure!(without != with, "the policy names no gateway: {with}");
    let also = Path::new(POLICIES).join("also.yaml");
    for foreign in [false, true] {
        let Sent { queued: all, came } = queued(&stage, &world, foreign, || Ok(()))?;
        ensure!(came == all && all > 256 << 10, "under one policy {came} of {all} bytes came");
        // The same cgroup under the same domain, which has another policy; and under another domain. What was agreed to for
        // a socket from outside goes by the domain of who it was agreed to for, which keeps its policies.
        let changes = [(&own, without.as_str()), (&also, ALSO)];
        for (file, text) in changes.into_iter().take(if foreign { 1 } else { 2 }) {
            let sent = queued(&stage, &world, foreign, || {
                fs::write(file, text)?;
                stage.reload()
            });
            if file == &own {
                fs::write(&own, &with)?;
            } else {
                fs::remove_file(&also)?;
            }
            stage.reload()?;
            wait_for_gateway(true)?;
            let Sent { queued: all, came } = sent?;
            ensure!(
                came + (64 << 10) < all,
                "{}: {came} of {all} bytes came though the policies had changed (foreign: {foreign})",
                file.display(),
            );
        }
    }
    Ok(())
}
