//! The operations, and how each is measured: in batches, the middle one of which counts.

use std::cell::Cell;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{BufRead, Write};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::mman::ProtFlags;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn, sockopt};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, pipe, read, unlink, write};
use serde_json::json;

use crate::clock;
use crate::stage::{GATEWAY, TINY, UDP_PORT};
use crate::sys;

const BATCHES: usize = 5;

/// Files that are opened in turn.
const NAMES: usize = 64;

/// Their names.
pub(crate) fn names() -> impl Iterator<Item = String> {
    (0..NAMES).map(|n| format!("name-{n}"))
}

/// What the operations work on.
struct Things {
    own: Pid,
    file: CString,
    names: Vec<CString>,
    turn: Cell<usize>,
    writable: CString,
    made: CString,
    tiny: CString,
    map: File,
    image: File,
    out: File,
    udp: UdpSocket,
    connected: UdpSocket,
    sink: SocketAddrV4,
    peer: SockaddrIn,
    pipe: (OwnedFd, OwnedFd),
    page: Vec<u8>,
}

type Outcome = nix::Result<()>;

/// One operation: its name, how often it is done in a batch, what it is.
struct Op {
    name: &'static str,
    times: u64,
    act: fn(&Things) -> Outcome,
}

const OPS: &[Op] = &[
    Op { name: "getpid", times: 4000, act: getpid },
    Op { name: "open", times: 2000, act: open_read },
    Op { name: "open, names in turn", times: 1000, act: open_in_turn },
    Op { name: "open for writing", times: 2000, act: open_write },
    Op { name: "create+unlink", times: 250, act: create_unlink },
    Op { name: "write 4 KiB", times: 500, act: write_page },
    Op { name: "stat", times: 400, act: stat },
    Op { name: "TCP connect", times: 100, act: connect },
    Op { name: "UDP send", times: 250, act: send },
    Op { name: "UDP send, connected", times: 250, act: send_connected },
    Op { name: "exec", times: 200, act: exec },
    Op { name: "mmap", times: 400, act: mmap },
    Op { name: "mmap to execute", times: 400, act: mmap_exec },
    Op { name: "kill(0)", times: 1000, act: kill },
    Op { name: "pipe write+read", times: 500, act: ping },
];

fn getpid(_: &Things) -> Outcome {
    std::hint::black_box(nix::unistd::getpid());
    Ok(())
}

fn open_read(things: &Things) -> Outcome {
    open(things.file.as_c_str(), OFlag::O_RDONLY, Mode::empty()).map(drop)
}

/// No name comes again before as many others as nobody would remember.
fn open_in_turn(things: &Things) -> Outcome {
    let turn = things.turn.get();
    things.turn.set((turn + 1) % NAMES);
    open(things.names[turn].as_c_str(), OFlag::O_RDONLY, Mode::empty()).map(drop)
}

fn open_write(things: &Things) -> Outcome {
    open(things.writable.as_c_str(), OFlag::O_WRONLY, Mode::empty()).map(drop)
}

fn create_unlink(things: &Things) -> Outcome {
    let made = things.made.as_c_str();
    drop(open(made, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC, Mode::S_IRUSR | Mode::S_IWUSR)?);
    unlink(made)
}

fn write_page(things: &Things) -> Outcome {
    nix::sys::uio::pwrite(&things.out, &things.page, 0).map(drop)
}

fn stat(things: &Things) -> Outcome {
    nix::sys::stat::stat(things.file.as_c_str()).map(drop)
}

fn connect(things: &Things) -> Outcome {
    let socket = socket::socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)?;
    // Reset on close: no pile of waiting sockets that would make later ones dearer.
    socket::setsockopt(&socket, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 })?;
    socket::connect(socket.as_raw_fd(), &things.peer)
}

fn send(things: &Things) -> Outcome {
    let sent = things.udp.send_to(&things.page[..64], things.sink);
    sent.map(drop).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}

fn send_connected(things: &Things) -> Outcome {
    let sent = things.connected.send(&things.page[..64]);
    sent.map(drop).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}

fn exec(things: &Things) -> Outcome {
    use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawn};
    let nothing: [&std::ffi::CStr; 0] = [];
    let child: Pid = posix_spawn(
        things.tiny.as_c_str(),
        &PosixSpawnFileActions::init()?,
        &PosixSpawnAttr::init()?,
        &[things.tiny.as_c_str()],
        &nothing,
    )?;
    match waitpid(child, None)? {
        WaitStatus::Exited(_, 0) => Ok(()),
        _ => Err(Errno::ECHILD),
    }
}

fn mmap(things: &Things) -> Outcome {
    map(things.map.as_fd(), ProtFlags::PROT_READ)
}

fn mmap_exec(things: &Things) -> Outcome {
    map(things.image.as_fd(), ProtFlags::PROT_READ | ProtFlags::PROT_EXEC)
}

