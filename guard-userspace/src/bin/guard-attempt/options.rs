//! Options that bend where packets go, with an address that looks right.

use std::io;

use crate::net::{DGRAM, INET, INET6, STREAM, option, socket};
use crate::table::{Attempt, plain};

fn set(family: i32, kind: i32, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    option(&socket(family, kind, 0)?, level, name, value)
}

const SOCKET: i32 = libc::SOL_SOCKET;
const IP: i32 = libc::IPPROTO_IP;
const IPV6: i32 = libc::IPPROTO_IPV6;
const ONE: &[u8] = &[1, 0, 0, 0];

/// A segment routing header of one segment.
const SEGMENTS: &[u8] = &[0, 2, 4, 0, 0, 0, 0, 0, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

/// `struct ipv6_mreq`: ff02::fb on the loopback device.
const GROUP: &[u8] = &[0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfb, 1, 0, 0, 0];

pub(crate) const TRIES: &[Attempt] = &[
    plain("so-bindtodevice", |_, _| set(INET, DGRAM, SOCKET, libc::SO_BINDTODEVICE, b"lo\0")),
    plain("so-bindtoifindex", |_, _| set(INET, DGRAM, SOCKET, 62, ONE)),
    plain("so-mark", |_, _| set(INET, DGRAM, SOCKET, libc::SO_MARK, ONE)),
    plain("so-dontroute", |_, _| set(INET, DGRAM, SOCKET, libc::SO_DONTROUTE, ONE)),
    plain("ip-options", |_, _| set(INET, DGRAM, IP, libc::IP_OPTIONS, &[131, 7, 4, 127, 77, 0, 9, 0])),
    plain("ip-options-record", |_, _| set(INET, DGRAM, IP, libc::IP_OPTIONS, &[7, 7, 4, 0, 0, 0, 0, 0])),
    plain("ip-unicast-if", |_, _| set(INET, DGRAM, IP, 50, &[0, 0, 0, 1])),
    plain("ip-multicast-if", |_, _| set(INET, DGRAM, IP, libc::IP_MULTICAST_IF, &[127, 0, 0, 1])),
    plain("ip-freebind", |_, _| set(INET, DGRAM, IP, libc::IP_FREEBIND, ONE)),
    plain("ip-transparent", |_, _| set(INET, DGRAM, IP, libc::IP_TRANSPARENT, ONE)),
    plain("ip-add-membership", |_, _| {
        set(INET, DGRAM, IP, libc::IP_ADD_MEMBERSHIP, &[224, 0, 0, 251, 127, 0, 0, 1])
    }),
    plain("ipv6-join-group", |_, _| set(INET6, DGRAM, IPV6, 20, GROUP)),
    plain("ipv6-rthdr", |_, _| set(INET6, DGRAM, IPV6, libc::IPV6_RTHDR, SEGMENTS)),
    plain("ipv6-pktinfo", |_, _| set(INET6, DGRAM, IPV6, libc::IPV6_PKTINFO, &[0; 20])),
    plain("ipv6-unicast-if", |_, _| set(INET6, DGRAM, IPV6, 76, &[0, 0, 0, 1])),
    plain("tcp-repair", |_, _| set(INET, STREAM, libc::IPPROTO_TCP, 19, ONE)),
];
