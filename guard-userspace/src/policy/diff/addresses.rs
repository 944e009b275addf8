//! Classes of addresses and ports: the boxes between the rules' own boundaries.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Change, Difference, Said, differ, patterns, said};
use crate::policy::model::{Action, AddrSet, Policy, Proto, Request, Sections};

/// Requests asked of both sides before giving up: a second's worth.
const MAX_REQUESTS: usize = 200_000;

pub(super) fn compare(old: &Policy, new: &Policy, profile: Option<&str>, difference: &mut Difference) {
    let sides = [old, new];
    let sections: Vec<&Sections> = sides
        .into_iter()
        .flat_map(|policy| {
            let tighter = profile.and_then(|name| policy.profile(name)).map(|profile| &profile.sections);
            std::iter::once(&policy.sections).chain(tighter)
        })
        .collect();
    let mut ports = BTreeSet::from([1]);
    let mut addrs: BTreeSet<IpAddr> =
        BTreeSet::from([IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)]);
    for gateway in sides.iter().flat_map(|policy| policy.gateways()) {
        boundaries(&mut addrs, gateway.ip(), 128);
        edge(&mut ports, gateway.port(), gateway.port());
    }
    for rule in
        sections.iter().filter_map(|sections| sections.connect.as_ref()).flat_map(|section| &section.rules)
    {
        for target in &rule.to {
            if let AddrSet::Net(net) = target.addr {
                boundaries(&mut addrs, net.addr, net.prefix);
            }
            target.ports.iter().for_each(|range| edge(&mut ports, range.first, range.last));
        }
    }
    let requests = addrs.len() * ports.len() * 2;
    if requests > MAX_REQUESTS {
        difference.incomplete.push(Action::Connect);
    }
    let targets = addrs.iter().flat_map(|addr| ports.iter().map(|port| SocketAddr::new(*addr, *port)));
    let peers = targets.flat_map(|to| [Proto::Tcp, Proto::Udp].map(|proto| Request::Connect { to, proto }));
    ask(old, new, profile, peers.take(MAX_REQUESTS), difference);

    let mut ports = BTreeSet::from([1]);
    for rule in
        sections.iter().filter_map(|sections| sections.listen.as_ref()).flat_map(|section| &section.rules)
    {
        let ranges = rule.ports.iter().flat_map(|target| &target.ports);
        ranges.for_each(|range| edge(&mut ports, range.first, range.last));
    }
    sides
        .iter()
        .flat_map(|policy| policy.gateways())
        .for_each(|gateway| edge(&mut ports, gateway.port(), gateway.port()));
    let binds = ports
        .iter()
        .flat_map(|port| [Proto::Tcp, Proto::Udp].map(|proto| Request::Listen { port: *port, proto }));
    ask(old, new, profile, binds, difference);
}

fn edge(ports: &mut BTreeSet<u16>, first: u16, last: u16) {
    ports.insert(first.max(1));
    ports.extend(last.checked_add(1));
}

/// The first address of the network and the first one behind it.
fn boundaries(addrs: &mut BTreeSet<IpAddr>, addr: IpAddr, prefix: u8) {
    addrs.insert(addr);
    match addr {
        IpAddr::V4(v4) => {
            let size = 1_u32.checked_shl(32 - u32::from(prefix.min(32)));
            let behind = size.and_then(|size| u32::from(v4).checked_add(size));
            addrs.extend(behind.map(|bits| IpAddr::V4(Ipv4Addr::from(bits))));
        }
        IpAddr::V6(v6) => {
            let size = 1_u128.checked_shl(128 - u32::from(prefix));
            let behind = size.and_then(|size| u128::from(v6).checked_add(size));
            addrs.extend(behind.map(|bits| IpAddr::V6(Ipv6Addr::from(bits))));
        }
    }
}

fn ask(
    old: &Policy,
    new: &Policy,
    profile: Option<&str>,
    requests: impl Iterator<Item = Request>,
    difference: &mut Difference,
) {
    let mut classes: BTreeMap<(Said, Said), Request> = BTreeMap::new();
    for request in requests {
        let before = said(old, &request, profile);
        let after = said(new, &request, profile);
        if differ(&before, &after) {
            classes.entry((before, after)).or_insert(request);
        }
    }
    for ((before, after), request) in classes {
        difference.changes.push(Change {
            action: request.action(),
            profile: profile.map(str::to_owned),
            args: None,
            patterns: patterns((old, &before), (new, &after)),
            old: before,
            new: after,
            example: request.to_string(),
        });
    }
}
