//! What must keep working inside.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;

use crate::exec::execute;
use crate::net::{DGRAM, INET, STREAM, bind, connect, listen, send, send_bytes, socket};
use crate::scene::Scene;
use crate::sys::{self, Arg, call, v4};
use crate::table::{Attempt, plain};

/// A check that is an error with a number if it fails.
fn check(holds: bool) -> io::Result<()> {
    if holds { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EBADMSG)) }
}

/// Asks for the host's addresses, as getifaddrs(3) does.
fn addresses() -> io::Result<()> {
    let socket = socket(libc::AF_NETLINK, libc::SOCK_RAW, 0)?;
    // struct nlmsghdr (length, RTM_GETADDR, request and dump, sequence, port), struct rtgenmsg.
    let mut ask = vec![0u8; 20];
    ask[0] = 20;
    ask[4] = 22;
    ask[6..8].copy_from_slice(&0x301u16.to_ne_bytes());
    send_bytes(&socket, &ask, None, 0)?;
    let mut answer = [0u8; 4096];
    let got = call(libc::SYS_read, &mut [(&socket).into(), answer.as_mut_slice().into(), 4096.into()])?;
    check(got > 16)
}

/// A listener and its client, both of the session.
fn own(name: &[u8], kind: i32) -> io::Result<()> {
    let name = crate::unix::address(name);
    let (listener, client) = (socket(libc::AF_UNIX, kind, 0)?, socket(libc::AF_UNIX, kind, 0)?);
    bind(&listener, &name)?;
    if kind == DGRAM {
        return send(&client, Some(&name), 0);
    }
    listen(&listener)?;
    connect(&client, &name)?;
    send(&client, None, 0)
}

fn hidden() -> Vec<u8> {
    format!("\0guard-drill-own-{}", nix::unistd::gettid()).into_bytes()
}

fn serve(at: &Scene) -> io::Result<()> {
    let (socket, here) = (socket(INET, STREAM, 0)?, v4([127, 0, 0, 1], at.need("open")?));
    crate::net::option(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, &[1, 0, 0, 0])?;
    bind(&socket, &here)?;
    listen(&socket)
}

