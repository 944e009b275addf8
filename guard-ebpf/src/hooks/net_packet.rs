//! The last line: each packet that a socket of a governed cgroup sends, with its real destination, protocol and
//! interface. Whatever the hooks before it could not see or were talked out of ends here.
//!
//! The running task means nothing here, a packet can be sent again from anywhere; it is the socket's cgroup that
//! says whose the packet is, and what was agreed to for the socket that says whether it may go.

use aya_ebpf::bindings::bpf_sock;
use aya_ebpf::helpers::generated as helpers;
use aya_ebpf::macros::cgroup_skb;
use aya_ebpf::programs::SkBuffContext;
use guard_common::abi::{Action, BoundaryItem, EventFlags, Op, Reason, Site};
use guard_common::table::{self, Words};

use super::{decided_by, fault, tally};
use crate::address::Key;
use crate::approval::{self, Approval};
use crate::emit::{self, What};
use crate::judge::Arena;
use crate::judge_key;
use crate::kernel::{self, count};
use crate::maps::CGROUPS;
use crate::packet::{self, Packet};
use crate::subject;

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
    let approved = approval::find(sk.cast::<u8>());
    // SAFETY: the context.
    let cgroup = unsafe { helpers::bpf_skb_cgroup_id(skb) };
    if approved.is_null() && !subject::maybe_governs(cgroup) {
        return 1;
    }
    let entry = CGROUPS.get(&cgroup);
    if entry.is_null() {
        return 1;
    }
    // SAFETY: not null, an entry of the map.
    let (domain, session) = unsafe { ((*entry).domain, (*entry).session) };
    let Some(arena) = Arena::live() else { return 0 };
    let generation = arena.word(table::AT_GENERATION);
    let packet = packet::read(skb);
    let owner = Owner { arena, domain: approval::domain(approved, domain), session, generation, cgroup };
    if packet.protocol == 0 || packet.strays {
        return owner.bent(packet);
    }
    if approval::is_of(approved, generation) {
        return 1;
    }
    owner.judge(packet, sk, approved)
}

/// On whose behalf a packet goes.
#[derive(Clone, Copy)]
struct Owner {
    arena: Arena,
    domain: u32,
    session: u64,
    generation: u64,
    cgroup: u64,
}

impl Owner {
    /// Other protocols than TCP and UDP, headers that name another way, the wrong interface.
    #[inline(always)]
    fn bent(self, packet: Packet) -> i32 {
        let item = if packet.protocol == 0 && packet.plain {
            BoundaryItem::SocketFamilies
        } else {
            BoundaryItem::SocketOptions
        };
        if self.arena.word(table::domain_at(self.domain) + table::domain::BOUNDARY) & item.bit() != 0 {
            return 1;
        }
        let mut what = What::default();
        fault(&mut what, self.arena.flags(self.domain), Reason::Boundary as u16);
        what.action = Action::Boundary as u8;
        what.detail = item as u64 | u64::from(packet.next) << 16 | u64::from(packet.interface) << 24;
        self.settle(what, packet.to)
    }

    /// Nothing has been agreed to for the socket under this generation. A connected socket's peer is asked
    /// about and not the packet's destination: where they differ, with nothing in the packet that bends it,
    /// the host has translated the address.
    #[inline(always)]
    fn judge(self, packet: Packet, sk: *const bpf_sock, approved: *const Approval) -> i32 {
        let accepts = approval::accepts(approved) || packet::listens(sk);
        let key = if accepts {
            packet::local(sk, packet.protocol)
        } else if packet::connected(sk) {
            packet::peer(sk, packet.protocol)
        } else {
            packet.to
        };
        let action = if accepts { Action::Listen } else { Action::Connect };
        let weighed = judge_key::weigh(self.arena, self.domain, action, key);
        let mut what = What::default();
        if weighed.reason == 0 {
            decided_by(&mut what, &weighed.decision);
        } else {
            fault(&mut what, self.arena.flags(self.domain), weighed.reason as u16);
        }
        if what.errno == 0 {
            return 1;
        }
        what.action = action as u8;
        self.settle(what, packet.to)
    }

    #[inline(always)]
    fn settle(self, facts: What, to: Key) -> i32 {
        let mut what = facts;
        what.session = self.session;
        what.domain = self.domain;
        what.generation = self.generation;
        what.op = Op::Packet as u8;
        what.flags |= EventFlags::ADDRESS;
        tally(&what);
        count(Site::PacketBlocked);
        emit::emit_packet(&what, self.cgroup, to);
        i32::from(what.errno == 0)
    }
}
