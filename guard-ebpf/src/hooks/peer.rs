//! The decision on an address, and what follows from it.

use guard_common::abi::{Action, Op, Reason, Site, Verdict};
use guard_common::table::{self, DomainFlags, Words};

use super::{ADDRESS, EPERM, PAID, pack, refuse, returned, settle};
use crate::address::{self, Key, Kind, Spelt};
use crate::approval::{self, How};
use crate::judge::{self, Arena};
use crate::kernel::{Ptr, count, get, put};
use crate::maps::FOREIGN;
use crate::object::{self, Scratch};
use crate::subject::Subject;
use crate::{cgroups, emit, heard, judge_key, passed, spent, whose};

/// Decides on the key in the scratch space.
#[inline(always)]
pub(super) fn decide(subject: Subject, action: Action, op: Op, scratch: *mut Scratch, spelt: u64) -> i32 {
    answer(subject, pack(subject, action, op), scratch, spelt)
}

#[inline(always)]
fn answer(subject: Subject, case: u64, scratch: *mut Scratch, spelt: u64) -> i32 {
    let case = case | ADDRESS;
    returned(judge(scratch, case, subject.session, spelt))
}

// SAFETY: the name is this function's alone in the object.
#[unsafe(export_name = "judge_address")]
#[inline(never)]
extern "C" fn judge(scratch: *mut Scratch, case: u64, session: u64, spelt: u64) -> i64 {
    let Some(arena) = Arena::live() else { return -i64::from(EPERM) };
    if scratch.is_null() {
        return refuse(arena, case);
    }
    if Spelt::from_code(spelt) != Spelt::Key {
        emit::no_object(scratch);
        return settle(scratch, case, session, Reason::UnknownAddress as u64);
    }
    // SAFETY: not null, a map value that is the task's own.
    unsafe {
        put(&raw mut (*scratch).decided_in, arena.word(table::AT_GENERATION));
        put(&raw mut (*scratch).weighed_in, arena.word(table::AT_GENERATION));
    }
    let key = Key::kept(scratch);
    let action = if case >> 32 & 7 == Action::Listen as u64 { Action::Listen } else { Action::Connect };
    if heard::before(arena, scratch, case, session, key) && beside(arena, case, session, key) == 0 {
        count(Site::Allowed);
        return 0;
    }
    passed::about(scratch, 0);
    let weighed = judge_key::weigh(arena, case as u32, action, key);
    judge::keep(scratch, &weighed.decision);
    let mut reason = weighed.reason;
    if reason == 0 && weighed.decision.verdict() != Verdict::Block {
        reason = beside(arena, case, session, key);
    }
    let plain = reason == 0 && judge::is_plain(&weighed.decision);
    let answer = settle(scratch, case, session, reason | key.digest(session) << 32);
    if plain && answer == 0 {
        heard::keep(arena, scratch, case, session, key);
    }
    answer
}

/// Why a call that sends is refused although the policy allows it, 0 if it is not.
#[inline(always)]
pub(super) fn beside(arena: Arena, case: u64, session: u64, key: Key) -> u64 {
    let op = (case >> 40) as u8;
    if op != Op::Connect as u8 && op != Op::Send as u8 {
        return 0;
    }
    if spent::is_spent(session, spent::limit(arena, case as u32)) {
        return Reason::BytesSpent as u64;
    }
    if case >> 32 & 7 == Action::Connect as u64 && spent::is_down(key) {
        return Reason::GatewayDown as u64;
    }
    0
}

/// Remembers that the socket may send to the key in the scratch space, or accept. Not where nothing has been remembered
/// and everybody would come to the same answer without: the packets of a socket of the session's own cgroup are
/// judged by that cgroup's domain, and an easy peer is as quickly found there. Datagrams pass at first sight only
/// where yeses are not told of.
///
/// Of a socket that was made elsewhere nothing else says whose its packets are, nor counts them: if it cannot be remembered,
/// which a task can bring about, the call is refused.
#[inline(always)]
pub(super) fn approve(subject: Subject, sk: Ptr, how: How, op: Op, kind: Kind, scratch: *mut Scratch) -> i32 {
    let (Some(arena), false) = (Arena::live(), scratch.is_null()) else { return -EPERM };
    let key = Key::kept(scratch);
    let inside = made_inside(subject, sk);
    if how == How::Sends
        && inside
        && table::is_easy(&arena, subject.domain, key.0)
        && (kind == Kind::Tcp || arena.flags(subject.domain).has(DomainFlags::ALLOWS_NONE))
        && approval::find(sk).is_null()
    {
        return 0;
    }
    if !inside {
        // Before it can be found.
        FOREIGN.happens();
    }
    // Not of the live generation: policies may have changed since it was decided.
    // SAFETY: not null, a map value that is the task's own.
    let generation = unsafe { get(&raw const (*scratch).decided_in) };
    if approval::grant(sk, generation, (subject.domain, subject.session), how, key) || inside {
        return 0;
    }
    let action = if how == How::Sends { Action::Connect } else { Action::Listen };
    let case = pack(subject, action, op) | ADDRESS;
    returned(settle(scratch, case, subject.session, Reason::HelperFailed as u64))
}

/// Was the socket made in a cgroup that has the subject's domain and session? Not one that has gone meanwhile: nobody
/// would say whose its packets are.
#[inline(always)]
fn made_inside(subject: Subject, sk: Ptr) -> bool {
    whose::is(cgroups::cgroup_id(address::cgroup(sk))) == Some((subject.domain, subject.session))
}

/// Decides on a send to the peer that the socket is connected to: a socket that was accepted on a port which
/// the policy opens answers whoever came.
#[inline(always)]
pub(super) fn send(subject: Subject, sk: Ptr, kind: Kind) -> i32 {
    let Some(arena) = Arena::live() else { return -EPERM };
    let peer = Key::of_peer(sk, kind);
    let approved = approval::find(sk);
    if approval::is_of(approved, arena.word(table::AT_GENERATION))
        && approval::covers(approved, sk, subject.domain, peer)
        && !spent::is_spent(subject.session, spent::limit(arena, subject.domain))
    {
        return 0;
    }
    // Where yeses are told of, the connect has told.
    if approved.is_null()
        && arena.flags(subject.domain).has(DomainFlags::ALLOWS_NONE)
        && table::is_easy(&arena, subject.domain, peer.0)
        && made_inside(subject, sk)
        && beside(arena, pack(subject, Action::Connect, Op::Send), subject.session, peer) == 0
    {
        return 0;
    }
    let scratch = object::scratch(subject.task);
    if scratch.is_null() {
        return -EPERM;
    }
    let (how, action) = if kind == Kind::Tcp && approval::has_accepted(approved, sk) {
        Key::of_local(sk, kind).keep(scratch);
        (How::Accepts, Action::Listen)
    } else {
        peer.keep(scratch);
        (How::Sends, Action::Connect)
    };
    let paid = if approval::knew(approved, subject.domain, peer) { PAID } else { 0 };
    let answer = answer(subject, pack(subject, action, Op::Send) | paid, scratch, Spelt::Key as u64);
    if answer != 0 { answer } else { approve(subject, sk, how, Op::Send, kind, scratch) }
}
