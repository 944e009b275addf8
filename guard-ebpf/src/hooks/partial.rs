//! Where no LSM program is called: programs of the root cgroup, which know of network sockets and nothing else.
//! Attached only with `--allow-partial`; elsewhere the LSM hooks see the same and more.
//!
//! Whose call it is, the running task's cgroup says: without LSM hooks labels are not inherited. Packets are checked
//! by `net_packet` as everywhere. 1 lets a call go on, 0 ends it with EPERM.

use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::generated as helpers;
use aya_ebpf::macros::{cgroup_sock, cgroup_sock_addr};
use aya_ebpf::programs::{SockAddrContext, SockContext};
use guard_common::abi::{Action, BoundaryItem, EventFlags, Op, Reason, Verdict};
use guard_common::table::{self, Answer, Words};

use super::EAGAIN;
use super::net::{detail, is_usual};
use super::owner::Owner;
use super::peer::beside;
use crate::address::{self, Key};
use crate::approval::{self, How};
use crate::emit::What;
use crate::judge::Arena;
use crate::kernel::get;
use crate::maps::{CGROUPS, FOREIGN};
use crate::packet::{self, joined};
use crate::{budget, cgroups};

const STREAM: u32 = 1;
const DATAGRAM: u32 = 2;
const TCP: u32 = 6;
const UDP: u32 = 17;
const NO_KEY: Key = Key([0, 0, 0]);

#[cgroup_sock_addr(connect4)]
pub(crate) fn connect4(ctx: SockAddrContext) -> i32 {
    ask(ctx.sock_addr, Action::Connect, Op::Connect, v4_peer)
}

#[cgroup_sock_addr(connect6)]
pub(crate) fn connect6(ctx: SockAddrContext) -> i32 {
    ask(ctx.sock_addr, Action::Connect, Op::Connect, v6_peer)
}

#[cgroup_sock_addr(sendmsg4)]
pub(crate) fn sendmsg4(ctx: SockAddrContext) -> i32 {
    ask(ctx.sock_addr, Action::Connect, Op::Send, v4_named)
}

#[cgroup_sock_addr(sendmsg6)]
pub(crate) fn sendmsg6(ctx: SockAddrContext) -> i32 {
    ask(ctx.sock_addr, Action::Connect, Op::Send, v6_named)
}

#[cgroup_sock_addr(bind4)]
pub(crate) fn bind4(ctx: SockAddrContext) -> i32 {
    ask(ctx.sock_addr, Action::Listen, Op::Bind, v4)
}

#[cgroup_sock_addr(bind6)]
pub(crate) fn bind6(ctx: SockAddrContext) -> i32 {
    ask(ctx.sock_addr, Action::Listen, Op::Bind, v6)
}

/// Runs for IPv4 and IPv6 sockets of every protocol, once they are made.
#[cgroup_sock(sock_create)]
pub(crate) fn sock_create(ctx: SockContext) -> i32 {
    // SAFETY: members of the context.
    let (family, kind, protocol) = unsafe {
        let socket = ctx.sock;
        let family = get(&raw const (*socket).family);
        (family, get(&raw const (*socket).type_), get(&raw const (*socket).protocol))
    };
    if is_usual(family, kind, protocol) {
        return 1;
    }
    let owner = match owner() {
        Whose::Nobodys => return 1,
        Whose::Unclear => return 0,
        Whose::Domains(owner) => owner,
    };
    if owner.opens(BoundaryItem::SocketFamilies) {
        return 1;
    }
    let what = owner.forbidden(BoundaryItem::SocketFamilies, u64::from(detail(family, kind, protocol)));
    owner.settle::<true>(what, Op::Socket, NO_KEY)
}

/// Whose call it is.
enum Whose {
    Nobodys,
    /// No policy is installed that could say.
    Unclear,
    Domains(Owner),
}

#[inline(always)]
fn owner() -> Whose {
    // SAFETY: a helper that takes nothing.
    let cgroup = unsafe { helpers::bpf_get_current_cgroup_id() };
    if !cgroups::maybe_governs(cgroup) {
        return Whose::Nobodys;
    }
    let entry = CGROUPS.get(&cgroup);
    if entry.is_null() {
        return Whose::Nobodys;
    }
    let Some(arena) = Arena::live() else { return Whose::Unclear };
    // SAFETY: not null, an entry of the map.
    let (domain, session) = unsafe { ((*entry).domain, (*entry).session) };
    Whose::Domains(Owner { arena, domain, session, generation: arena.word(table::AT_GENERATION), cgroup })
}

