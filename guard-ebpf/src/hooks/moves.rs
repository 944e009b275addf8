//! Renames and links change which rules speak of a file without touching it.
//!
//! A directory that moves takes everything below along: `mv .git x` would put the hooks in reach of a rule
//! that names them by `.git/hooks`. The automata tell exactly when: what may be below a path depends on the
//! state after it alone, so equal states mean that the same rules go on to apply. A file must not become
//! readable by its new name, nor a socket be reached by it, on other terms than by the old one. Where two names are
//! exchanged, each is the other's new one.

use core::ffi::c_void;

use aya_ebpf::helpers::generated as helpers;
use guard_common::abi::{Action, Op, Reason, Verdict};
use guard_common::limits::POLICIES_PER_DOMAIN;
use guard_common::table::{self, Words};

use crate::hooks::{pack, returned, settle};
use crate::judge::{self, Arena, weigh};
use crate::kernel::{self, Ptr, at, follow, get, load, put};
use crate::object::{self, Place, RESIDUALS, Scratch};
use crate::subject::Subject;
use crate::walk::{self, End};

const S_IFMT: u16 = 0o170_000;
const S_IFDIR: u16 = 0o040_000;
const S_IFSOCK: u16 = 0o140_000;

/// In a case: of a directory, what is below is looked at.
const BELOW: u64 = 1 << 48;
/// In a case: of a socket, whether it may be connected to is looked at.
const REACHED: u64 = 1 << 49;
/// In a case: the second of the two names.
const SECOND: u64 = 1 << 56;

/// Refuses a move or link that would put `old` under other rules by its name `new`, or also the other way round.
#[inline(always)]
pub(crate) fn regoverned(subject: Subject, op: Op, old: Place, new: Place, exchange: bool) -> i32 {
    let case = pack(subject, Action::Write, op);
    let (old_kind, new_kind) = (kind(old.dentry), kind(new.dentry));
    let of = |kind: u16, looks: u64| if old_kind == kind || new_kind == kind { looks } else { 0 };
    let looks = of(S_IFDIR, BELOW) | of(S_IFSOCK, REACHED);
    let scratch = object::scratch(subject.task);
    if scratch.is_null() {
        return returned(1);
    }
    // SAFETY: not null, a map value.
    unsafe { put(&raw mut (*scratch).differ, 0) };
    let first = look(scratch, case | looks, old);
    let under = weighed_in(scratch);
    let second = look(scratch, case | looks | SECOND, new);
    // What two generations say of two names cannot be compared.
    let other = under != weighed_in(scratch)
        || differ(scratch)
        || !suits(first, second)
        || exchange && !suits(second, first);
    if !other {
        return 0;
    }
    returned(settle(scratch, case, subject.session, Reason::OtherRules as u64))
}

#[inline(always)]
fn weighed_in(scratch: *mut Scratch) -> u64 {
    // SAFETY: a map value.
    unsafe { get(&raw const (*scratch).weighed_in) }
}

/// Whether what is under the first name may go on under the second: what anybody may do already, to any name; what
/// nobody may do there, from any; else on the same terms alone.
#[inline(always)]
fn suits(from: u64, to: u64) -> bool {
    let one = |from: u32, to: u32| from == FREE || from == to || to >> 16 == Verdict::Block.code();
    one(from as u32, to as u32) && one((from >> 32) as u32, (to >> 32) as u32)
}

/// [`terms`] of a plain yes.
const FREE: u32 = Verdict::Allow.code() << 16;
/// Those that suit no others, of a name that could not be decided on.
const UNKNOWN: u64 = u64::MAX;

/// On what terms the decision in the scratch space lets through: the verdict, and which profile or budget of whose.
#[inline(always)]
fn terms(scratch: *mut Scratch) -> u32 {
    let decision = judge::decision(scratch);
    let profile = u32::from(decision.answer.profile());
    let whose = if profile == 0 { 0 } else { profile << 8 | u32::from(decision.policy) };
    decision.verdict().code() << 16 | whose
}

