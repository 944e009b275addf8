//! argv as the caller shows it, while the exec can still fail or wait.
//!
//! It lies in memory that the caller's other threads can change, so it decides nothing for good: an answer is bound to
//! a digest of these words, and the new image's are compared with it.

use core::ffi::c_void;

use aya_ebpf::helpers::generated as helpers;
use guard_common::abi::{Action, Op, Verdict};
use guard_common::limits::PATH_MAX;

use super::words::{find_words, walk};
use super::{ARGV, Pending, WORD, pend};
use crate::emit::TAIL;
use crate::hold;
use crate::hooks::{EPERM, NO_HOLD, returned, settle};
use crate::judge::{self, Arena};
use crate::kernel::{self, Ptr, at, get, load, put};
use crate::object::{self, HEAD};
use crate::subject::Subject;

/// The next file of the exec: the interpreter of the one before.
#[inline(always)]
pub(super) fn deeper(scratch: *mut object::Scratch) {
    // SAFETY: a map value.
    unsafe { put(&raw mut (*scratch).level, get(&raw const (*scratch).level) + 1) };
}

/// Asks the rules about argv as the caller shows it, while the exec can still fail or wait. What the new image gets
/// is asked about again: another thread may change the words in between.
#[inline(never)]
pub(super) fn foresee(
    scratch: *mut object::Scratch,
    bprm: Ptr,
    pending: *mut Pending,
    domain: u32,
    session: u64,
) -> i64 {
    let Some(arena) = Arena::live() else { return -i64::from(EPERM) };
    if scratch.is_null() || pending.is_null() {
        return -i64::from(EPERM);
    }
    if !super::is_of(arena, pending) || !read_callers(kernel::current(), bprm, pending) {
        // Then only the new image can tell.
        return 0;
    }
    walk(arena, pending, scratch, domain);
    let verdict = judge::decision(scratch).verdict();
    if verdict != Verdict::Escalate && verdict != Verdict::Throttle {
        return 0;
    }
    let case = u64::from(domain) | (Action::Exec as u64) << 32 | (Op::Exec as u64) << 40;
    let case = if show(scratch, pending) { case } else { case | NO_HOLD };
    settle(scratch, case, session, 0)
}

/// An exec is to be held: its argv belongs to the question.
#[inline(always)]
pub(crate) fn ask(subject: Subject, bprm: Ptr) -> i32 {
    returned(judge_shown(subject.task, bprm, subject.domain, subject.session))
}

#[inline(never)]
fn judge_shown(task: Ptr, bprm: Ptr, domain: u32, session: u64) -> i64 {
    let scratch = object::scratch(task);
    if scratch.is_null() {
        return -i64::from(EPERM);
    }
    let pending = pend(task, scratch);
    if pending.is_null() {
        return -i64::from(EPERM);
    }
    deeper(scratch);
    let mut case = u64::from(domain) | (Action::Exec as u64) << 32 | (Op::Exec as u64) << 40;
    // An interpreter's words are not yet anywhere to be read.
    // SAFETY: a map value.
    if unsafe { get(&raw const (*scratch).level) } != 1
        || !read_callers(task, bprm, pending)
        || !show(scratch, pending)
    {
        case |= NO_HOLD;
    }
    settle(scratch, case, session, 0)
}

/// Puts the words behind the path for the record, and binds the answer to them. False if there is no room: nobody
/// should have to answer what cannot be seen whole.
#[inline(always)]
fn show(scratch: *mut object::Scratch, pending: *mut Pending) -> bool {
    let digest = digest(pending);
    // SAFETY: map values; `tail` bytes lie behind the path's end.
    unsafe {
        let (from, to) = (get(&raw const (*pending).from), get(&raw const (*pending).to));
        let length = to - from;
        if length >= TAIL as u64 - 1 {
            return false;
        }
        let tail = (&raw mut (*scratch).bytes).cast::<u8>().add(HEAD + PATH_MAX);
        put(tail, 0);
        let from = kernel::masked(from, ARGV as u64 - 1) as usize;
        let words = (&raw const (*pending).bytes).cast::<u8>().add(from) as u64;
        let length = kernel::masked(length, TAIL as u64 - 1);
        if !kernel::copy(tail.add(1), length as u32, words) {
            return false;
        }
        put(&raw mut (*scratch).argv, digest);
        put(&raw mut (*scratch).shown, length + 1);
    }
    true
}