fn map(fd: BorrowedFd<'_>, protection: ProtFlags) -> Outcome {
    sys::map_and_unmap(fd, protection.bits())
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}

fn kill(things: &Things) -> Outcome {
    nix::sys::signal::kill(things.own, None)
}

fn ping(things: &Things) -> Outcome {
    write(&things.pipe.1, b"x")?;
    read(&things.pipe.0, &mut [0]).map(drop)
}

impl Things {
    fn lay_out(home: &Path) -> Result<Self> {
        let path = |name: &str| CString::new(home.join(name).display().to_string());
        let sink = SocketAddrV4::new(Ipv4Addr::LOCALHOST, UDP_PORT);
        let socket = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("make a UDP socket");
        let connected = socket()?;
        connected.connect(sink).context("connect a UDP socket")?;
        let out = File::options().write(true).open(home.join("written"));
        Ok(Self {
            own: nix::unistd::getpid(),
            file: path("file")?,
            names: names().map(|name| path(&name)).collect::<Result<_, _>>()?,
            turn: Cell::new(0),
            writable: path("writable")?,
            made: path("made")?,
            tiny: CString::new(TINY)?,
            map: File::open(home.join("file")).context("open the file to map")?,
            image: File::open(TINY).context("open the program to map")?,
            out: out.context("open the file to write")?,
            udp: socket()?,
            connected,
            sink,
            peer: SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, GATEWAY)),
            pipe: pipe().context("make a pipe")?,
            page: vec![0; 4096],
        })
    }
}

/// Runs in the arm. One line of JSON for each operation; then, for each line, a line back from whoever holds the
/// other ends of the sockets.
pub(crate) fn main(scale: u64, home: &Path, wanted: &[&str]) -> Result<()> {
    let things = Things::lay_out(home)?;
    let daemon: Option<u32> =
        fs::read_to_string("/run/guard-bench/daemon").ok().and_then(|pid| pid.parse().ok());
    let idle = idle(daemon);
    for op in OPS.iter().filter(|op| wanted.is_empty() || wanted.contains(&op.name)) {
        println!("{}", measure(op, &things, (op.times * scale / 100).max(2), daemon, idle)?);
    }
    Ok(())
}

/// Lets the sockets be emptied, outside the measurement.
fn drained() -> Result<()> {
    println!("drain");
    std::io::stdout().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("wait for the sockets to be emptied")?;
    Ok(())
}

/// What an earlier operation left to a daemon must not land on the next one.
fn settle() {
    std::thread::sleep(Duration::from_secs(3));
}

/// What a daemon has done, and when this was asked, in instructions.
#[derive(Clone, Copy)]
struct Done {
    daemon: u64,
    at: u64,
}

impl Done {
    fn now(daemon: Option<u32>) -> Self {
        Self { daemon: daemon.map_or(0, clock::of), at: clock::wall() }
    }

    fn since(self, before: Self) -> Self {
        Self { daemon: self.daemon - before.daemon, at: self.at - before.at }
    }

    /// Without what it would have done in the same time for nobody.
    fn without(self, idle: Self) -> u64 {
        let nobody = u128::from(idle.daemon) * u128::from(self.at) / u128::from(idle.at.max(1));
        self.daemon.saturating_sub(nobody.try_into().unwrap_or(u64::MAX))
    }
}

/// What a daemon does while nobody does anything.
fn idle(daemon: Option<u32>) -> Done {
    settle();
    let before = Done::now(daemon);
    settle();
    Done::now(daemon).since(before)
}

fn measure(
    op: &Op,
    things: &Things,
    times: u64,
    daemon: Option<u32>,
    idle: Done,
) -> Result<serde_json::Value> {
    let (mut worked, mut failed, mut errno) = (0u64, 0u64, 0i32);
    let mut batch = |times: u64| -> Result<(u64, u64)> {
        let (wall, own) = (clock::wall(), clock::own()?);
        for _ in 0..times {
            match (op.act)(things) {
                Ok(()) => worked += 1,
                Err(error) => {
                    failed += 1;
                    errno = error as i32;
                }
            }
        }
        Ok(((clock::wall() - wall) / times, (clock::own()? - own) / times))
    };
    batch(times / 10 + 1)?;
    settle();
    let before = Done::now(daemon);
    let (mut walls, mut owns) = (Vec::new(), Vec::new());
    for _ in 0..BATCHES {
        let (wall, own) = batch(times)?;
        walls.push(wall);
        owns.push(own);
        drained()?;
    }
    settle();
    walls.sort_unstable();
    owns.sort_unstable();
    let all = times * BATCHES as u64;
    let done = Done::now(daemon).since(before);
    Ok(json!({
        "op": op.name,
        "inline": owns[BATCHES / 2],
        "elapsed": walls[BATCHES / 2],
        "lowest": owns[0],
        "highest": owns[BATCHES - 1],
        "daemon": done.without(idle) / all,
        "worked": worked,
        "failed": failed,
        "errno": errno,
    }))
}
