//! The decision on an address: the same automata and the same join as in `judge`, but the key is three words,
//! so that nothing is needed but registers and a little stack. A packet's program has no task to keep a
//! scratch space for.

use core::ffi::c_void;

use aya_ebpf::helpers::generated as helpers;
use guard_common::abi::{Action, Reason, Site};
use guard_common::decide::Decision;
use guard_common::limits::POLICIES_PER_DOMAIN;
use guard_common::table::{self, Answer, DomainFlags, Words};

use crate::address::Key;
use crate::judge::{Arena, Outcome, outcome, pointer, resume};
use crate::kernel::{self, count, get, put};
use crate::maps::ArenaValue;

/// What the loop over the policies needs, and what it has found.
#[repr(C)]
struct Joining {
    arena: *const ArenaValue,
    key: Key,
    at: u32,
    action: u32,
    outcome: Outcome,
}

/// A decision, or the code of the reason why there is none.
pub(crate) struct Weighed {
    pub(crate) decision: Decision,
    pub(crate) reason: u64,
}

/// Decides one action of a domain on an address.
#[inline(always)]
pub(crate) fn weigh(arena: Arena, domain: u32, action: Action, key: Key) -> Weighed {
    let flags = arena.flags(domain);
    if !flags.has(DomainFlags::LIVE) {
        count(Site::NoDomain);
        return Weighed { decision: Decision::START, reason: Reason::NoPolicy as u64 };
    }
    let mut joining = Joining {
        arena: pointer(arena),
        key,
        at: table::domain_at(domain),
        action: action as u32,
        outcome: outcome(&Decision::START),
    };
    // SAFETY: the callback takes the context it is given here.
    unsafe {
        helpers::bpf_loop(
            flags.policies(),
            consult as unsafe extern "C" fn(u64, *mut c_void) -> i64 as *mut c_void,
            (&raw mut joining).cast(),
            0,
        );
    }
    Weighed { decision: resume(get(&raw const joining.outcome)).finish(), reason: 0 }
}

/// Asks one of the joined policies.
unsafe extern "C" fn consult(n: u64, context: *mut c_void) -> i64 {
    let joining = context.cast::<Joining>();
    // SAFETY: the context is the one `weigh` gives.
    let (arena, key, at, action, before) = unsafe {
        (
            Arena::of((*joining).arena),
            (*joining).key,
            (*joining).at,
            (*joining).action,
            get(&raw const (*joining).outcome),
        )
    };
    let n = kernel::masked(n, POLICIES_PER_DOMAIN as u64 - 1) as u32;
    let starts_at = at + table::domain::ACTIONS + (action * POLICIES_PER_DOMAIN as u32 + n) * 2;
    let starts = arena.word(starts_at);
    let default = Answer(arena.word(starts_at + 1) as u32);
    let flags = (arena.word(at + table::domain::POLICIES + n) >> 32) as u32;
    let first = run(arena, key, starts as u32);
    let second = run(arena, key, (starts >> 32) as u32);
    let mut decision = resume(before);
    decision.add(n as u8, flags, first, second, default);
    // SAFETY: as above.
    unsafe { put(&raw mut (*joining).outcome, outcome(&decision)) };
    0
}

/// Walks one automaton over the key; zeroes in front lead a start state back to itself.
#[inline(always)]
fn run(arena: Arena, key: Key, start: u32) -> Answer {
    if start == table::DEAD {
        return Answer::NONE;
    }
    let mut state = u64::from(start);
    if !key.is_v4() {
        state = word(pointer(arena), state, key.0[0]);
        state = word(pointer(arena), state, key.0[1]);
    }
    state = word(pointer(arena), state, key.0[2]);
    table::answer(&arena, state as u32)
}

// SAFETY: the name is this function's alone in the object.
#[unsafe(export_name = "walk_word")]
#[inline(never)]
extern "C" fn word(arena: *const ArenaValue, state: u64, bytes: u64) -> u64 {
    if arena.is_null() {
        return u64::from(table::DEAD);
    }
    let arena = Arena::of(arena);
    let mut state = state as u32;
    let mut rest = bytes;
    let mut i = 0;
    while i < 8 {
        state = table::step(&arena, state, rest as u8);
        rest >>= 8;
        i += 1;
    }
    u64::from(state)
}
