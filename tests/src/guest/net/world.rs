//! The network around the agent: the internet on addresses set aside for documentation, a gateway, other services
//! of the host, and a sink that sees every packet. Everything listens before an attempt starts, and the kernel
//! answers for it, so that nobody needs to.

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::super::sys::{call, call_fd, words};
use super::limits::wait_for_gateway;

/// The internet.
pub(super) const OUT: [u8; 4] = [203, 0, 113, 7];
pub(super) const OUT_V6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
/// An address in whose bytes those of the gateway's key lie, with zeroes in front.
pub(super) const ALIKE: [u8; 16] = [0x20, 1, 0x0d, 0, 0, 0, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1];
pub(super) const WEB: u16 = 80;
pub(super) const DNS: u16 = 53;
/// The gateway's port on the loopback.
pub(super) const GATEWAY: u16 = 18080;
/// Another service of the host.
pub(super) const OTHER: u16 = 8081;
/// A port that the policy gives on the loopback, and that nobody uses there.
pub(super) const LOCAL: u16 = 7070;
/// A port that the policy gives on the IPv6 loopback.
pub(super) const SIX: u16 = 7071;
/// A port that the policy opens for listening.
pub(super) const OPEN: u16 = 9090;

/// Bytes that a socket's filters and options may take: what 6.1 gives, later kernels give more.
pub(super) const ROOM: usize = 20_480;

/// What stands around until the test's process ends.
#[derive(Debug)]
pub(super) struct World {
    sink: Sink,
    gateway: Option<TcpListener>,
    _listeners: Vec<TcpListener>,
    _receivers: Vec<UdpSocket>,
}

impl World {
    pub(super) fn set() -> Result<Self> {
        for words in [
            "addr add 203.0.113.7/32 dev lo",
            "-6 addr add 2001:db8::7/128 dev lo",
            "-6 addr add 2001:d00::4:7f00:1/128 dev lo",
            "addr add 198.51.100.1/24 dev dummy0",
            "link set dummy0 up",
            "-6 route add ::ffff:0:0/96 dev dummy0",
        ] {
            // There already, from the test before.
            let _ = Command::new("ip").args(words.split(' ')).output().context("run ip")?;
        }
        fs::write("/proc/sys/net/core/optmem_max", ROOM.to_string()).context("limit sockets' options")?;
        fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").context("let everybody ping")?;
        let listeners = [
            format!("203.0.113.7:{WEB}"),
            format!("[2001:db8::7]:{WEB}"),
            format!("127.0.0.2:{GATEWAY}"),
            format!("127.0.0.1:{OTHER}"),
            format!("[::1]:{OTHER}"),
            format!("[::1]:{SIX}"),
            format!("[2001:d00::4:7f00:1]:{GATEWAY}"),
        ];
        let receivers = [format!("203.0.113.7:{DNS}"), format!("[2001:db8::7]:{DNS}")];
        let listen = |at: &String| TcpListener::bind(at).with_context(|| format!("listen on {at}"));
        let receive = |at: &String| UdpSocket::bind(at).with_context(|| format!("receive on {at}"));
        let mut world = Self {
            gateway: None,
            sink: Sink::open()?,
            _listeners: listeners.iter().map(listen).collect::<Result<_>>()?,
            _receivers: receivers.iter().map(receive).collect::<Result<_>>()?,
        };
        world.open_gateway()?;
        wait_for_gateway(true)?;
        world.seen()?;
        Ok(world)
    }

    pub(super) fn open_gateway(&mut self) -> Result<()> {
        let listener = TcpListener::bind(("127.0.0.1", GATEWAY)).context("listen as the gateway")?;
        // Nobody accepts, so there must be room for all who come.
        listen_for(&listener, 4096).context("listen for many")?;
        self.gateway = Some(listener);
        Ok(())
    }

    /// Gives the gateway little room for what it has not read: the rest waits where it comes from.
    pub(super) fn narrow_gateway(&self) -> Result<()> {
        let gateway = self.gateway.as_ref().context("there is no gateway")?;
        nix::sys::socket::setsockopt(gateway, nix::sys::socket::sockopt::RcvBuf, &(16 << 10))
            .context("narrow the gateway")
    }

