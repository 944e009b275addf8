//! Renames and links change which rules speak of a file without touching it.
//!
//! A directory that moves takes everything below along: `mv .git x` would put the hooks in reach of a rule
//! that names them by `.git/hooks`. The automata tell exactly when: what may be below a path depends on the
//! state after it alone, so equal states mean that the same rules go on to apply. A file must not become
//! readable by its new name.

use core::ffi::c_void;

use aya_ebpf::helpers::generated as helpers;
use guard_common::abi::{Action, Op, Reason};
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

/// Refuses a move or link that would put `old` under other rules by its name `new`.
#[inline(always)]
pub(crate) fn regoverned(subject: Subject, op: Op, old: Place, new: Place) -> i32 {
    let directory = is_directory(old.dentry) || is_directory(new.dentry);
    let case = pack(subject, Action::Write, op) | u64::from(directory) << 48;
    let scratch = object::scratch(subject.task);
    if scratch.is_null() {
        return returned(1);
    }
    // SAFETY: not null, a map value.
    unsafe { put(&raw mut (*scratch).differ, 0) };
    let first = look(scratch, case, old, 0);
    let second = look(scratch, case, new, 1);
    let laxer = if directory { differ(scratch) } else { second < first };
    if !laxer {
        return 0;
    }
    returned(settle(scratch, case, subject.session, Reason::OtherRules as u64))
}

#[inline(always)]
fn is_directory(dentry: Ptr) -> bool {
    let inode = follow(dentry, at!(DENTRY_INODE));
    !inode.is_null() && load::<u16, _, _>(inode, at!(INODE_MODE)) & S_IFMT == S_IFDIR
}

/// Looks at one of the two names: a directory's states are kept, of a file the answer for reading is given.
#[inline(always)]
fn look(scratch: *mut Scratch, case: u64, at: Place, side: u64) -> u64 {
    at.aim(scratch);
    inspect(scratch, case | side << 56)
}

// SAFETY: the name is this function's alone in the object.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn inspect(scratch: *mut Scratch, case: u64) -> u64 {
    let Some(live) = Arena::live() else { return 0 };
    if scratch.is_null() {
        return 0;
    }
    let end = walk::spell(scratch);
    if walk::ended(end) != End::Done {
        // The two names have just been spelt and decided; if one cannot be any more, the old side counts as
        // the strictest and the new one as the laxest.
        // SAFETY: a map value.
        unsafe { put(&raw mut (*scratch).differ, 1) };
        return if case >> 56 == 0 { u64::MAX } else { 0 };
    }
    if case >> 48 & 1 == 0 {
        weigh(scratch, case as u32, Action::Read as u32, 0);
        return u64::from(judge::decision(scratch).answer.verdict_code());
    }
    judge::pad(scratch);
    let mut context = Context { arena: live, scratch, domain: case as u32, side: case >> 56 };
    // SAFETY: the callback takes the context it is given here.
    unsafe {
        helpers::bpf_loop(
            RESIDUALS as u32,
            keep as unsafe extern "C" fn(u64, *mut c_void) -> i64 as *mut c_void,
            (&raw mut context).cast(),
            0,
        );
    }
    0
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
    | (Action::Read as u64) << 24;

/// Keeps what may be below the name in the scratch space, for one automaton.
unsafe extern "C" fn keep(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: the context is the one `inspect` gives.
    let (arena, scratch, domain, side) = unsafe {
        let context = context.cast::<Context>();
        ((*context).arena, (*context).scratch, (*context).domain, (*context).side)
    };
    let index = kernel::masked(index, RESIDUALS as u64 - 1);
    let n = (index >> 1) as u32 & (POLICIES_PER_DOMAIN as u32 - 1);
    let action = (ACTIONS >> ((index >> 3 & 3) * 8)) as u32 & 7;
    let mut state = table::DEAD;
    if n < arena.flags(domain).policies() {
        let starts = arena.word(
            table::domain_at(domain) + table::domain::ACTIONS + (action * POLICIES_PER_DOMAIN as u32 + n) * 2,
        );
        state =
            judge::below(arena, scratch, if index & 1 == 0 { starts as u32 } else { (starts >> 32) as u32 });
    }
    // SAFETY: a map value; the index is masked.
    unsafe {
        let kept = (&raw mut (*scratch).residuals).cast::<u32>().add(index as usize);
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

const _: () = assert!(POLICIES_PER_DOMAIN == 4 && RESIDUALS == 32);
