//! Families and protocols beyond TCP, UDP and unix.

use std::io;

use crate::net::{DGRAM, INET, INET6, SECRET, STREAM, connect, send, send_bytes, socket};
use crate::scene::Scene;
use crate::sys::v4;
use crate::table::{Attempt, plain};

/// An echo request.
fn ping(at: &Scene, kind: i32) -> io::Result<()> {
    let socket = socket(INET, kind, libc::IPPROTO_ICMP)?;
    send_bytes(&socket, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0], Some(&v4(at.ip("web")?, 0)), 0)
}

/// A frame of an experimental protocol through the loopback device.
fn frame(kind: i32) -> io::Result<()> {
    let socket = socket(libc::AF_PACKET, kind, 0)?;
    // struct sockaddr_ll: family, protocol, interface, hardware type, packet type, length, address.
    let mut to = vec![0; 20];
    to[..2].copy_from_slice(&17u16.to_ne_bytes());
    to[2..4].copy_from_slice(&0x88b5u16.to_be_bytes());
    to[4..8].copy_from_slice(&1u32.to_ne_bytes());
    to[11] = 6;
    let mut bytes = vec![0; 12];
    bytes.extend(0x88b5u16.to_be_bytes());
    bytes.extend(SECRET);
    send_bytes(&socket, &bytes, Some(&to), 0)
}

/// An IPv4 packet with a header of its own: `options` follow it.
fn whole_packet(at: &Scene, options: &[u8]) -> io::Result<()> {
    let socket = socket(INET, libc::SOCK_RAW, libc::IPPROTO_RAW)?;
    let to = at.ip("web")?;
    let mut packet = vec![0x45 + (options.len() / 4) as u8, 0, 0, 0, 0, 0, 0, 0, 64, 253, 0, 0, 127, 0, 0, 1];
    packet.extend(to);
    packet.extend(options);
    packet.extend(SECRET);
    send_bytes(&socket, &packet, Some(&v4(to, 0)), 0)
}

macro_rules! families {
    ($($name:literal $family:expr, $kind:expr, $protocol:expr;)*) => {
        &[$(plain($name, |_, _| socket($family, $kind, $protocol).map(drop)),)*]
    };
}

const RAW: i32 = libc::SOCK_RAW;
const SEQPACKET: i32 = libc::SOCK_SEQPACKET;

const FAMILIES: &[Attempt] = families! {
    "socket-sctp" INET, STREAM, libc::IPPROTO_SCTP;
    "socket-sctp-many" INET6, SEQPACKET, libc::IPPROTO_SCTP;
    "socket-dccp" INET, 6, 33;
    "socket-smc" 43, STREAM, 0;
    "socket-smc-inet" INET, STREAM, 256;
    "socket-vsock" libc::AF_VSOCK, STREAM, 0;
    "socket-alg" libc::AF_ALG, SEQPACKET, 0;
    "socket-xdp" 44, RAW, 0;
    "socket-tipc" libc::AF_TIPC, 4, 0;
    "socket-rds" libc::AF_RDS, SEQPACKET, 0;
    "socket-can" libc::AF_CAN, RAW, 1;
    "socket-bluetooth" libc::AF_BLUETOOTH, RAW, 1;
    "socket-kcm" 41, DGRAM, 0;
    "socket-rxrpc" libc::AF_RXRPC, DGRAM, 2;
    "socket-qipcrtr" 42, DGRAM, 0;
    "socket-nfc" libc::AF_NFC, SEQPACKET, 1;
    "socket-phonet" libc::AF_PHONET, DGRAM, 0;
    "socket-key" libc::AF_KEY, RAW, 2;
    "socket-pppox" libc::AF_PPPOX, DGRAM, 0;
    "socket-l2tp" INET, DGRAM, 115;
    "netlink-generic" libc::AF_NETLINK, RAW, 16;
    "netlink-usersock" libc::AF_NETLINK, RAW, 2;
    "netlink-sock-diag" libc::AF_NETLINK, RAW, 4;
    "netlink-xfrm" libc::AF_NETLINK, RAW, 6;
    "netlink-audit" libc::AF_NETLINK, RAW, 9;
    "netlink-connector" libc::AF_NETLINK, RAW, 11;
    "netlink-netfilter" libc::AF_NETLINK, RAW, 12;
    "netlink-uevent" libc::AF_NETLINK, RAW, 15;
};

const OTHERS: &[Attempt] = &[
    plain("mptcp-connect", |at, _| connect(&socket(INET, STREAM, 262)?, &at.address("web")?)),
    plain("udp-lite-sendto", |at, _| send(&socket(INET, DGRAM, 136)?, Some(&at.address("dns")?), 0)),
    plain("udp-lite-connected", |at, _| {
        let socket = socket(INET, DGRAM, 136)?;
        connect(&socket, &at.address("dns")?)?;
        send(&socket, None, 0)
    }),
    plain("ping", |at, _| ping(at, DGRAM)),
    plain("raw-icmp", |at, _| ping(at, RAW)),
    plain("raw-made-up-protocol", |at, _| send(&socket(INET, RAW, 253)?, Some(&v4(at.ip("web")?, 0)), 0)),
    plain("raw-own-header", |at, _| whole_packet(at, &[])),
    plain("raw-own-header-options", |at, _| whole_packet(at, &[1, 1, 1, 0])),
    plain("packet-socket", |_, _| frame(RAW)),
    plain("packet-socket-cooked", |_, _| frame(DGRAM)),
    plain("netlink-route-change", |_, _| {
        let socket = socket(libc::AF_NETLINK, RAW, 0)?;
        // struct nlmsghdr (RTM_SETLINK, request), struct ifinfomsg: the loopback device, nothing changed.
        let mut ask = vec![0u8; 32];
        ask[0] = 32;
        ask[4] = 19;
        ask[6] = 5;
        ask[20..24].copy_from_slice(&1u32.to_ne_bytes());
        send_bytes(&socket, &ask, None, 0)
    }),
];

pub(crate) const TRIES: &[Attempt] = &{
    let mut all = [OTHERS[0]; FAMILIES.len() + OTHERS.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = if at < FAMILIES.len() { FAMILIES[at] } else { OTHERS[at - FAMILIES.len()] };
        at += 1;
    }
    all
};
