//! Packets and sends that pass at first sight, which are nearly all of them: plain IPv4, to where the socket was agreed to
//! send or where everybody of its cgroup's domain may, from a session that has enough left. Nothing is refused here:
//! what is not clear at once is examined by `net_packet` and `net`.

use aya_ebpf::bindings::{__sk_buff, bpf_sock};
use guard_common::abi::Site;

use super::net_control;
use crate::address::{self, AF_INET, AF_UNIX, Key, SOCK_DGRAM, SOCK_STREAM};
use crate::kernel::{self, Ptr, at, count, follow, load};
use crate::maps::{CLOSED, DOWN, FOREIGN};
use crate::packet::{self, TCP, UDP};
use crate::subject::Subject;
use crate::{approval, cgroups, spent, whose};

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
    approval::is_none(sk) && addressed(subject, sk, address as u64, TCP)
}

/// Is this an IPv4 address that everybody of the task's domain may speak with? If so, a yes is counted.
#[inline(always)]
fn addressed(subject: Subject, sk: Ptr, address: u64, protocol: u8) -> bool {
    let [front] = kernel::peek(address);
    let (family, port, to) = (front as u16, (front >> 16) as u16, (front >> 32) as u32);
    // The wildcard means another address.
    let passes = family == AF_INET && to != 0 && everybody_may(subject, sk, Key::v4(to, protocol, port).0[2]);
    if passes {
        count(Site::Allowed);
    }
    passes
}

/// Is the peer one that everybody of the task's domain may speak with, without a word, and the socket its own? `peer` is the
/// last word of an IPv4 address's key.
#[inline(always)]
fn everybody_may(subject: Subject, sk: Ptr, peer: u64) -> bool {
    let cgroup = cgroups::cgroup_id(follow(sk, at!(SOCK_CGROUP)));
    let Some(known) = whose::is_known(cgroup, peer) else { return false };
    known.domain == subject.domain && known.session == subject.session && known.quiet && known.easy
}

/// Does a task send on a socket to whom it was agreed to, as things are, or a datagram to where everybody of its domain may?
/// Not where a session has nothing left.
#[inline(always)]
pub(super) fn sends(subject: Subject, sk: Ptr, message: Ptr) -> bool {
    let family: u16 = load(sk, at!(SOCK_FAMILY));
    if family == AF_UNIX {
        return !subject.boxed;
    }
    if family != AF_INET || CLOSED.happened() {
        return false;
    }
    let protocol: u16 = load(sk, at!(SOCK_PROTOCOL));
    // Raw sockets can have its number too.
    let datagram = protocol == u16::from(UDP) && load::<u16, _, _>(sk, at!(SOCK_TYPE)) == SOCK_DGRAM;
    // Of what is pending, and of another way out, the kernel is told elsewhere.
    let flags = load::<u32, _, _>(message, at!(MESSAGE_FLAGS)) & net_control::DONT_ROUTE;
    if datagram
        && u64::from(address::pending(sk))
            | u64::from(flags)
            | load::<u64, _, _>(message, at!(MESSAGE_CONTROL_LENGTH))
            != 0
    {
        return false;
    }
    let name: u64 = load(message, at!(MESSAGE_NAME));
    let known = approval::has_storage(sk);
    if name != 0 {
        return datagram && !known && sends_to(subject, sk, message, name);
    }
    let peer = Key::v4(load(sk, at!(SOCK_PEER_V4)), protocol as u8, load(sk, at!(SOCK_PEER_PORT)));
    if known {
        let approved = approval::find(sk);
        return approval::holds(approved) && approval::covers(approved, sk, subject.domain, peer);
    }
    datagram && everybody_may(subject, sk, peer.0[2])
}

/// The same of a datagram that is addressed by itself.
#[inline(always)]
fn sends_to(subject: Subject, sk: Ptr, message: Ptr, name: u64) -> bool {
    load::<u32, _, _>(message, at!(MESSAGE_NAME_LENGTH)) >= 16
        && !net_control::is_one_of_several(subject.task)
        && addressed(subject, sk, name, UDP)
}

/// Does a packet of a governed cgroup go to where everybody of its domain may, or to whom it was agreed to for its socket?
#[inline(always)]
pub(super) fn passes(skb: *const __sk_buff, sk: *const bpf_sock, cgroup: u64) -> bool {
    let Some(to) = packet::plain(skb) else { return false };
    let Some(known) = whose::is_known(cgroup, to.0[2]) else { return false };
    if packet::device(sk) != 0 {
        return false;
    }
    // Most go where everybody may, of which nothing need be kept; what was agreed to for others is in no other name than
    // their cgroup's. An easy peer's key names TCP or UDP.
    let kept = !known.easy || FOREIGN.happened();
    let approved = if kept { approval::find(sk.cast::<u8>()) } else { core::ptr::null_mut() };
    let session = match approval::made_for(approved) {
        None if known.easy && !packet::listens(sk) => known.session,
        // A sandbox has limits of its own.
        Some((domain, session))
            if matches!(to.protocol(), TCP | UDP)
                && domain == known.domain
                && approval::holds(approved)
                && approval::names(approved, to) =>
        {
            session
        }
        _ => return false,
    };
    known.limit == 0
        || spent::fits(session, known.limit, packet::counted(skb, || to.protocol(), packet::V4_HEADER))
}