/// The kind of file that a name has now, 0 for none.
#[inline(always)]
fn kind(dentry: Ptr) -> u16 {
    let inode = follow(dentry, at!(DENTRY_INODE));
    if inode.is_null() { 0 } else { load::<u16, _, _>(inode, at!(INODE_MODE)) & S_IFMT }
}

/// Looks at one of the two names: a directory's states are kept, and the terms are given on which what has the name may
/// be read, and above them those on which it may be connected to.
#[inline(always)]
fn look(scratch: *mut Scratch, case: u64, at: Place) -> u64 {
    at.aim(scratch);
    inspect(scratch, case)
}

// SAFETY: the name is this function's alone in the object.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn inspect(scratch: *mut Scratch, case: u64) -> u64 {
    let Some(live) = Arena::live() else { return UNKNOWN };
    if scratch.is_null() {
        return UNKNOWN;
    }
    let mut failed = walk::ended(walk::spell(scratch)) != End::Done;
    let mut found = 0;
    if !failed {
        failed = weigh(scratch, case as u32, Action::Read as u32, 0) != 0;
        found = u64::from(terms(scratch));
    }
    if !failed && case & REACHED != 0 {
        failed = weigh(scratch, case as u32, Action::Connect as u32, 0) != 0;
        found |= u64::from(terms(scratch)) << 32;
    }
    if failed {
        // The two names have just been spelt and decided: one cannot be any more.
        // SAFETY: a map value.
        unsafe { put(&raw mut (*scratch).differ, 1) };
        return UNKNOWN;
    }
    if case & BELOW == 0 {
        return found;
    }
    judge::pad(scratch);
    let mut context =
        Context { arena: live, scratch, domain: case as u32, side: u64::from(case & SECOND != 0) };
    // SAFETY: the callback takes the context it is given here.
    unsafe {
        helpers::bpf_loop(
            RESIDUALS as u32,
            keep as unsafe extern "C" fn(u64, *mut c_void) -> i64 as *mut c_void,
            (&raw mut context).cast(),
            0,
        );
    }
    found
}

struct Context {
    arena: Arena,
    scratch: *mut Scratch,
    domain: u32,
    side: u64,
}

/// Actions whose rules speak of paths.
const ACTIONS: u64 = Action::Exec as u64
    | (Action::Load as u64) << 8
    | (Action::Write as u64) << 16
    | (Action::Read as u64) << 24
    | (Action::Connect as u64) << 32;

/// Keeps what may be below the name in the scratch space, for one automaton.
unsafe extern "C" fn keep(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: the context is the one `inspect` gives.
    let (arena, scratch, domain, side) = unsafe {
        let context = context.cast::<Context>();
        ((*context).arena, (*context).scratch, (*context).domain, (*context).side)
    };
    let index = kernel::masked(index, RESIDUALS.next_power_of_two() as u64 - 1);
    if index >= RESIDUALS as u64 {
        return 1;
    }
    let n = (index >> 1) as u32 & (POLICIES_PER_DOMAIN as u32 - 1);
    let action = (ACTIONS >> ((index >> 3 & 7) * 8)) as u32 & 7;
    let mut state = table::DEAD;
    if n < arena.flags(domain).policies() {
        let starts = arena.word(
            table::domain_at(domain) + table::domain::ACTIONS + (action * POLICIES_PER_DOMAIN as u32 + n) * 2,
        );
        state =
            judge::below(arena, scratch, if index & 1 == 0 { starts as u32 } else { (starts >> 32) as u32 });
    }
    // SAFETY: a map value; the index is below their number.
    unsafe {
        let kept = (&raw mut (*scratch).aside.residuals).cast::<u32>().add(index as usize);
        if side == 0 {
            put(kept, state);
        } else if get(kept) != state {
            put(&raw mut (*scratch).differ, 1);
            return 1;
        }
    }
    0
}

/// Whether the states of the two names differed anywhere.
#[inline(always)]
fn differ(scratch: *mut Scratch) -> bool {
    // SAFETY: a map value.
    unsafe { get(&raw const (*scratch).differ) != 0 }
}

const _: () = assert!(POLICIES_PER_DOMAIN == 4 && RESIDUALS == 5 * 8);
