//! The automata of a path go on over argv, from the states in which the path has left them.

use core::ffi::c_void;

use aya_ebpf::helpers::generated as helpers;
use guard_common::abi::{Action, Ask, Site, Verdict};
use guard_common::limits::POLICIES_PER_DOMAIN;
use guard_common::nuls;
use guard_common::table::{self, Answer, Words};

use super::{ARGV, AUTOMATA, LEVELS, Pending, note};
use crate::judge::{self, Arena};
use crate::kernel::{self, count, get, put};
use crate::object::Scratch;
use crate::storage;

/// What the loops below share.
struct Context {
    arena: Arena,
    pending: *mut Pending,
    scratch: *mut Scratch,
    domain: u32,
}

/// Every policy at every level goes on over argv; the outcome lies in the scratch space.
#[inline(always)]
pub(super) fn walk(arena: Arena, pending: *mut Pending, scratch: *mut Scratch, domain: u32) {
    judge::begin(scratch);
    let mut context = Context { arena, pending, scratch, domain };
    // SAFETY: the callback takes the context it is given here.
    unsafe {
        helpers::bpf_loop(
            (LEVELS * POLICIES_PER_DOMAIN) as u32,
            consult as unsafe extern "C" fn(u64, *mut c_void) -> i64 as *mut c_void,
            (&raw mut context).cast(),
            0,
        );
    }
}

/// The same for the parity test, whose argv lies in the question.
#[inline(always)]
pub(crate) fn judge_words(arena: Arena, scratch: *mut Scratch, ask: *mut Ask) -> bool {
    let pending = storage::exec(kernel::current(), true);
    if pending.is_null() {
        return false;
    }
    // SAFETY: both are map values with that much room.
    let copied = unsafe {
        put(&raw mut (*pending).levels, 0);
        put(&raw mut (*pending).length, get(&raw const (*ask).argv_length));
        put(&raw mut (*pending).words, get(&raw const (*ask).argc));
        kernel::copy((&raw mut (*pending).bytes).cast(), ARGV as u32, (&raw const (*ask).argv) as u64)
    };
    // SAFETY: a map value.
    let (argc, domain) = unsafe { (get(&raw const (*ask).argc), get(&raw const (*ask).domain)) };
    if !copied || !note(scratch, pending, argc) {
        return false;
    }
    walk(arena, pending, scratch, domain);
    // SAFETY: a map value.
    unsafe { put(&raw mut (*pending).levels, 0) };
    true
}

/// One policy at one level.
unsafe extern "C" fn consult(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: the context is the one `judge_argv` gives.
    let (arena, pending, scratch, domain) = unsafe {
        let context = context.cast::<Context>();
        ((*context).arena, (*context).pending, (*context).scratch, (*context).domain)
    };
    let level = kernel::masked(index / POLICIES_PER_DOMAIN as u64, LEVELS as u64 - 1) as usize;
    let n = kernel::masked(index, POLICIES_PER_DOMAIN as u64 - 1) as u32;
    // SAFETY: a map value.
    if level as u64 >= unsafe { get(&raw const (*pending).levels) } {
        return 1;
    }
    if n >= arena.flags(domain).policies() {
        return 0;
    }
    find_words(pending, level);
    let starts_at = table::starts_at(domain, Action::Exec, n);
    let default = Answer(arena.word(starts_at + 1) as u32);
    let flags = (arena.word(table::domain_at(domain) + table::domain::POLICIES + n) >> 32) as u32;
    let first = run(context, arena, pending, level * AUTOMATA + n as usize * 2);
    let second = run(context, arena, pending, level * AUTOMATA + n as usize * 2 + 1);
    let mut decision = judge::so_far(scratch);
    decision.add(n as u8, flags, first, second, default);
    judge::keep(scratch, &decision);
    0
}

/// Finds where this level's own words after the first begin, and where argv ends.
#[inline(always)]
pub(super) fn find_words(pending: *mut Pending, level: usize) {
    // SAFETY: a map value; the level is masked.
    unsafe {
        let argc = get((&raw const (*pending).argc).cast::<u64>().add(level));
        let words = get(&raw const (*pending).words);
        put(&raw mut (*pending).skip, words - argc + 1);
        put(&raw mut (*pending).nuls, 0);
        put(&raw mut (*pending).from, 0);
        put(&raw mut (*pending).to, 0);
        let mut context = pending;
        helpers::bpf_loop(
            ARGV as u32 / 8,
            scan as unsafe extern "C" fn(u64, *mut c_void) -> i64 as *mut c_void,
            (&raw mut context).cast(),
            0,
        );
    }
}

/// Eight bytes of argv.
unsafe extern "C" fn scan(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: the context is the one `find_words` gives; the index is masked to the bytes, behind which there is room.
    unsafe {
        let pending = *context.cast::<*mut Pending>();
        let (done, length) = (index * 8, get(&raw const (*pending).length));
        if done >= length {
            return 1;
        }
        let at = kernel::masked(done, ARGV as u64 - 1) as usize;
        let bytes = kernel::get_anywhere((&raw const (*pending).bytes).cast::<u8>().add(at));
        let nuls = nuls::among(bytes, length - done);
        let before = get(&raw const (*pending).nuls);
        let met = before + nuls::count(nuls);
        let (skip, words) = (get(&raw const (*pending).skip), get(&raw const (*pending).words));
        if before < skip && skip <= met {
            put(&raw mut (*pending).from, done + nuls::through(nuls, skip - before));
        }
        if before < words && words <= met {
            put(&raw mut (*pending).to, done + nuls::through(nuls, words - before));
            return 1;
        }
        put(&raw mut (*pending).nuls, met);
    }
    0
}

/// Goes on with one automaton from the state it had after the path.
#[inline(always)]
fn run(context: *mut c_void, arena: Arena, pending: *mut Pending, automaton: usize) -> Answer {
    let automaton = kernel::masked(automaton as u64, (AUTOMATA * LEVELS) as u64 - 1) as usize;
    // SAFETY: a map value; the index is masked.
    unsafe {
        let state = get((&raw const (*pending).states).cast::<u32>().add(automaton));
        if state == table::DEAD {
            return Answer::NONE;
        }
        if !table::answer(&arena, state).needs_args() {
            return table::answer(&arena, state);
        }
        if get(&raw const (*pending).to) == 0 {
            // argv does not end where guard can see it: no word is known, so no reading is certain.
            count(Site::ArgvFailed);
            return Answer::new(Verdict::Block, Answer::RULE_UNKNOWN, 0);
        }
        put(&raw mut (*pending).state, u64::from(table::step(&arena, state, 0)));
        helpers::bpf_loop(
            ARGV as u32,
            step as unsafe extern "C" fn(u64, *mut c_void) -> i64 as *mut c_void,
            context,
            0,
        );
        table::answer(&arena, get(&raw const (*pending).state) as u32).with_args(false)
    }
}

unsafe extern "C" fn step(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: the context is the one `judge_argv` gives; the index is masked to the bytes.
    unsafe {
        let context = context.cast::<Context>();
        let (arena, pending) = ((*context).arena, (*context).pending);
        let at = get(&raw const (*pending).from) + index;
        if at >= get(&raw const (*pending).to) {
            return 1;
        }
        let at = kernel::masked(at, ARGV as u64 - 1) as usize;
        let byte = get((&raw const (*pending).bytes).cast::<u8>().add(at));
        let state = table::step(&arena, get(&raw const (*pending).state) as u32, byte);
        put(&raw mut (*pending).state, u64::from(state));
    }
    0
}
