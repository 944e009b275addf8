//! Addresses and ports that a rule decides.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::policy::model::{AddrSet, Cidr, NetTarget, PortRange, Proto, Request, Rule};

/// Addresses for documentation: nobody's.
const NOBODY: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 77)),
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77)),
];
const PORTS: [u16; 4] = [443, 4443, 80, 50_007];

pub(super) fn connect(rule: &Rule, decided: impl Fn(&Request) -> bool) -> Option<Request> {
    rule.to.iter().flat_map(candidates).find(decided)
}

fn candidates(target: &NetTarget) -> Vec<Request> {
    let addresses = match target.addr {
        AddrSet::Any => NOBODY.to_vec(),
        AddrSet::Net(net) => hosts(net),
    };
    let mut all = Vec::new();
    for ip in addresses {
        for port in ports(&target.ports) {
            for &proto in protocols(target.proto) {
                all.push(Request::Connect { to: SocketAddr::new(ip, port), proto });
            }
        }
    }
    all
}

/// The first hosts of a network, and its last.
fn hosts(net: Cidr) -> Vec<IpAddr> {
    let bits = if net.addr.is_ipv4() { 32 } else { 128 } - net.prefix;
    let steps: Vec<u128> = match bits {
        0 => vec![0],
        1 => vec![0, 1],
        _ => vec![1, 2, 7, (1u128 << bits.min(127)) - 2],
    };
    let add = |step: u128| match net.addr {
        IpAddr::V4(ip) => IpAddr::V4((u32::from(ip) | step as u32).into()),
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) | step).into()),
    };
    steps.into_iter().map(add).filter(|ip| !ip.is_multicast() && !ip.is_unspecified()).collect()
}

/// A few of the ranges' ports.
fn ports(ranges: &[PortRange]) -> Vec<u16> {
    let common =
        PORTS.into_iter().filter(|port| ranges.iter().any(|range| (range.first..=range.last).contains(port)));
    let ends = ranges.iter().flat_map(|range| [range.first.max(1), range.last]);
    let mut all: Vec<u16> = common.collect();
    all.extend(ends.take(32));
    all.dedup();
    all
}

fn protocols(proto: Proto) -> &'static [Proto] {
    match proto {
        Proto::Tcp => &[Proto::Tcp],
        Proto::Udp => &[Proto::Udp],
        Proto::Any => &[Proto::Tcp, Proto::Udp],
    }
}

pub(super) fn listen(rule: &Rule, decided: impl Fn(&Request) -> bool) -> Option<Request> {
    rule.ports
        .iter()
        .flat_map(|target| {
            // The whole of each range is one to the rule: its ends stand for it.
            let ends = target.ports.iter().flat_map(|range| [range.first.max(1), range.last]);
            ends.flat_map(|port| {
                protocols(target.proto).iter().map(move |proto| Request::Listen { port, proto: *proto })
            })
        })
        .find(decided)
}

pub(super) fn anywhere() -> impl Iterator<Item = Request> {
    NOBODY.into_iter().flat_map(|ip| {
        PORTS
            .into_iter()
            .map(move |port| Request::Connect { to: SocketAddr::new(ip, port), proto: Proto::Tcp })
    })
}

pub(super) fn any_port() -> impl Iterator<Item = Request> {
    [4443, 8089, 50_007, 61_234].into_iter().map(|port| Request::Listen { port, proto: Proto::Tcp })
}
