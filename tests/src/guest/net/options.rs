//! Options that bend where packets go, with an address that looks right.

use std::io;
use std::os::fd::OwnedFd;

use super::super::sys::call;
use super::Road;
use super::roads::{message, secret};
use super::world::{LOCAL, bind, connect, mapped, option, send, socket, v4, v6};

/// Sets an option on a socket of its own.
fn set(family: i32, kind: i32, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    option(&socket(family, kind, 0)?, level, name, value)
}

const INET: i32 = libc::AF_INET;
const INET6: i32 = libc::AF_INET6;
const UDP: i32 = libc::SOCK_DGRAM;
const IP: i32 = libc::IPPROTO_IP;
const IPV6: i32 = libc::IPPROTO_IPV6;
const ONE: &[u8] = &[1, 0, 0, 0];

/// A segment routing header of one segment.
const SEGMENTS: &[u8] = &[0, 2, 4, 0, 0, 0, 0, 0, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

const ALLOWED: [u8; 4] = [127, 0, 0, 1];

/// struct cmsghdr (length, IPPROTO_IP, IP_PKTINFO), struct in_pktinfo (interface, two addresses).
fn interface(name: &str) -> io::Result<Vec<u8>> {
    let mut control = vec![0; 32];
    control[0] = 28;
    control[12] = 8;
    control[16..20].copy_from_slice(&nix::net::if_::if_nametoindex(name)?.to_ne_bytes());
    Ok(control)
}

/// Sends a datagram to an address that is allowed, out of the interface that a control message names.
fn by_interface(socket: &OwnedFd, name: &str) -> io::Result<()> {
    let (to, vector, control) = (v4(ALLOWED, LOCAL), secret(), interface(name)?);
    let message = message(&to, &vector, &control);
    call(libc::SYS_sendmsg, &mut [socket.into(), message.as_slice().into(), 0.into()]).map(drop)
}

/// Sends a datagram to an address that is allowed, with a routing header that names another. Of a mapped peer the kernel reads it
/// and does not send it.
fn by_segments() -> io::Result<()> {
    let (to, vector) = (v6(mapped(ALLOWED), LOCAL), secret());
    let mut control = vec![0; 16];
    control[0] = 16 + SEGMENTS.len() as u8;
    control[8] = IPV6 as u8;
    control[12] = libc::IPV6_RTHDR as u8;
    control.extend(SEGMENTS);
    let message = message(&to, &vector, &control);
    let socket = socket(INET6, UDP, 0)?;
    call(libc::SYS_sendmsg, &mut [(&socket).into(), message.as_slice().into(), 0.into()]).map(drop)
}

/// `struct in6_flowlabel_req`: an address, no label yet, to be made, and for nobody else.
fn label() -> Vec<u8> {
    let mut asked = vec![0; 32];
    asked[15] = 1;
    asked[21] = 1;
    asked[22] = 1;
    asked
}

/// Two datagrams in one call, to one address, of which only the second comes with a control message.
fn second_by_interface(socket: &OwnedFd, name: &str) -> io::Result<()> {
    let (to, vector, control) = (v4(ALLOWED, LOCAL), secret(), interface(name)?);
    let mut messages = message(&to, &vector, &[]);
    messages.extend([0; 8]);
    messages.extend(message(&to, &vector, &control));
    messages.extend([0; 8]);
    call(libc::SYS_sendmmsg, &mut [socket.into(), messages.as_slice().into(), 2.into(), 0.into()]).map(drop)
}

/// Takes an address of one link, a group that everybody is in, and with it the link's interface.
fn bind_to_link(name: &str) -> io::Result<()> {
    let mut group = [0; 16];
    (group[..2]).copy_from_slice(&[0xff, 2]);
    group[15] = 1;
    let mut at = v6(group, 0);
    at[24..].copy_from_slice(&nix::net::if_::if_nametoindex(name)?.to_ne_bytes());
    bind(&socket(INET6, UDP, 0)?, &at)
}

pub(super) const ROADS: &[Road] = &[
    Road::out("a loopback address out of another interface", |_| {
        by_interface(&socket(INET, UDP, 0)?, "dummy0")
    }),
    Road::call("IP_PKTINFO, though by the usual interface", |_| by_interface(&socket(INET, UDP, 0)?, "lo")),
    Road::out("the second of two datagrams out of another interface", |_| {
        second_by_interface(&socket(INET, UDP, 0)?, "dummy0")
    }),
    Road::out("a mapped peer, as an IPv6 one", |_| {
        let socket = socket(INET6, UDP, 0)?;
        connect(&socket, &v6(mapped(ALLOWED), LOCAL))?;
        send(&socket, Some(&[0; 28]), 0)
    }),
    Road::out("a datagram to the wildcard, whatever it means by then", |_| {
        send(&socket(INET, UDP, 0)?, Some(&v4([0; 4], LOCAL)), 0)
    }),
    Road::out("MSG_DONTROUTE", |_| {
        send(&socket(INET, UDP, 0)?, Some(&v4(ALLOWED, LOCAL)), libc::MSG_DONTROUTE)
    }),
    Road::call("an address of one link", |_| bind_to_link("dummy0")),
    Road::call("SO_BINDTODEVICE", |_| set(INET, UDP, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, b"lo\0")),
    Road::call("SO_BINDTOIFINDEX", |_| set(INET, UDP, libc::SOL_SOCKET, 62, ONE)),
    Road::call("SO_MARK", |_| set(INET, UDP, libc::SOL_SOCKET, libc::SO_MARK, ONE)).as_root(),
    Road::call("SO_DONTROUTE", |_| set(INET, UDP, libc::SOL_SOCKET, libc::SO_DONTROUTE, ONE)),
    Road::call("IP_OPTIONS", |_| set(INET, UDP, IP, libc::IP_OPTIONS, &[1, 1, 1, 0])),
    Road::call("IP_UNICAST_IF", |_| set(INET, UDP, IP, 50, &[0, 0, 0, 1])),
    Road::call("IP_FREEBIND", |_| set(INET, UDP, IP, libc::IP_FREEBIND, ONE)),
    Road::call("IP_TRANSPARENT", |_| set(INET, UDP, IP, libc::IP_TRANSPARENT, ONE)).as_root(),
    Road::call("IP_ADD_MEMBERSHIP", |_| {
        set(INET, UDP, IP, libc::IP_ADD_MEMBERSHIP, &[224, 0, 0, 251, 127, 0, 0, 1])
    }),
    Road::call("IP_MULTICAST_TTL", |_| set(INET, UDP, IP, libc::IP_MULTICAST_TTL, &[0; 4])),
    Road::call("IPV6_MULTICAST_HOPS", |_| set(INET6, UDP, IPV6, libc::IPV6_MULTICAST_HOPS, &[0; 4])),
    Road::call("IPV6_RTHDR", |_| set(INET6, UDP, IPV6, libc::IPV6_RTHDR, SEGMENTS)),
    Road::call("IPV6_RTHDR with a datagram", |_| by_segments()),
    Road::call("IPV6_FLOWLABEL_MGR", |_| set(INET6, UDP, IPV6, 32, &label())),
    Road::call("IPV6_PKTINFO", |_| set(INET6, UDP, IPV6, libc::IPV6_PKTINFO, &[0; 20])),
    Road::call("IPV6_UNICAST_IF", |_| set(INET6, UDP, IPV6, 76, &[0, 0, 0, 1])),
    Road::call("TCP_REPAIR", |_| set(INET, libc::SOCK_STREAM, libc::IPPROTO_TCP, 19, ONE)).as_root(),
];