#[inline(always)]
fn ask(
    context: *const bpf_sock_addr,
    action: Action,
    op: Op,
    key: fn(*const bpf_sock_addr, u8, u16) -> Key,
) -> i32 {
    let owner = match owner() {
        Whose::Nobodys => return 1,
        Whose::Unclear => return 0,
        Whose::Domains(owner) => owner,
    };
    // SAFETY: members of the context.
    let (kind, protocol, port) = unsafe {
        let kind = get(&raw const (*context).type_);
        (kind, get(&raw const (*context).protocol), get(&raw const (*context).user_port) as u16)
    };
    let usual = (kind == STREAM && protocol == TCP) || (kind == DATAGRAM && protocol == UDP);
    if !usual {
        if owner.opens(BoundaryItem::SocketFamilies) {
            return 1;
        }
        let what = owner.forbidden(BoundaryItem::SocketFamilies, u64::from(detail(0, kind, protocol)));
        return owner.settle::<true>(what, op, NO_KEY);
    }
    if port == 0 && matches!(op, Op::Bind) {
        return 1;
    }
    let key = key(context, protocol as u8, port);
    let what = if key == NO_KEY {
        owner.fault(Reason::UnknownAddress, action)
    } else {
        decide(owner, action, op, key)
    };
    let what = if what.errno == 0 && kind == STREAM && !approve(owner, context, op, key) {
        owner.fault(Reason::HelperFailed, action)
    } else {
        what
    };
    if what.errno == 0 && what.flags & EventFlags::SHADOWED == 0 {
        return 1;
    }
    owner.settle::<true>(what, op, key)
}

/// For the packets: of a stream to its peer, and of what a stream accepts that has a port which the policy opens. False if it
/// cannot be remembered.
#[inline(always)]
fn approve(owner: Owner, context: *const bpf_sock_addr, op: Op, key: Key) -> bool {
    // SAFETY: a member of the context.
    let socket = unsafe { get(&raw const (*context).__bindgen_anon_1.sk) };
    if socket.is_null() {
        return false;
    }
    let how = if matches!(op, Op::Bind) { How::Listens } else { How::Sends };
    let whose = (owner.domain, owner.session);
    // The running task's, and the socket may be another cgroup's.
    FOREIGN.happens();
    approval::grant(socket.cast_const().cast(), owner.generation, whose, how, key)
}

#[inline(always)]
fn decide(owner: Owner, action: Action, op: Op, key: Key) -> What {
    let what = owner.decide(action, key);
    if what.errno != 0 {
        return what;
    }
    let case = u64::from(owner.domain) | (action as u64) << 32 | (op as u64) << 40;
    let reason = beside(owner.arena, case, owner.session, key);
    if reason == Reason::BytesSpent as u64 {
        owner.fault(Reason::BytesSpent, action)
    } else if reason == Reason::GatewayDown as u64 {
        owner.fault(Reason::GatewayDown, action)
    } else {
        carry_out(owner, action, what)
    }
}

/// Of the verdicts between yes and no a throttle can be kept here too, though its caller gets EPERM as from every such program.
/// Nobody can be moved into a sandbox, nor held.
#[inline(always)]
fn carry_out(owner: Owner, action: Action, what: What) -> What {
    if what.verdict == Verdict::Sandbox as u8 {
        return owner.fault(Reason::NoSandbox, action);
    }
    let mut what = what;
    if what.verdict == Verdict::Throttle as u8 {
        let policy = u32::from(what.policy & 0xff);
        let at = table::budget_at(&owner.arena, owner.domain, policy, Answer(what.answer));
        let wait = budget::spend(at, owner.session);
        if wait != 0 {
            what.errno = -EAGAIN;
            what.reason = Reason::OverBudget as u16;
            what.detail = wait;
        }
    }
    what
}

#[inline(always)]
fn v4(context: *const bpf_sock_addr, protocol: u8, port: u16) -> Key {
    // SAFETY: a member of the context.
    Key::v4(unsafe { get(&raw const (*context).user_ip4) }, protocol, port)
}

#[inline(always)]
fn v6(context: *const bpf_sock_addr, protocol: u8, port: u16) -> Key {
    Key::v6(v6_halves(context), protocol, port)
}

#[inline(always)]
fn v6_halves(context: *const bpf_sock_addr) -> [u64; 2] {
    // SAFETY: members of the context.
    unsafe {
        let at = (&raw const (*context).user_ip6).cast::<u32>();
        joined([get(at), get(at.add(1)), get(at.add(2)), get(at.add(3))])
    }
}

/// The address a socket is bound to, as IPv4, and whether it is bound to a mapped one.
#[inline(always)]
fn bound(context: *const bpf_sock_addr) -> (u32, bool) {
    // SAFETY: a member of the context.
    let socket = unsafe { get(&raw const (*context).__bindgen_anon_1.sk) };
    if socket.is_null() { (0, false) } else { packet::bound(socket) }
}

#[inline(always)]
fn v4_peer(context: *const bpf_sock_addr, protocol: u8, port: u16) -> Key {
    // SAFETY: a member of the context.
    let address = unsafe { get(&raw const (*context).user_ip4) };
    Key::v4(address::v4_meant(address, bound(context).0), protocol, port)
}

#[inline(always)]
fn v6_peer(context: *const bpf_sock_addr, protocol: u8, port: u16) -> Key {
    let halves = v6_halves(context);
    let (bound, is_mapped) = bound(context);
    Key::v6(address::v6_meant(halves, bound, is_mapped), protocol, port)
}

/// Of a datagram. What the wildcard means to it may change until it is sent.
#[inline(always)]
fn v4_named(context: *const bpf_sock_addr, protocol: u8, port: u16) -> Key {
    let key = v4(context, protocol, port);
    if key == Key::v4(0, protocol, port) { NO_KEY } else { key }
}

#[inline(always)]
fn v6_named(context: *const bpf_sock_addr, protocol: u8, port: u16) -> Key {
    let halves = v6_halves(context);
    if address::is_wildcard(halves) { NO_KEY } else { Key::v6(halves, protocol, port) }
}
