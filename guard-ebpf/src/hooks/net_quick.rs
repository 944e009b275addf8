//! Packets and sends that pass at first sight, which are nearly all of them: plain IPv4, to where the socket was agreed to
//! send or where everybody of its cgroup's domain may, from a session that has enough left. Nothing is refused here:
//! what is not clear at once is examined by `net_packet` and `net`.

use aya_ebpf::bindings::{__sk_buff, bpf_sock};
use guard_common::abi::Site;

use crate::address::{self, AF_INET, AF_UNIX, Key, SOCK_STREAM};
use crate::kernel::{self, Ptr, at, count, load};
use crate::maps::{CLOSED, DOWN, FOREIGN};
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
    let peer = Key::v4(to, TCP, port).0[2];
    let Some(known) = whose::is_known(subject::cgroup_id(address::cgroup(sk)), peer) else { return false };
    let own = known.domain == subject.domain && known.session == subject.session;
    let passes = own && known.quiet && known.easy && approval::is_none(sk);
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
    let (protocol, port): (u16, u16) = (load(sk, at!(SOCK_PROTOCOL)), load(sk, at!(SOCK_PEER_PORT)));
    let peer = Key::v4(load(sk, at!(SOCK_PEER_V4)), protocol as u8, port);
    approval::holds(approved) && approval::covers(approved, subject.domain, peer)
}

#[inline(always)]
pub(super) fn passes(skb: *const __sk_buff, sk: *const bpf_sock, cgroup: u64) -> bool {
    let Some((protocol, to)) = packet::plain(skb) else { return false };
    let Some(known) = whose::is_known(cgroup, to.0[2]) else { return false };
    if protocol != TCP && protocol != UDP {
        return false;
    }
    // Most streams go where everybody may, of which nothing is kept; what was agreed to for others is in no other name than
    // their cgroup's.
    let kept = protocol != TCP || FOREIGN.happened();
    let approved = if kept { approval::find(sk.cast::<u8>()) } else { core::ptr::null_mut() };
    let session = match approval::made_for(approved) {
        None if protocol == TCP && known.easy && !packet::listens(sk) => known.session,
        // A sandbox has limits of its own.
        Some((domain, session))
            if domain == known.domain && approval::holds(approved) && approval::names(approved, to) =>
        {
            session
        }
        _ => return false,
    };
    known.limit == 0 || spent::fits(session, known.limit, packet::length(skb))
}
