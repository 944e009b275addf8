//! The peers that a domain lists as easy: `guard_common::table::is_easy`.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use guard_common::abi::{Action, Verdict};
use guard_common::decide::decide;
use guard_common::table::{self, DomainFlags, domain};

use super::address;
use super::unit::Unit;
use crate::policy::model::Proto;

/// Peers that rules name and that are tried for a place in the list: each costs a decision for each domain.
const TRIED: usize = 64;

/// Lists in `row` the domain's gateways, and peers of IPv4 datagrams that rules name, that the automata say yes to without
/// more ado. Not those of streams: nothing would be kept for their sockets, and by what is kept their packets are known and
/// counted when the cgroup has gone. Nor those of IPv6, which packets do not look for.
pub(super) fn list<'a>(
    id: u32,
    units: impl Iterator<Item = &'a Unit> + Clone,
    row: Option<usize>,
    arena: &mut [u64],
) {
    let Some(row) = row else { return };
    let gateways: BTreeSet<SocketAddr> =
        units.clone().flat_map(Unit::gateway).map(|gateway| gateway.value).collect();
    let gateways = gateways.into_iter().map(|gateway| (gateway, Proto::Tcp));
    let rules = units.flat_map(|unit| unit.rules(Action::Connect));
    let named = rules.flat_map(|rule| &rule.to).filter_map(address::exact);
    let named = named.filter(|(peer, proto)| peer.is_ipv4() && *proto == Proto::Udp).take(TRIED);
    let mut listed = false;
    for (peer, proto) in gateways.chain(named) {
        let key = address::key(peer, proto);
        let words = words_of(&key);
        let at = row + table::easy_place(words[table::KEY_WORDS - 1]) as usize * table::KEY_WORDS;
        // Who came first stays.
        if arena[at..at + table::KEY_WORDS].iter().any(|&word| word != 0) {
            continue;
        }
        let decision = decide(&*arena, id, Action::Connect, &key, None);
        if decision.verdict() == Verdict::Allow && !decision.needs_args && decision.shadow.is_none() {
            arena[at..at + table::KEY_WORDS].copy_from_slice(&words);
            listed = true;
        }
    }
    if listed {
        arena[table::domain_at(id) as usize + domain::FLAGS as usize] |=
            (row as u64) << DomainFlags::EASY_SHIFT;
    }
}

/// A key as the words that the kernel compares: zeroes in front.
fn words_of(key: &[u8]) -> [u64; table::KEY_WORDS] {
    let mut bytes = [0; table::KEY_WORDS * 8];
    let from = bytes.len() - key.len();
    bytes[from..].copy_from_slice(key);
    let mut words = [0; table::KEY_WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}
