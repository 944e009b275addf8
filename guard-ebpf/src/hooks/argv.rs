//! Rules with `args:`: argv is read from the new image, after the point where the agent could change it and
//! before its first instruction.
//!
//! The path alone decides first; where a rule asks for argv, the automata's states are kept and go on over
//! argv once the new image has it. Then the exec can no longer fail, so a refusal ends the process: nothing
//! of the program has run.

mod shown;
mod words;

pub(crate) use shown::ask;
pub(crate) use words::judge_words;

use core::ffi::c_void;
use core::ptr::null_mut;

use aya_ebpf::helpers::generated as helpers;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use guard_common::abi::{Action, Op, Reason, Site};
use guard_common::limits::{PATH_MAX, POLICIES_PER_DOMAIN};
use guard_common::table::{self, Words};

use self::words::{find_words, walk};
use crate::confine;
use crate::hold;
use crate::hooks::{DECIDED, EPERM, life, pack, returned, settle};
use crate::judge::{self, Arena, weigh};
use crate::kernel::{self, Ptr, at, count, follow, get, load, put};
use crate::object::{self, Place, Scratch};
use crate::storage;
use crate::subject::{self, Subject};
use crate::walk::{self, End};

/// Automata of one domain: two for each joined policy.
const AUTOMATA: usize = POLICIES_PER_DOMAIN * 2;
/// A script and its interpreter.
const LEVELS: usize = 2;
/// How much of argv is read. A longer one cannot be judged, and is refused.
const ARGV: usize = 4096;
/// Longest word of the caller's that is read.
const WORD: usize = 3072;
const SIGKILL: u32 = 9;

/// An exec that waits for its argv.
#[repr(C)]
pub(crate) struct Pending {
    levels: u64,
    /// The domain that decided on the path.
    domain: u64,
    /// The generation that it decided under, 0 if the levels were decided under different ones.
    generation: u64,
    /// argc as each level had it: the kernel puts an interpreter's words in front of a script's.
    argc: [u64; LEVELS],
    states: [u32; AUTOMATA * LEVELS],
    /// Where the words to be judged begin and end.
    from: u64,
    to: u64,
    nuls: u64,
    skip: u64,
    words: u64,
    length: u64,
    state: u64,
    sip: hold::Sip,
    /// Where the caller's list of words is.
    list: u64,
    /// The words, and room behind them for the verifier.
    bytes: [u8; ARGV + WORD],
}

/// A new exec begins; what an earlier, failed one left is void.
#[inline(always)]
pub(crate) fn forget(task: Ptr, scratch: *mut Scratch) {
    let pending = pending(task, scratch);
    if !pending.is_null() {
        // SAFETY: not null, map values.
        unsafe {
            put(&raw mut (*pending).levels, 0);
            put(&raw mut (*scratch).pends, 0);
        }
    }
}

/// What is pending, null if nothing is: most execs have nothing there, and need not look.
#[inline(always)]
fn pending(task: Ptr, scratch: *mut Scratch) -> *mut Pending {
    // SAFETY: a map value.
    if unsafe { get(&raw const (*scratch).pends) } == 0 { null_mut() } else { storage::exec(task, false) }
}

/// Room for what an exec leaves pending, null if there is no memory.
#[inline(always)]
fn pend(task: Ptr, scratch: *mut Scratch) -> *mut Pending {
    // SAFETY: a map value.
    unsafe { put(&raw mut (*scratch).pends, 1) };
    storage::exec(task, true)
}

/// Keeps the automata's states if the decision in the scratch space waits for argv.
#[inline(always)]
pub(crate) fn expect(subject: Subject, bprm: Ptr) -> i32 {
    let scratch = object::scratch(subject.task);
    if scratch.is_null() {
        return returned(-i64::from(EPERM));
    }
    shown::deeper(scratch);
    if !judge::decision(scratch).needs_args {
        return 0;
    }
    let pending = pend(subject.task, scratch);
    if pending.is_null() {
        count(Site::ScratchFailed);
        return returned(1);
    }
    if !note(scratch, pending, u64::from(load::<u32, _, _>(bprm, at!(BPRM_ARGC)))) {
        return returned(1);
    }
    // SAFETY: not null, map values.
    unsafe {
        put(&raw mut (*pending).domain, u64::from(subject.domain));
        if get(&raw const (*scratch).level) != 1 {
            return 0;
        }
    }
    returned(shown::foresee(scratch, bprm, pending, subject.domain, subject.session))
}

/// Keeps the states that the automata ended in, with argc as it is at this level.
#[inline(always)]
fn note(scratch: *mut Scratch, pending: *mut Pending, argc: u64) -> bool {
    // SAFETY: not null, a map value.
    let level = unsafe { get(&raw const (*pending).levels) };
    if level >= LEVELS as u64 {
        count(Site::ArgvFailed);
        return false;
    }
    let level = kernel::masked(level, LEVELS as u64 - 1) as usize;
    // SAFETY: the masked level is inside the arrays.
    unsafe {
        put((&raw mut (*pending).argc).cast::<u64>().add(level), argc);
        let mut i = 0;
        while i < AUTOMATA {
            let state = get((&raw const (*scratch).states).cast::<u32>().add(i));
            put((&raw mut (*pending).states).cast::<u32>().add(level * AUTOMATA + i), state);
            i += 1;
        }
        let generation = get(&raw const (*scratch).weighed_in);
        let all = level == 0 || get(&raw const (*pending).generation) == generation;
        put(&raw mut (*pending).generation, if all { generation } else { 0 });
        put(&raw mut (*pending).levels, level as u64 + 1);
    }
    true
}