    /// The connection that came to the gateway from that port; others wait there too.
    pub(super) fn accept_from(&self, port: u16) -> Result<TcpStream> {
        let gateway = self.gateway.as_ref().context("there is no gateway")?;
        loop {
            let (connection, from) = gateway.accept().context("accept as the gateway")?;
            if from.port() == port {
                return Ok(connection);
            }
        }
    }

    pub(super) fn close_gateway(&mut self) {
        self.gateway = None;
    }

    /// The packets that have gone where the policy lets none go, since the last question.
    pub(super) fn seen(&self) -> Result<Seen> {
        let mut seen = Seen { packets: 0, secrets: 0 };
        self.sink.drain(|frame| {
            let told = frame.windows(SECRET.len()).any(|bytes| bytes == SECRET);
            seen.packets += usize::from(forbidden(frame));
            seen.secrets += usize::from(forbidden(frame) && told);
        })?;
        Ok(seen)
    }
}

/// Sees every packet of every interface.
#[derive(Debug)]
pub(in super::super) struct Sink(OwnedFd);

impl Sink {
    pub(in super::super) fn open() -> Result<Self> {
        // AF_PACKET, SOCK_RAW and not blocking, every protocol in network order.
        let all = i32::from(3u16.to_be());
        call_fd(libc::SYS_socket, &mut [17.into(), (3 | libc::SOCK_NONBLOCK).into(), all.into()])
            .map(Self)
            .context("open the sink")
    }

    /// How many packets since the last question were like this.
    pub(in super::super) fn count(&self, like: impl Fn(&[u8]) -> bool) -> Result<usize> {
        let mut count = 0;
        self.drain(|frame| count += usize::from(like(frame)))?;
        Ok(count)
    }

    fn drain(&self, mut take: impl FnMut(&[u8])) -> Result<()> {
        let mut packet = [0u8; 256];
        loop {
            let room = packet.len();
            let got = call(
                libc::SYS_recvfrom,
                &mut [
                    (&self.0).into(),
                    packet.as_mut_slice().into(),
                    room.into(),
                    0.into(),
                    0.into(),
                    0.into(),
                ],
            );
            match got {
                Ok(length) => take(&packet[..(length as usize).min(room)]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("look into the sink"),
            }
        }
    }
}

/// What the sink has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) packets: usize,
    /// Those of them that carry the secret.
    pub(super) secrets: usize,
}

/// Is this packet on its way to the internet, or to a service that is not the gateway? By port where there are
/// ports: the other side's own packets go to the same address.
fn forbidden(frame: &[u8]) -> bool {
    let word = |at: usize| frame.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    let served = |port: Option<u16>| [Some(WEB), Some(DNS), Some(OTHER), Some(LOCAL)].contains(&port);
    match word(12) {
        Some(0x0800) => {
            let port = word(14 + 20 + 2);
            match (frame.get(23).map(|next| i32::from(*next)), frame.get(30..34)) {
                (Some(libc::IPPROTO_TCP | libc::IPPROTO_UDP | 136), Some(to)) => {
                    served(port) || (to == [127, 0, 0, 2] && port == Some(GATEWAY))
                }
                (_, to) => to == Some(&OUT),
            }
        }
        Some(0x86dd) => {
            let port = word(14 + 40 + 2);
            served(port) || (frame.get(38..54) == Some(&ALIKE) && port == Some(GATEWAY))
        }
        // What the packet socket's test sends.
        other => other == Some(0x88b5),
    }
}

/// `struct sockaddr_in`.
pub(super) fn v4(address: [u8; 4], port: u16) -> Vec<u8> {
    let mut bytes = vec![0; 16];
    bytes[..2].copy_from_slice(&2u16.to_ne_bytes());
    bytes[2..4].copy_from_slice(&port.to_be_bytes());
    bytes[4..8].copy_from_slice(&address);
    bytes
}

/// `struct sockaddr_in6`.
pub(super) fn v6(address: [u8; 16], port: u16) -> Vec<u8> {
    let mut bytes = vec![0; 28];
    bytes[..2].copy_from_slice(&10u16.to_ne_bytes());
    bytes[2..4].copy_from_slice(&port.to_be_bytes());
    bytes[8..24].copy_from_slice(&address);
    bytes
}

