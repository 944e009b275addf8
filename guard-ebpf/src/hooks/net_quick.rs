//! Packets and sends that pass at first sight, which are nearly all of them: plain IPv4, to where the socket was agreed to
//! send or where everybody of its cgroup's domain may, from a session that has enough left. Nothing is refused here:
//! what is not clear at once is examined by `net_packet` and `net`.

use aya_ebpf::bindings::{__sk_buff, bpf_sock};
use guard_common::abi::Site;
use guard_common::table::{self, DomainFlags, Words};

use crate::address::{self, AF_INET, AF_UNIX, Key, SOCK_STREAM};
use crate::judge::Arena;
use crate::kernel::{self, Ptr, at, count, load};
use crate::maps::{CLOSED, DOWN};
use crate::packet::{self, TCP, UDP};
use crate::subject::{self, Subject};
use crate::{approval, spent, whose};

/// Does a task connect a stream to where everybody of its domain may, of which nothing is told nor kept? Not where what
/// was agreed to for the socket before must go, nor where anything decides beside the policy.
#[inline(always)]
pub(super) fn connects(subject: Subject, sk: Ptr, address: *const u8, length: u32) -> bool {
    let (family, kind, protocol): (u16, u16, u16) =
        (load(sk, at!(SOCK_FAMILY)), load(sk, at!(SOCK_TYPE)), load(sk, at!(SOCK_PROTOCOL)));
    let stream = family == AF_INET && kind == SOCK_STREAM && protocol == u16::from(TCP);
    if !stream || length < 16 || CLOSED.happened() || DOWN.happened() {
        return false;
    }
    let [front] = kernel::peek(address as u64);
    let (named, port, to) = (front as u16, (front >> 16) as u16, (front >> 32) as u32);
    // The wildcard means another address.
    if named != AF_INET || to == 0 {
        return false;
    }
    let Some(arena) = Arena::live() else { return false };
    let passes = arena.flags(subject.domain).has(DomainFlags::ALLOWS_NONE)
        && table::is_easy(&arena, subject.domain, Key::v4(to, TCP, port).0)
        && whose::is_known(subject::cgroup_id(address::cgroup(sk)))
            == Some((subject.domain, subject.session))
        && approval::find(sk).is_null();
    if passes {
        count(Site::Allowed);
    }
    passes
}

/// Does a task send on a socket to whom it was agreed to, as things are? Not where a session has nothing left.
#[inline(always)]
pub(super) fn sends(subject: Subject, sk: Ptr, message: Ptr) -> bool {
    let family: u16 = load(sk, at!(SOCK_FAMILY));
    if family == AF_UNIX {
        return !subject.boxed;
    }
    if family != AF_INET || load::<u64, _, _>(message, at!(MESSAGE_NAME)) != 0 || CLOSED.happened() {
        return false;
    }
    let approved = approval::find(sk);
    let Some(arena) = Arena::live() else { return false };
    let (protocol, port): (u16, u16) = (load(sk, at!(SOCK_PROTOCOL)), load(sk, at!(SOCK_PEER_PORT)));
    let peer = Key::v4(load(sk, at!(SOCK_PEER_V4)), protocol as u8, port);
    approval::covers(approved, arena.word(table::AT_GENERATION), subject.domain, peer)
}

#[inline(always)]
pub(super) fn passes(
    arena: Arena,
    skb: *const __sk_buff,
    sk: *const bpf_sock,
    cgroup: u64,
    foreign: bool,
) -> bool {
    let Some(plain) = packet::plain(skb) else { return false };
    let to = Key::v4(plain.address, plain.protocol, plain.port);
    let (domain, session) = if plain.protocol == TCP && !foreign {
        // Most streams go where everybody may, of which nothing is kept; what was agreed to for others is in no other
        // name than their cgroup's.
        let Some((domain, session)) = whose::is_known(cgroup) else { return false };
        if packet::listens(sk) || !table::is_easy(&arena, domain, to.0) {
            return false;
        }
        (domain, session)
    } else if plain.protocol == TCP || plain.protocol == UDP {
        let approved = approval::find(sk.cast::<u8>());
        if !approval::is_of(approved, arena.word(table::AT_GENERATION)) || !approval::names(approved, to) {
            return false;
        }
        let Some(whose) = approval::made_for(approved) else { return false };
        whose
    } else {
        return false;
    };
    let limit = spent::limit(arena, domain);
    limit == 0 || spent::fits(session, limit, plain.length)
}
