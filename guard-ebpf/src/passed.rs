//! What was paid for, so that an operation which several hooks see is paid for once.
//!
//! Two memories. A ticket, in the task's scratch space: the hooks that follow in the same call, such as the
//! open that follows a creation, take it. And the files that were opened so: writing, mapping and handing on
//! are what they were opened for.

use guard_common::abi::{Action, Op};
use guard_common::decide::Decision;
use guard_common::table::{self, Words};

use crate::hooks::NO_HOLD;
use crate::judge::Arena;
use crate::kernel::{Ptr, at, get, load, put};
use crate::maps::PASSED;
use crate::object::{self, Scratch};
use crate::subject::Subject;

/// The last operation that was paid for.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Ticket {
    /// Address of the dentry, 0 for what has none.
    object: u64,
    /// The answer, and which policy's it is.
    answer: u64,
    domain: u32,
    op: u32,
    /// Rules have other numbers in another generation.
    generation: u64,
}

/// Which answer of which policy.
#[inline(always)]
fn name(decision: &Decision) -> u64 {
    u64::from(decision.answer.0) | u64::from(decision.policy) << 32
}

/// Whether the same call goes on from one operation to the other: on the same object, or on whatever it is.
#[inline(always)]
fn goes_on(from: u32, to: u32, made: bool) -> (bool, bool) {
    let pair = |a: Op, b: Op| from == a as u32 && to == b as u32;
    let same = made && pair(Op::Create, Op::Open)
        || pair(Op::Open, Op::Truncate)
        // One change under each of the file's names.
        || pair(Op::Times, Op::Times)
        || pair(Op::Xattr, Op::Xattr)
        || pair(Op::Acl, Op::Acl)
        || pair(Op::Attributes, Op::Attributes);
    let any = pair(Op::RenameFrom, Op::RenameTo)
        || pair(Op::LinkFrom, Op::LinkTo)
        // A script and its interpreter, and their words.
        || pair(Op::Exec, Op::Exec)
        || pair(Op::Exec, Op::Argv);
    (same, any)
}

/// Is this the same call going on under the same rule? Then it goes on from here.
#[inline(always)]
pub(crate) fn covers(scratch: *mut Scratch, case: u64, decision: &Decision) -> bool {
    let op = (case >> 40) as u32 & 0xff;
    // Word by word: a whole ticket would go by the stack.
    // SAFETY: `scratch` is a map value.
    let fits = unsafe {
        let ticket = &raw const (*scratch).ticket;
        let (from, about) = (get(&raw const (*ticket).op), get(&raw const (*ticket).object));
        // What an open has made is not held any more, and what it has not made was not asked about before.
        let (same, any) = goes_on(from, op, case & NO_HOLD != 0);
        get(&raw const (*ticket).answer) == name(decision)
            && get(&raw const (*ticket).generation) == get(&raw const (*scratch).what.generation)
            && get(&raw const (*ticket).domain) == case as u32
            && (any || same && about != 0 && about == get(&raw const (*scratch).object))
    };
    if fits {
        leave(scratch, case, decision);
    }
    fits
}

/// Leaves a ticket for the hooks that follow.
#[inline(always)]
pub(crate) fn leave(scratch: *mut Scratch, case: u64, decision: &Decision) {
    // SAFETY: `scratch` is a map value.
    unsafe {
        let ticket = &raw mut (*scratch).ticket;
        put(&raw mut (*ticket).object, get(&raw const (*scratch).object));
        put(&raw mut (*ticket).answer, name(decision));
        put(&raw mut (*ticket).domain, case as u32);
        put(&raw mut (*ticket).op, (case >> 40) as u32 & 0xff);
        put(&raw mut (*ticket).generation, get(&raw const (*scratch).what.generation));
        put(&raw mut (*scratch).spent, 1);
    }
}

/// A new call begins.
#[inline(always)]
pub(crate) fn forget(scratch: *mut Scratch) {
    // SAFETY: `scratch` is a map value.
    unsafe { put(&raw mut (*scratch).ticket.op, Op::None as u32) };
}

/// The object of the questions that follow; nothing has been spent on it yet.
#[inline(always)]
pub(crate) fn about(scratch: *mut Scratch, object: u64) {
    // SAFETY: `scratch` is a map value.
    unsafe {
        put(&raw mut (*scratch).object, object);
        put(&raw mut (*scratch).spent, 0);
        put(&raw mut (*scratch).argv, 0);
        put(&raw mut (*scratch).shown, 0);
    }
}

/// An open file's inode, as one session may use it under one domain.
#[repr(C)]
pub(crate) struct Passed {
    session: u64,
    ino: u64,
    dev: u32,
    domain: u32,
    action: u64,
}

#[inline(always)]
fn key(subject: Subject, action: Action, inode: Ptr) -> Passed {
    Passed {
        session: subject.session,
        ino: load(inode, at!(INODE_INO)),
        dev: load(object::file_system(inode), at!(SB_DEV)),
        domain: subject.domain,
        action: action as u64,
    }
}

/// Did the last decision take more than a plain yes?
#[inline(always)]
pub(crate) fn has_spent(scratch: *mut Scratch) -> bool {
    // SAFETY: `scratch` is a map value.
    unsafe { get(&raw const (*scratch).spent) != 0 }
}

/// Remembers a file whose opening took more than a plain yes, under the generation that said so.
#[inline(always)]
pub(crate) fn opened(subject: Subject, action: Action, inode: Ptr) {
    let scratch = object::scratch(subject.task);
    if scratch.is_null() {
        return;
    }
    // SAFETY: not null, a map value.
    let generation = unsafe { get(&raw const (*scratch).weighed_in) };
    PASSED.set(&key(subject, action, inode), &generation);
}

/// Was this file opened so under the live generation?
#[inline(always)]
pub(crate) fn is_open(subject: Subject, action: Action, inode: Ptr) -> bool {
    let Some(arena) = Arena::live() else { return false };
    let generation = PASSED.get(&key(subject, action, inode));
    !generation.is_null() && get(generation) == arena.word(table::AT_GENERATION)
}