/// `::ffff:a.b.c.d`.
pub(super) fn mapped(address: [u8; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[10..12].fill(0xff);
    bytes[12..].copy_from_slice(&address);
    bytes
}

/// `struct sockaddr_un`; a name that starts with NUL is abstract.
pub(super) fn unix(name: &[u8]) -> Vec<u8> {
    let mut bytes = 1u16.to_ne_bytes().to_vec();
    bytes.extend_from_slice(name);
    bytes
}

pub(super) fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    call_fd(libc::SYS_socket, &mut [family.into(), kind.into(), protocol.into()])
}

pub(super) fn connect(socket: &OwnedFd, to: &[u8]) -> io::Result<()> {
    call(libc::SYS_connect, &mut [socket.into(), to.into(), to.len().into()]).map(drop)
}

pub(super) fn bind(socket: &OwnedFd, to: &[u8]) -> io::Result<()> {
    call(libc::SYS_bind, &mut [socket.into(), to.into(), to.len().into()]).map(drop)
}

fn listen_for(socket: &impl AsFd, many: i32) -> io::Result<()> {
    call(libc::SYS_listen, &mut [socket.as_fd().into(), many.into()]).map(drop)
}

pub(super) fn listen(socket: &OwnedFd) -> io::Result<()> {
    call(libc::SYS_listen, &mut [socket.into(), 8.into()]).map(drop)
}

pub(in crate::guest) const SECRET: &[u8] = b"secret";

pub(super) fn dns() -> Vec<u8> {
    v4(OUT, DNS)
}

/// Sends some bytes.
pub(super) fn send_bytes(socket: &OwnedFd, to: Option<&[u8]>, bytes: &[u8]) -> io::Result<()> {
    let (to, length) = to.map_or((0.into(), 0), |to| (to.into(), to.len()));
    call(
        libc::SYS_sendto,
        &mut [socket.into(), bytes.into(), bytes.len().into(), 0.into(), to, length.into()],
    )
    .map(drop)
}

/// Sends to an address, or to the peer if there is none.
pub(in crate::guest) fn send(socket: &OwnedFd, to: Option<&[u8]>, flags: i32) -> io::Result<()> {
    let (to, length) = to.map_or((0.into(), 0), |to| (to.into(), to.len()));
    call(
        libc::SYS_sendto,
        &mut [socket.into(), SECRET.into(), SECRET.len().into(), flags.into(), to, length.into()],
    )
    .map(drop)
}

pub(super) fn option(socket: &OwnedFd, level: i32, option: i32, value: &[u8]) -> io::Result<()> {
    call(
        libc::SYS_setsockopt,
        &mut [socket.into(), level.into(), option.into(), value.into(), value.len().into()],
    )
    .map(drop)
}

/// A socket that has room for nothing more: its filter takes it all.
pub(super) fn full(kind: i32) -> io::Result<Vec<OwnedFd>> {
    /// A load, and the end.
    const LOAD: [u8; 8] = [0; 8];
    const END: [u8; 8] = [6, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
    let socket = socket(libc::AF_INET, kind, 0)?;
    let fits = |loads: usize| {
        let code = [LOAD.repeat(loads), END.to_vec()].concat();
        let program = words(&[loads as u64 + 1, code.as_ptr() as u64]);
        let _ = option(&socket, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &[0; 4]);
        option(&socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program).is_ok()
    };
    let (mut fitting, mut end) = (0, ROOM / 8);
    while end - fitting > 1 {
        let middle = fitting.midpoint(end);
        if fits(middle) { fitting = middle } else { end = middle }
    }
    check(fits(fitting))?;
    Ok(vec![socket])
}

/// A check that is an error with a number if it fails.
pub(in super::super) fn check(holds: bool) -> io::Result<()> {
    if holds { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EBADMSG)) }
}

/// Fails the test that has nothing to try.
pub(super) fn some(tried: usize) -> Result<()> {
    ensure!(tried > 0, "no row makes sense on this kernel");
    Ok(())
}