pub(crate) const TRIES: &[Attempt] = &[
    plain("keep-gateway", |at, _| {
        let mut stream = TcpStream::connect(at.need::<std::net::SocketAddr>("gateway")?)?;
        stream.write_all(b"through the gateway")
    }),
    plain("keep-gateway-mapped", |at, _| {
        let to = at.address("gateway")?;
        let mut address = [0; 16];
        address[10..12].fill(0xff);
        address[12..].copy_from_slice(&to[4..8]);
        let socket = socket(libc::AF_INET6, STREAM, 0)?;
        connect(&socket, &sys::v6(address, u16::from_be_bytes([to[2], to[3]])))?;
        send(&socket, None, 0)
    }),
    plain("keep-gateway-nonblocking", |at, _| {
        let socket = socket(INET, STREAM | libc::SOCK_NONBLOCK, 0)?;
        crate::net::pending(connect(&socket, &at.address("gateway")?))
    }),
    plain("keep-gateway-uring", |at, _| {
        let (socket, to) = (socket(INET, STREAM, 0)?, at.address("gateway")?);
        sys::uring::Ring::new(0)?
            .run(&sys::uring::Request {
                opcode: sys::uring::OP_CONNECT,
                fd: std::os::fd::AsRawFd::as_raw_fd(&socket),
                first: Some(&to),
                offset: to.len() as u64,
                ..Default::default()
            })
            .map(drop)
    }),
    plain("keep-listen-open-port", |at, _| serve(at)),
    plain("keep-addresses", |_, _| addresses()),
    plain("keep-unix-pair", |_, _| {
        let (mut one, mut other) = UnixStream::pair()?;
        one.write_all(b"s")?;
        other.read_exact(&mut [0])
    }),
    plain("keep-datagram-pair", |_, _| {
        let (one, _other) = UnixDatagram::pair()?;
        one.send(b"s").map(drop)
    }),
    plain("keep-unix-own-abstract", |_, _| own(&hidden(), STREAM)),
    plain("keep-unix-own-seqpacket", |_, _| own(&hidden(), libc::SOCK_SEQPACKET)),
    plain("keep-unix-own-datagram", |_, _| own(&hidden(), DGRAM)),
    plain("keep-unix-own-file", |at, _| {
        own(std::os::unix::ffi::OsStrExt::as_bytes(at.at_work("own.sock").as_os_str()), STREAM)
    }),
    plain("keep-write-workspace", |at, _| {
        let path = at.at_work("made");
        fs::write(&path, "one")?;
        File::options().append(true).open(&path)?.write_all(b"two")?;
        check(fs::read(&path)? == b"onetwo")
    }),
    plain("keep-names-workspace", |at, _| {
        fs::create_dir(at.at_work("kept"))?;
        fs::write(at.at_work("kept/a"), "x")?;
        fs::rename(at.at_work("kept/a"), at.at_work("kept/b"))?;
        fs::hard_link(at.at_work("kept/b"), at.at_work("kept/c"))?;
        std::os::unix::fs::symlink("b", at.at_work("kept/d"))?;
        fs::remove_dir_all(at.at_work("kept"))
    }),
    plain("keep-metadata-workspace", |at, _| {
        let path = at.at_work("mine");
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640))?;
        File::options().write(true).open(&path)?.set_modified(std::time::SystemTime::now())
    }),
    plain("keep-read", |at, _| check(fs::read(at.file())? == crate::scene::CONTENT)),
    plain("keep-run-tool", |at, _| execute(&at.at_work("prog"))),
    plain("keep-script", |at, _| execute(&at.at_work("tool"))),
    plain("keep-children", |_, _| {
        let child = sys::spawn(|| {
            nix::unistd::pause();
            0
        })?;
        kill(child, Signal::SIGKILL)?;
        waitpid(child, None)?;
        Ok(())
    }),
    plain("keep-trace-own-child", |_, _| {
        let child = sys::spawn(|| {
            nix::unistd::pause();
            0
        })?;
        nix::sys::ptrace::attach(child)?;
        waitpid(child, None)?;
        kill(child, Signal::SIGKILL)?;
        waitpid(child, None)?;
        Ok(())
    }),
    plain("keep-threads", |_, _| {
        let threads: Vec<_> = (0..4).map(|n| thread::spawn(move || n)).collect();
        check(threads.into_iter().filter_map(|thread| thread.join().ok()).sum::<i32>() == 6)
    }),
    plain("keep-timers", |_, _| {
        let timer = sys::call_fd(libc::SYS_timerfd_create, &mut [1.into(), 0.into()])?;
        let when = sys::words(&[0, 0, 0, 1_000_000]);
        call(
            libc::SYS_timerfd_settime,
            &mut [(&timer).into(), 0.into(), when.as_slice().into(), Arg::Num(0)],
        )?;
        let mut fired = [0u8; 8];
        call(libc::SYS_read, &mut [(&timer).into(), fired.as_mut_slice().into(), 8.into()]).map(drop)
    }),
    plain("keep-sleep", |_, _| {
        thread::sleep(Duration::from_millis(1));
        Ok(())
    }),
    plain("keep-pty", |_, _| {
        let terminal = File::options().read(true).write(true).open("/dev/ptmx")?;
        let unlocked = 0u32.to_ne_bytes();
        const TIOCSPTLCK: u64 = 0x4004_5431;
        call(libc::SYS_ioctl, &mut [terminal.as_fd().into(), TIOCSPTLCK.into(), unlocked.as_slice().into()])
            .map(drop)
    }),
    plain("keep-memory", |_, _| {
        let fd = sys::call_fd(libc::SYS_memfd_create, &mut [c"kept".into(), 1.into()])?;
        let mut file = File::from(fd);
        file.write_all(&[7; 4096])?;
        sys::map(file.as_fd(), libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, |page| {
            page.write(b"x");
            Ok(())
        })
    }),
    plain("keep-own-ipc", |_, _| crate::ipc::own()),
    plain("keep-devices", |_, _| {
        fs::write("/dev/null", "x")?;
        File::open("/dev/urandom")?.read_exact(&mut [0; 8])
    }),
    plain("keep-own-process-files", |_, _| {
        fs::read("/proc/self/status")?;
        fs::read("/proc/self/maps")?;
        fs::write("/proc/self/comm", "drill")
    }),
    plain("keep-uring", |_, _| sys::uring::Ring::new(0).map(drop)),
    plain("keep-own-key", |_, _| {
        let text = b"secret".as_slice();
        call(
            libc::SYS_add_key,
            &mut [c"user".into(), c"guard-drill".into(), text.into(), text.len().into(), Arg::Num(-2)],
        )
        .map(drop)
    }),
    plain("keep-own-limits", |_, _| {
        // By one, from wherever the drill itself runs: its timer's unit is nice already. The call gives 40 to 1.
        let nice = 20 - call(libc::SYS_getpriority, &mut [0.into(), 0.into()])?;
        call(libc::SYS_setpriority, &mut [0.into(), 0.into(), Arg::Num((nice + 1).min(19))]).map(drop)
    }),
];
