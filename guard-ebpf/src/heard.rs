//! Addresses that were answered with a plain yes, of which nothing more was to be told: a task remembers the last few,
//! so that going to the same gateway again costs a comparison instead of the automata.
//!
//! The answer depends on the generation, the domain, the action and the address, and whether it was told of on the
//! session; whatever changes one of them makes what is remembered worthless. What decides beside the policy, a session
//! that is spent and a gateway that is down, is asked each time all the same.

use guard_common::table::{self, DomainFlags, Words};

use crate::address::Key;
use crate::judge::Arena;
use crate::kernel::{self, get, put};
use crate::object::Scratch;

/// Addresses that a task remembers.
const SLOTS: usize = 2;

/// What a task remembers.
#[repr(C)]
pub(crate) struct Heard {
    slots: [Slot; SLOTS],
}

/// One answer.
#[derive(Clone, Copy)]
#[repr(C)]
struct Slot {
    /// 0 for none: no generation is.
    generation: u64,
    session: u64,
    /// Domain and action.
    case: u64,
    key: [u64; 3],
}

/// What of a case the answer depends on.
const CASE: u64 = 0xff_ffff_ffff;

#[inline(always)]
fn slot(scratch: *mut Scratch, key: Key) -> *mut Slot {
    let [_, second, third] = key.0;
    let at = kernel::masked(third ^ third >> 16 ^ third >> 40 ^ second >> 56, SLOTS as u64 - 1) as usize;
    // SAFETY: a map value; the index is masked.
    unsafe { (&raw mut (*scratch).heard.slots).cast::<Slot>().add(at) }
}

/// Was this answered so, under the live generation?
#[inline(always)]
pub(crate) fn before(arena: Arena, scratch: *mut Scratch, case: u64, session: u64, key: Key) -> bool {
    let slot = slot(scratch, key);
    // SAFETY: a map value that is the task's own.
    let slot = unsafe { &*slot };
    get(&raw const slot.generation) ^ arena.word(table::AT_GENERATION)
        | get(&raw const slot.session) ^ session
        | get(&raw const slot.case) ^ case & CASE
        | slot.key[0] ^ key.0[0]
        | slot.key[1] ^ key.0[1]
        | slot.key[2] ^ key.0[2]
        == 0
}

/// Remembers a plain yes. Where every call is recorded each has something to tell.
#[inline(always)]
pub(crate) fn keep(arena: Arena, scratch: *mut Scratch, case: u64, session: u64, key: Key) {
    if arena.flags(case as u32).has(DomainFlags::ALLOWS_EVERY) {
        return;
    }
    let slot = slot(scratch, key);
    // SAFETY: a map value that is the task's own.
    unsafe {
        put(&raw mut (*slot).generation, arena.word(table::AT_GENERATION));
        put(&raw mut (*slot).session, session);
        put(&raw mut (*slot).case, case & CASE);
        let words = (&raw mut (*slot).key).cast::<u64>();
        put(words, key.0[0]);
        put(words.add(1), key.0[1]);
        put(words.add(2), key.0[2]);
    }
}
