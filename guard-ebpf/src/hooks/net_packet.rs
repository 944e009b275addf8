//! The last line: each packet that a socket of a governed cgroup sends, with its real destination, protocol and
//! interface. Whatever the hooks before it could not see or were talked out of ends here.
//!
//! The running task means nothing here, a packet can be sent again from anywhere; it is the socket's cgroup that
//! says whose the packet is, and what was agreed to for the socket that says whether it may go.

use aya_ebpf::bindings::{__sk_buff, bpf_sock};
use aya_ebpf::helpers::generated as helpers;
use aya_ebpf::macros::cgroup_skb;
use aya_ebpf::programs::SkBuffContext;
use guard_common::abi::{Action, Op, Reason, Site};
use guard_common::table::{self, DomainFlags, Words};

use super::net_quick;
use super::owner::Owner;
use crate::address::Key;
use crate::approval::{self, Approval};
use crate::emit::What;
use crate::judge::Arena;
use crate::kernel::{self, count};
use crate::maps::FOREIGN;
use crate::packet::{self, Packet};
use crate::rejoin::of_approval;
use crate::spent::{self, Spending};
use crate::{cgroups, whose};

/// `BPF_CGROUP_INET_EGRESS`: at the network layer, before fragmentation, behind the host's own address
/// translation. 1 lets the packet go.
#[cgroup_skb(egress)]
pub(crate) fn egress(ctx: SkBuffContext) -> i32 {
    let skb = ctx.skb.skb;
    // SAFETY: a member of the context.
    let sk = unsafe { kernel::get(&raw const (*skb).__bindgen_anon_2.sk) };
    if sk.is_null() {
        return 1;
    }
    // SAFETY: the context.
    let cgroup = unsafe { helpers::bpf_skb_cgroup_id(skb) };
    if !FOREIGN.happened() && !cgroups::maybe_governs(cgroup) {
        return 1;
    }
    if net_quick::passes(skb, sk, cgroup) {
        return 1;
    }
    examine(skb)
}

/// Whatever is not passed at first sight.
#[inline(never)]
fn examine(skb: *mut __sk_buff) -> i32 {
    // SAFETY: a member of the context.
    let sk = unsafe { kernel::get(&raw const (*skb).__bindgen_anon_2.sk) };
    if sk.is_null() {
        return 1;
    }
    let approved = approval::find(sk.cast::<u8>());
    // Once: of two loads the compiler makes a sum, which the verifier does not take of a socket.
    let state = packet::state(sk);
    // SAFETY: the context.
    let cgroup = unsafe { helpers::bpf_skb_cgroup_id(skb) };
    let Some(arena) = Arena::live() else { return 0 };
    let Some(owner) = owner(arena, state, approved, cgroup) else { return 1 };
    let packet = packet::read(skb);
    if packet.protocol == 0 || packet.strays {
        if !owner.opens(packet.item()) {
            return bent(owner, &packet);
        }
    } else if packet::device(sk) != 0 && !packet.near && !accepts(sk, state, approved) {
        // The way out was chosen for another peer, or before the socket came in.
        if !owner.opens(packet.item()) {
            return bent(owner, &packet);
        }
    } else {
        let agreed = approval::is_of(approved, owner.generation) && as_agreed(sk, state, approved, &packet);
        if !agreed && judge(owner, &packet, (sk, state), approved) == 0 {
            return 0;
        }
    }
    spend(owner, &packet)
}

/// Whose the socket is; nobody's if its cgroup is not governed and nothing was ever agreed to for it.
#[inline(always)]
fn owner(arena: Arena, state: u32, approved: *const Approval, cgroup: u64) -> Option<Owner> {
    let generation = arena.word(table::AT_GENERATION);
    let (domain, session) = match approval::made_for(approved) {
        // Also a socket from outside, or of a cgroup that has gone, as long as what was agreed to for it holds.
        Some(agreed) if approval::is_of(approved, generation) => agreed,
        before => match whose::is(cgroup) {
            // A sandbox is tighter than the cgroup it is in; what the cgroup has been is not.
            Some((now, session)) => (before.map_or(now, |(domain, _)| of_approval(domain, now)), session),
            // From outside, and what was agreed to for it was under other policies: what is still queued is judged by
            // those of now, for whom it was agreed to.
            // A listener has nothing queued, and may be another's by now.
            None => before.filter(|_| state != packet::LISTEN)?,
        },
    };
    Some(Owner { arena, domain, session, generation, cgroup })
}

/// Does the socket still do what was agreed to? One that sends may have another peer by now.
#[inline(always)]
fn as_agreed(sk: *const bpf_sock, state: u32, approved: *const Approval, packet: &Packet) -> bool {
    accepts(sk, state, approved) || approval::names(approved, towards(sk, state, packet))
}

#[inline(always)]
fn accepts(sk: *const bpf_sock, state: u32, approved: *const Approval) -> bool {
    approval::accepts(approved, sk.cast(), state == packet::LISTEN)
}

/// A connected socket's peer, else where the packet goes.
#[inline(always)]
fn towards(sk: *const bpf_sock, state: u32, packet: &Packet) -> Key {
    // A datagram socket without a peer is closed.
    if state != packet::CLOSE { packet::peer(sk, packet.protocol) } else { packet.to }
}

/// Other protocols than TCP and UDP, headers that name another way, the wrong interface.
#[inline(always)]
fn bent(owner: Owner, packet: &Packet) -> i32 {
    let detail = u64::from(packet.next) | u64::from(packet.interface) << 8;
    settle(owner, owner.forbidden(packet.item(), detail), packet.to)
}

/// Nothing that holds has been agreed to for the socket. A connected socket's peer is asked about and not the
/// packet's destination: where they differ, with nothing in the packet that bends it, the host has translated
/// the address.
#[inline(always)]
fn judge(
    owner: Owner,
    packet: &Packet,
    (sk, state): (*const bpf_sock, u32),
    approved: *const Approval,
) -> i32 {
    let accepts = accepts(sk, state, approved) || state == packet::LISTEN;
    let key = if accepts { packet::local(sk, packet.protocol) } else { towards(sk, state, packet) };
    let what = owner.decide(if accepts { Action::Listen } else { Action::Connect }, key);
    if what.errno == 0 {
        return 1;
    }
    settle(owner, what, packet.to)
}

/// Takes the packet out of what the session may still send. Only the first that does not fit is recorded: from
/// then on the calls that send are refused, each with its record.
#[inline(always)]
fn spend(owner: Owner, packet: &Packet) -> i32 {
    let limit = spent::limit(owner.arena, owner.domain);
    if limit == 0 {
        return 1;
    }
    let refused = spent::spend(owner.session, limit, packet.length);
    if refused == Spending::Fits {
        return 1;
    }
    let shadow = owner.arena.flags(owner.domain).has(DomainFlags::SHADOW);
    if shadow {
        spent::overspend(owner.session, packet.length);
    }
    if refused == Spending::Closed {
        count(if shadow { Site::ShadowHit } else { Site::PacketBlocked });
        return i32::from(shadow);
    }
    let mut what = owner.fault(Reason::BytesSpent, Action::Connect);
    what.detail = limit;
    settle(owner, what, packet.to)
}

#[inline(always)]
fn settle(owner: Owner, what: What, to: Key) -> i32 {
    count(Site::PacketBlocked);
    owner.settle::<false>(what, Op::Packet, to)
}