/// `void bprm_committed_creds(const struct linux_binprm *bprm)`
#[lsm(hook = "bprm_committed_creds", sleepable)]
pub(crate) fn bprm_committed_creds(ctx: LsmContext) -> i32 {
    let Some(subject) = subject::labelled() else { return 0 };
    let bprm: Ptr = ctx.arg(0);
    let scratch = object::scratch(subject.task);
    if scratch.is_null() {
        return kill();
    }
    let pending = pending(subject.task, scratch);
    let mut refused = false;
    if !pending.is_null() {
        // SAFETY: not null, map values.
        let (levels, domain, granted) = unsafe {
            (
                get(&raw const (*pending).levels),
                get(&raw const (*pending).domain),
                get(&raw const (*scratch).granted),
            )
        };
        if levels != 0 || granted != 0 {
            // What decided on the path decides on argv too, even if another thread was moved in between.
            let domain = if levels == 0 { subject.domain } else { domain as u32 };
            let subject = Subject { domain, ..subject };
            refused = judge_argv(subject, bprm, (scratch, pending), levels != 0) != 0;
        }
    }
    let domain = if refused { 0 } else { confine::deliver(scratch, subject.domain) };
    if domain == 0 {
        return kill();
    }
    life::became(scratch, bprm, u64::from(domain), subject.session);
    0
}

/// Single-threaded here: the other threads died before the new image was committed.
#[inline(always)]
fn kill() -> i32 {
    // SAFETY: takes a number.
    if unsafe { helpers::bpf_send_signal(SIGKILL) } != 0 {
        count(Site::SignalFailed);
    }
    0
}

#[inline(always)]
fn judge_argv(
    subject: Subject,
    bprm: Ptr,
    (scratch, pending): (*mut Scratch, *mut Pending),
    asked: bool,
) -> i64 {
    let Some(arena) = Arena::live() else { return 1 };
    let at = Place::of_file(follow(bprm, at!(BPRM_FILE)));
    let end = {
        at.aim(scratch);
        walk::spell(scratch)
    };
    if walk::ended(end) != End::Done {
        crate::emit::no_object(scratch);
    }
    crate::passed::about(scratch, at.dentry as u64);
    let mut why = 0;
    if read_argv(bprm, pending) {
        find_words(pending, 0);
        // SAFETY: map values.
        let granted = unsafe {
            put(&raw mut (*scratch).argv, shown::digest(pending));
            get(&raw const (*scratch).granted)
        };
        // SAFETY: as above.
        if granted != 0 && unsafe { get(&raw const (*scratch).argv) } != granted {
            why = Reason::Changed as u64;
        } else if asked && (is_of(arena, pending) || again(arena, scratch, pending, (subject.domain, end))) {
            // SAFETY: a map value.
            if unsafe { get(&raw const (*pending).levels) } != 0 {
                walk(arena, pending, scratch, subject.domain);
            }
            why |= DECIDED;
        } else if asked {
            why = Reason::Changed as u64;
        } else {
            return 0;
        }
    } else {
        count(Site::ArgvFailed);
        why = Reason::ArgvTooLong as u64;
    }
    settle(scratch, pack(subject, Action::Exec, Op::Argv), subject.session, why)
}

/// Are the states those of the live arena's automata?
#[inline(always)]
fn is_of(arena: Arena, pending: *mut Pending) -> bool {
    // SAFETY: a map value.
    unsafe { get(&raw const (*pending).generation) == arena.word(table::AT_GENERATION) }
}

/// Decides on the path once more, because the policies have changed since. Not of a script: its path is no longer known,
/// whichever of the two files it is that waits for argv.
#[inline(always)]
fn again(arena: Arena, scratch: *mut Scratch, pending: *mut Pending, (domain, end): (u32, u64)) -> bool {
    // SAFETY: map values.
    let (files, argc) =
        unsafe { (get(&raw const (*scratch).level), get((&raw const (*pending).argc).cast::<u64>())) };
    if files != 1 || walk::ended(end) != End::Done {
        return false;
    }
    if weigh(scratch, domain, Action::Exec as u32, 0) != 0 {
        return false;
    }
    // SAFETY: a map value.
    unsafe { put(&raw mut (*pending).levels, 0) };
    if !judge::decision(scratch).needs_args {
        // SAFETY: a map value.
        return unsafe { get(&raw const (*scratch).weighed_in) == arena.word(table::AT_GENERATION) };
    }
    note(scratch, pending, argc) && is_of(arena, pending)
}

/// Reads the new image's argv: the strings lie one after the other below `bprm->exec`.
#[inline(always)]
fn read_argv(bprm: Ptr, pending: *mut Pending) -> bool {
    let (from, end): (u64, u64) = (load(bprm, at!(BPRM_P)), load(bprm, at!(BPRM_EXEC)));
    let mut length = end.wrapping_sub(from);
    if length > ARGV as u64 {
        length = ARGV as u64;
    }
    // SAFETY: a map value, which has room for `length` bytes.
    let failed = unsafe {
        put(&raw mut (*pending).length, length);
        put(&raw mut (*pending).words, u64::from(load::<u32, _, _>(bprm, at!(BPRM_ARGC))));
        helpers::bpf_copy_from_user((&raw mut (*pending).bytes).cast(), length as u32, from as *const c_void)
    };
    failed == 0
}

const _: () = assert!(ARGV == PATH_MAX);