/// Reads argv from the caller's memory, as the kernel just did. False if it cannot be read, or is too long.
#[inline(always)]
fn read_callers(task: Ptr, bprm: Ptr, pending: *mut Pending) -> bool {
    let registers = hold::registers(task);
    let list: u64 = match hold::call(task) {
        59 => load(registers, at!(REGISTERS_SECOND)),
        322 => load(registers, at!(REGISTERS_THIRD)),
        _ => return false,
    };
    let argc = load::<u32, _, _>(bprm, at!(BPRM_ARGC));
    // SAFETY: a map value.
    unsafe {
        put(&raw mut (*pending).list, list);
        put(&raw mut (*pending).length, 0);
        put(&raw mut (*pending).argc[0], u64::from(argc));
        put(&raw mut (*pending).words, u64::from(argc));
        let mut context = pending;
        helpers::bpf_loop(
            argc,
            take as unsafe extern "C" fn(u64, *mut c_void) -> i64 as *mut c_void,
            (&raw mut context).cast(),
            0,
        );
        if get(&raw const (*pending).list) == 0 || get(&raw const (*pending).length) > ARGV as u64 {
            return false;
        }
    }
    find_words(pending, 0);
    // SAFETY: a map value.
    unsafe { get(&raw const (*pending).to) != 0 }
}

/// One of the caller's words; the list is 0 once one cannot be read.
unsafe extern "C" fn take(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: the context is the one `read_callers` gives; there is room for a whole word behind any place in argv.
    unsafe {
        let pending = *context.cast::<*mut Pending>();
        let (list, length) = (get(&raw const (*pending).list), get(&raw const (*pending).length));
        let mut word = 0u64;
        let at = (list + index * 8) as *const c_void;
        if length < ARGV as u64
            && helpers::bpf_probe_read_user((&raw mut word).cast(), 8, at) == 0
            && word != 0
        {
            let to = kernel::masked(length, ARGV as u64 - 1) as usize;
            let to = (&raw mut (*pending).bytes).cast::<u8>().add(to);
            let got = helpers::bpf_probe_read_user_str(to.cast(), WORD as u32, word as *const c_void);
            // Of an empty word some kernels say that nothing was read, others that its NUL was.
            let got = if got == 0 {
                put(to, 0);
                1
            } else {
                got
            };
            // A word that fills the room was cut.
            if got > 0 && (got as u64) < WORD as u64 {
                put(&raw mut (*pending).length, length + got as u64);
                return 0;
            }
        }
        put(&raw mut (*pending).list, 0);
    }
    1
}

/// A digest of the words after the first.
#[inline(always)]
pub(super) fn digest(pending: *mut Pending) -> u64 {
    // SAFETY: a map value; the callback takes the context it is given here.
    unsafe {
        hold::begin(&raw mut (*pending).sip);
        let mut context = pending;
        helpers::bpf_loop(
            ARGV as u32,
            absorb as unsafe extern "C" fn(u64, *mut c_void) -> i64 as *mut c_void,
            (&raw mut context).cast(),
            0,
        );
        hold::end(&raw mut (*pending).sip)
    }
}

unsafe extern "C" fn absorb(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: the context is the one `digest` gives; the index is masked to the bytes.
    unsafe {
        let pending = *context.cast::<*mut Pending>();
        let at = get(&raw const (*pending).from) + index;
        if at >= get(&raw const (*pending).to) {
            return 1;
        }
        let at = kernel::masked(at, ARGV as u64 - 1) as usize;
        let byte = get((&raw const (*pending).bytes).cast::<u8>().add(at));
        hold::feed(&raw mut (*pending).sip, u64::from(byte));
    }
    0
}
