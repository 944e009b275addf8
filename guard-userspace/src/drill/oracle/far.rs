//! The far end: whatever arrives here has left the domain.

use std::fs;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;

use nix::sys::socket::{MsgFlags, recv};

/// What attempts send.
const SECRET: &[u8] = b"guard-drill-secret";

/// Listeners on the loopback device and on unix sockets, none of which a domain may reach but the gateway.
#[derive(Debug)]
pub(crate) struct Far {
    pub(crate) gateway: SocketAddr,
    pub(crate) web: SocketAddr,
    pub(crate) dns: SocketAddr,
    pub(crate) web6: Option<SocketAddr>,
    pub(crate) dns6: Option<SocketAddr>,
    pub(crate) other: SocketAddr,
    pub(crate) twin: Option<SocketAddr>,
    served: TcpListener,
    inner: TcpListener,
    listeners: Vec<TcpListener>,
    receivers: Vec<UdpSocket>,
    raw: Vec<OwnedFd>,
    frames: Option<OwnedFd>,
    streams: Vec<UnixListener>,
    packets: Vec<OwnedFd>,
    datagrams: Vec<UnixDatagram>,
    kept: Vec<TcpStream>,
    kept_unix: Vec<UnixStream>,
}

/// Not the address that anybody else would use.
const WEB: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 7);
/// The gateway's port is listened on here too.
const TWIN: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 8);

fn tcp(ip: IpAddr, port: u16) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((ip, port))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn udp(ip: IpAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((ip, 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Far {
    /// `sockets` is a directory for socket files, `hidden` the beginning of abstract names.
    pub(crate) fn open(sockets: &Path, hidden: &str) -> io::Result<Self> {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let six = IpAddr::V6(Ipv6Addr::LOCALHOST);
        let served = tcp(loopback, 0)?;
        let gateway = served.local_addr()?;
        let inner = tcp(loopback, 0)?;
        let other = inner.local_addr()?;
        let (web, dns) = (tcp(WEB.into(), 0)?, udp(WEB.into())?);
        let (web6, dns6) = (tcp(six, 0).ok(), udp(six).ok());
        let twin = tcp(TWIN.into(), gateway.port()).ok();
        let address = |listener: &TcpListener| listener.local_addr().ok();
        let mut far = Self {
            gateway,
            web: web.local_addr()?,
            dns: dns.local_addr()?,
            web6: web6.as_ref().and_then(address),
            dns6: dns6.as_ref().and_then(|socket| socket.local_addr().ok()),
            other,
            twin: twin.as_ref().and_then(address),
            served,
            inner,
            listeners: [Some(web), web6, twin].into_iter().flatten().collect(),
            receivers: [Some(dns), dns6].into_iter().flatten().collect(),
            raw: Vec::new(),
            frames: None,
            streams: Vec::new(),
            packets: Vec::new(),
            datagrams: Vec::new(),
            kept: Vec::new(),
            kept_unix: Vec::new(),
        };
        // Protocols without ports: ICMP, UDP-Lite, the one set aside for experiments.
        for protocol in [1, 136, 253] {
            far.raw.extend(crate::sys::socket(libc::AF_INET, libc::SOCK_RAW, protocol));
        }
        let experiment = i32::from(0x88b5u16.to_be());
        far.frames = crate::sys::socket(libc::AF_PACKET, libc::SOCK_RAW, experiment).ok();
        far.serve_unix(sockets, hidden)?;
        Ok(far)
    }

    fn serve_unix(&mut self, sockets: &Path, hidden: &str) -> io::Result<()> {
        use std::os::linux::net::SocketAddrExt as _;
        use std::os::unix::net::SocketAddr as Address;
        let name = |word: &str| Address::from_abstract_name(format!("{hidden}-{word}"));
        let stream = UnixListener::bind(sockets.join("stream"))?;
        let datagram = UnixDatagram::bind(sockets.join("dgram"))?;
        for file in ["stream", "dgram"] {
            fs::set_permissions(sockets.join(file), fs::Permissions::from_mode(0o666))?;
        }
        self.streams = vec![stream, UnixListener::bind_addr(&name("stream")?)?];
        self.datagrams = vec![datagram, UnixDatagram::bind_addr(&name("dgram")?)?];
        for listener in &self.streams {
            listener.set_nonblocking(true)?;
        }
        for socket in &self.datagrams {
            socket.set_nonblocking(true)?;
        }
        let seqpacket = crate::sys::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0)?;
        let at = nix::sys::socket::UnixAddr::new_abstract(format!("{hidden}-seqpacket").as_bytes())?;
        nix::sys::socket::bind(seqpacket.as_raw_fd(), &at)?;
        nix::sys::socket::listen(&seqpacket, nix::sys::socket::Backlog::new(8)?)?;
        self.packets.push(seqpacket);
        Ok(())
    }

    /// How many things have arrived since the last question: connections, packets, or secrets on a connection.
    pub(crate) fn arrived(&mut self) -> usize {
        let mut count = 0;
        while let Ok((stream, _)) = self.served.accept() {
            // The gateway: everybody may come.
            drop(stream);
        }
        for listener in self.listeners.iter().chain([&self.inner]) {
            while let Ok((stream, _)) = listener.accept() {
                count += 1;
                if stream.set_nonblocking(true).is_ok() {
                    self.kept.push(stream);
                }
            }
        }
        let mut bytes = [0u8; 512];
        self.kept.retain_mut(|stream| drain(|bytes| stream.read(bytes), &mut bytes, &mut count));
        for socket in &self.receivers {
            while socket.recv(&mut bytes).is_ok() {
                count += 1;
            }
        }
        for socket in &self.raw {
            while let Ok(length) = recv(socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
                count += usize::from(bytes[..length].get(16..20) == Some(&WEB.octets()));
            }
        }
        if let Some(socket) = &self.frames {
            while let Ok(length) = recv(socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
                count += usize::from(bytes[..length].windows(SECRET.len()).any(|part| part == SECRET));
            }
        }
        self.unix(&mut bytes, &mut count);
        count
    }

    fn unix(&mut self, bytes: &mut [u8], count: &mut usize) {
        for listener in &self.streams {
            while let Ok((stream, _)) = listener.accept() {
                *count += 1;
                if stream.set_nonblocking(true).is_ok() {
                    self.kept_unix.push(stream);
                }
            }
        }
        self.kept_unix.retain_mut(|stream| drain(|bytes| stream.read(bytes), bytes, count));
        for socket in &self.datagrams {
            while socket.recv(bytes).is_ok() {
                *count += 1;
            }
        }
        for socket in &self.packets {
            while let Ok(fd) =
                nix::sys::socket::accept4(socket.as_raw_fd(), nix::sys::socket::SockFlag::SOCK_CLOEXEC)
            {
                *count += 1;
                let _ = nix::unistd::close(fd);
            }
        }
    }
}

/// Reads what is there; false when the other side has closed.
fn drain(mut read: impl FnMut(&mut [u8]) -> io::Result<usize>, bytes: &mut [u8], count: &mut usize) -> bool {
    loop {
        match read(bytes) {
            Ok(0) => return false,
            Ok(_) => *count += 1,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
    }
}
