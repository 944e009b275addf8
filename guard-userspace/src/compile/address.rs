//! Addresses and ports as fragments: the bytes of `guard_common::key`.

use std::net::{IpAddr, SocketAddr};

use guard_common::key;

use super::automaton::{ByteSet, FragmentId, Fragments};
use crate::policy::model::{AddrSet, Cidr, NetTarget, PortRange, PortTarget, Proto};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// The protocol's number as keys spell it. 0, which no rule names, matches the rules that name none.
const fn number(proto: Proto) -> u8 {
    match proto {
        Proto::Tcp => TCP,
        Proto::Udp => UDP,
        Proto::Any => 0,
    }
}

/// The key of a peer or of a local address.
pub(super) fn key(address: SocketAddr, proto: Proto) -> Vec<u8> {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => key::v4(ip.octets(), number(proto), address.port()).to_vec(),
        IpAddr::V6(ip) => key::v6(ip.octets(), number(proto), address.port()).to_vec(),
    }
}

/// The address, port and protocol that a key spells.
pub(super) fn parse(key: &[u8]) -> Option<(SocketAddr, Proto)> {
    let (address, rest): (IpAddr, &[u8]) = match *key {
        [key::V4, a, b, c, d, ref rest @ ..] => ([a, b, c, d].into(), rest),
        [key::V6, ref rest @ ..] => {
            let (address, rest) = rest.split_first_chunk::<16>()?;
            ((*address).into(), rest)
        }
        _ => return None,
    };
    let &[proto, high, low] = rest else { return None };
    let proto = match proto {
        TCP => Proto::Tcp,
        UDP => Proto::Udp,
        _ => Proto::Any,
    };
    Some((SocketAddr::new(address, u16::from_be_bytes([high, low])), proto))
}

/// The destinations of one target, then `next`.
pub(super) fn target(fragments: &mut Fragments, target: &NetTarget, next: FragmentId) -> FragmentId {
    let tail = tail(fragments, target.proto, &target.ports, next);
    match target.addr {
        AddrSet::Any => anywhere(fragments, tail),
        AddrSet::Net(net) => network(fragments, net, tail),
    }
}

/// The one peer that a target means, if it means no more: one address, one port, one protocol.
pub(super) fn exact(target: &NetTarget) -> Option<(SocketAddr, Proto)> {
    let AddrSet::Net(Cidr { addr, prefix }) = target.addr else { return None };
    let whole = if addr.is_ipv4() { 32 } else { 128 };
    match *target.ports {
        [PortRange { first, last }] if first == last && prefix == whole && target.proto != Proto::Any => {
            Some((SocketAddr::new(addr, first), target.proto))
        }
        _ => None,
    }
}

/// The local ports of one target at any local address, then `next`.
pub(super) fn ports(fragments: &mut Fragments, target: &PortTarget, next: FragmentId) -> FragmentId {
    let tail = tail(fragments, target.proto, &target.ports, next);
    anywhere(fragments, tail)
}

/// One address and port, then `next`.
pub(super) fn socket(
    fragments: &mut Fragments,
    address: SocketAddr,
    proto: Proto,
    next: FragmentId,
) -> FragmentId {
    let port = [PortRange { first: address.port(), last: address.port() }];
    let tail = tail(fragments, proto, &port, next);
    let addr = address.ip().to_canonical();
    let prefix = if addr.is_ipv4() { 32 } else { 128 };
    network(fragments, Cidr { addr, prefix }, tail)
}

fn anywhere(fragments: &mut Fragments, tail: FragmentId) -> FragmentId {
    let v4 = some_bytes(fragments, 4, tail);
    let v6 = some_bytes(fragments, 16, tail);
    let v4 = fragments.bytes(&[key::V4], v4);
    let v6 = fragments.bytes(&[key::V6], v6);
    fragments.any(vec![v4, v6])
}

fn some_bytes(fragments: &mut Fragments, count: usize, next: FragmentId) -> FragmentId {
    (0..count).fold(next, |next, _| fragments.set(ByteSet::ALL, next))
}

fn network(fragments: &mut Fragments, net: Cidr, tail: FragmentId) -> FragmentId {
    let (family, octets) = match net.addr {
        IpAddr::V4(ip) => (key::V4, ip.octets().to_vec()),
        IpAddr::V6(ip) => (key::V6, ip.octets().to_vec()),
    };
    let (whole, bits) = (usize::from(net.prefix / 8), net.prefix % 8);
    let mut next = tail;
    if whole < octets.len() {
        next = some_bytes(fragments, octets.len() - whole - 1, next);
        let host = u8::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
        let first = octets[whole] & !host;
        next = fragments.set(ByteSet::range(first, first | host), next);
    }
    next = fragments.bytes(&octets[..whole.min(octets.len())], next);
    fragments.bytes(&[family], next)
}

/// Protocol and port.
fn tail(fragments: &mut Fragments, proto: Proto, ports: &[PortRange], next: FragmentId) -> FragmentId {
    let mut choices = Vec::new();
    for range in ports {
        port_range(fragments, *range, next, &mut choices);
    }
    let port = fragments.any(choices);
    match proto {
        Proto::Tcp => fragments.bytes(&[TCP], port),
        Proto::Udp => fragments.bytes(&[UDP], port),
        Proto::Any => fragments.set(ByteSet::ALL, port),
    }
}

/// A range of two-byte numbers: the part in the first high byte, whole high bytes, the part in the last.
fn port_range(fragments: &mut Fragments, range: PortRange, next: FragmentId, into: &mut Vec<FragmentId>) {
    let [high_first, low_first] = range.first.to_be_bytes();
    let [high_last, low_last] = range.last.to_be_bytes();
    let mut part = |high: (u8, u8), low: (u8, u8)| {
        let low = fragments.set(ByteSet::range(low.0, low.1), next);
        into.push(fragments.set(ByteSet::range(high.0, high.1), low));
    };
    if range.first > range.last {
        return;
    }
    if high_first == high_last {
        return part((high_first, high_first), (low_first, low_last));
    }
    let (mut from, mut to) = (u16::from(high_first), u16::from(high_last));
    if low_first > 0 {
        part((high_first, high_first), (low_first, u8::MAX));
        from += 1;
    }
    if low_last < u8::MAX {
        part((high_last, high_last), (0, low_last));
        to -= 1;
    }
    if from <= to {
        part((from as u8, to as u8), (0, u8::MAX));
    }
}
