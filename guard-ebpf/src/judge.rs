//! The decision, run in the kernel: the words of the live arena, the bytes in the scratch space, and
//! `guard_common::decide` to join the answers.

use core::ffi::c_void;

use aya_ebpf::helpers::generated as helpers;
use guard_common::abi::{Action, Reason, Site, Verdict};
use guard_common::decide::Decision;
use guard_common::limits::{ARENA_MASK, ARENA_WORDS, PATH_MAX, POLICIES_PER_DOMAIN};
use guard_common::table::{self, Answer, DomainFlags, Words};

use crate::kernel::{self, count, get, put};
use crate::maps::{ARENAS, ArenaValue};
use crate::near;
use crate::object::{HEAD, Scratch};

/// A decision in memory, for the functions that pass it on.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Outcome {
    pub(crate) answer: u32,
    pub(crate) shadow: u32,
    pub(crate) policy: u32,
    pub(crate) needs_args: u32,
}

/// The live arena.
#[derive(Clone, Copy)]
pub(crate) struct Arena(*const ArenaValue);

impl Arena {
    /// The arena of the live generation; none before the first one is installed.
    #[inline(always)]
    pub(crate) fn live() -> Option<Self> {
        let arena = ARENAS.get::<ArenaValue>(0);
        if arena.is_null() {
            count(Site::NoArena);
            return None;
        }
        Some(Self(arena))
    }

    /// The arena behind a plain pointer, which must not be null.
    #[inline(always)]
    pub(crate) fn of(arena: *const ArenaValue) -> Self {
        Self(arena)
    }

    #[inline(always)]
    pub(crate) fn flags(self, domain: u32) -> DomainFlags {
        DomainFlags(self.word(table::domain_at(domain) + table::domain::FLAGS))
    }
}

impl Words for Arena {
    #[inline(always)]
    fn word(&self, index: u32) -> u64 {
        // SAFETY: below the arena's size.
        let word = |index: u32| unsafe { (&raw const (*self.0).words).cast::<u64>().add(index as usize) };
        if core::intrinsics::is_val_statically_known(index) && index < ARENA_WORDS {
            return get(word(index));
        }
        let index = kernel::masked(u64::from(index), u64::from(ARENA_MASK)) as usize;
        // SAFETY: `live` checked for null; the index is masked to the arena's size.
        unsafe { get((&raw const (*self.0).words).cast::<u64>().add(index)) }
    }
}

/// What the loop over the bytes needs.
#[derive(Clone, Copy)]
struct Matching {
    arena: Arena,
    scratch: *mut Scratch,
    domain: u32,
    action: u32,
    resumed: u32,
}

/// Bytes matched in one call of the loop's body.
const BLOCK: u64 = 16;

/// What [`weigh`] says when the directory was remembered under another generation.
pub(crate) const STALE: u64 = u64::MAX;

/// Decides one action on the object in the scratch space, or on its last component where its directory is
/// remembered (`resumed`); the outcome lies there too. The result is 0, or
/// the code of the reason why nothing could be decided.
// SAFETY: the name is this function's alone in the object.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn weigh(scratch: *mut Scratch, domain: u32, action: u32, resumed: u32) -> u64 {
    let Some(arena) = Arena::live() else { return Reason::HelperFailed as u64 };
    if scratch.is_null() {
        return Reason::HelperFailed as u64;
    }
    let flags = arena.flags(domain);
    if !flags.has(DomainFlags::LIVE) {
        count(Site::NoDomain);
        return Reason::NoPolicy as u64;
    }
    if resumed == 0 {
        pad(scratch);
    } else if near::generation(scratch) != arena.word(table::AT_GENERATION) {
        return STALE;
    }
    // SAFETY: not null, a map value.
    unsafe { put(&raw mut (*scratch).weighed_in, arena.word(table::AT_GENERATION)) };
    begin(scratch);
    let mut context = Matching { arena, scratch, domain, action: action & 7, resumed };
    // SAFETY: the callback takes the context it is given here.
    unsafe {
        helpers::bpf_loop(
            flags.policies(),
            consult as unsafe extern "C" fn(u64, *mut c_void) -> i64 as *mut c_void,
            (&raw mut context).cast(),
            0,
        );
    }
    0
}

/// Asks one of the joined policies. A loop's body, and the decision so far in memory, because the verifier
/// would follow every combination of the policies' answers otherwise.
unsafe extern "C" fn consult(n: u64, context: *mut c_void) -> i64 {
    // SAFETY: the context is the one `weigh` gives.
    let (arena, scratch, domain, action, resumed) = unsafe {
        let Matching { arena, scratch, domain, action, resumed } = *context.cast::<Matching>();
        (arena, scratch, domain, action, resumed)
    };
    let n = kernel::masked(n, POLICIES_PER_DOMAIN as u64 - 1) as u32;
    let at = table::domain_at(domain);
    let starts_at = at + table::domain::ACTIONS + (action * POLICIES_PER_DOMAIN as u32 + n) * 2;
    let starts = arena.word(starts_at);
    let default = Answer(arena.word(starts_at + 1) as u32);
    let flags = (arena.word(at + table::domain::POLICIES + n) >> 32) as u32;
    go(arena, scratch, resumed, n * 2, starts as u32);
    let first = state_answer(arena, scratch);
    keep_state(scratch, n * 2);
    go(arena, scratch, resumed, n * 2 + 1, (starts >> 32) as u32);
    let second = state_answer(arena, scratch);
    keep_state(scratch, n * 2 + 1);
    // Where argv has yet to speak, the default has not been reached.
    let waits = first.needs_args() || second.needs_args();
    let default = if waits { Answer::new(Verdict::Allow, Answer::RULE_DEFAULT, 0) } else { default };
    let mut decision = so_far(scratch);
    decision.add(n as u8, flags, first, second, default);
    keep(scratch, &decision);
    0
}

/// Walks one automaton over all of the object, or over what is left of it.
#[inline(always)]
fn go(arena: Arena, scratch: *mut Scratch, resumed: u32, automaton: u32, start: u32) {
    if resumed == 0 {
        run(arena, scratch, start);
    } else {
        near::run(pointer(arena), scratch, near::state(scratch, automaton));
    }
}

#[inline(always)]
fn keep_state(scratch: *mut Scratch, automaton: u32) {
    let at = kernel::masked(u64::from(automaton), POLICIES_PER_DOMAIN as u64 * 2 - 1) as usize;
    // SAFETY: a map value; the index is masked.
    unsafe {
        let state = get(&raw const (*scratch).state) as u32;
        put((&raw mut (*scratch).states).cast::<u32>().add(at), state);
    }
}

/// Before any policy has spoken.
#[inline(always)]
pub(crate) fn begin(scratch: *mut Scratch) {
    keep(scratch, &Decision::START);
}

#[inline(always)]
pub(crate) fn so_far(scratch: *mut Scratch) -> Decision {
    // SAFETY: `scratch` is a map value.
    resume(unsafe { get(&raw const (*scratch).decision) })
}

/// A decision out of memory.
#[inline(always)]
pub(crate) fn resume(outcome: Outcome) -> Decision {
    Decision {
        answer: Answer(outcome.answer),
        policy: outcome.policy as u8,
        shadow: Answer(outcome.shadow),
        shadow_policy: (outcome.policy >> 8) as u8,
        needs_args: outcome.needs_args != 0,
    }
}

#[inline(always)]
pub(crate) fn keep(scratch: *mut Scratch, decision: &Decision) {
    let Outcome { answer, shadow, policy, needs_args } = outcome(decision);
    // Word by word: of a whole one that is zero the compiler makes a call that sets single bytes.
    // SAFETY: `scratch` is a map value.
    unsafe {
        put(&raw mut (*scratch).decision.answer, answer);
        put(&raw mut (*scratch).decision.shadow, shadow);
        put(&raw mut (*scratch).decision.policy, policy);
        put(&raw mut (*scratch).decision.needs_args, needs_args);
    }
}

/// A decision for memory.
#[inline(always)]
pub(crate) fn outcome(decision: &Decision) -> Outcome {
    Outcome {
        answer: decision.answer.0,
        shadow: decision.shadow.0,
        policy: u32::from(decision.policy) | u32::from(decision.shadow_policy) << 8,
        needs_args: u32::from(decision.needs_args),
    }
}

/// The decision that lies in the scratch space, finished.
#[inline(always)]
pub(crate) fn decision(scratch: *mut Scratch) -> Decision {
    so_far(scratch).finish()
}

/// Is it a plain yes, after which nothing more is asked, told or done?
#[inline(always)]
pub(crate) fn is_plain(decision: &Decision) -> bool {
    decision.verdict() == Verdict::Allow && !decision.needs_args && decision.shadow.is_none()
}

/// The arena as a plain pointer, for `weigh`, whose arguments must be ones the verifier can carry.
#[inline(always)]
pub(crate) fn pointer(arena: Arena) -> *const ArenaValue {
    arena.0
}

/// Zeroes what lies before the object in its first block: a start state leads back to itself on zero.
#[inline(always)]
pub(crate) fn pad(scratch: *mut Scratch) {
    // SAFETY: `scratch` is a map value.
    let start = unsafe { get(&raw const (*scratch).start) };
    if start > PATH_MAX as u64 {
        return;
    }
    // SAFETY: the head is longer than a block, so a block in front of the object lies inside the bytes.
    unsafe {
        let before = (&raw mut (*scratch).bytes).cast::<u8>().add(HEAD - BLOCK as usize + start as usize);
        kernel::put_anywhere(before, 0);
        kernel::put_anywhere(before.add(8), 0);
    }
}

/// Walks one automaton over the object; the state it ends in lies in the scratch space. No automaton ends
/// in the dead state, whose answer is none.
#[inline(always)]
fn run(arena: Arena, scratch: *mut Scratch, start: u32) {
    walk_automaton(arena.0, scratch, start);
}

// SAFETY: the name is this function's alone in the object.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_automaton(arena: *const ArenaValue, scratch: *mut Scratch, start: u32) -> u64 {
    if arena.is_null() || scratch.is_null() {
        return 0;
    }
    let arena = Arena(arena);
    // SAFETY: `scratch` is a map value.
    let first = unsafe {
        put(&raw mut (*scratch).state, u64::from(start));
        get(&raw const (*scratch).start)
    };
    if start == table::DEAD {
        return 0;
    }
    let blocks = ((PATH_MAX as u64 - (first & !(BLOCK - 1))) / BLOCK) as u32;
    let mut context = Matching { arena, scratch, domain: 0, action: 0, resumed: 0 };
    // SAFETY: the callback takes the context it is given here.
    unsafe {
        helpers::bpf_loop(
            blocks,
            block as unsafe extern "C" fn(u64, *mut c_void) -> i64 as *mut c_void,
            (&raw mut context).cast(),
            0,
        );
    }
    0
}

/// The state of an automaton over paths once a slash follows the path in the scratch space: what is below.
#[inline(always)]
pub(crate) fn below(arena: Arena, scratch: *mut Scratch, start: u32) -> u32 {
    if start == table::DEAD {
        return table::DEAD;
    }
    run(arena, scratch, start);
    // SAFETY: `scratch` is a map value.
    table::step(&arena, unsafe { get(&raw const (*scratch).state) } as u32, b'/')
}

/// What the state in the scratch space says.
#[inline(always)]
fn state_answer(arena: Arena, scratch: *mut Scratch) -> Answer {
    // SAFETY: `scratch` is a map value.
    let state = unsafe { get(&raw const (*scratch).state) } as u32;
    if state == table::DEAD { Answer::NONE } else { table::answer(&arena, state) }
}

/// One block of bytes.
unsafe extern "C" fn block(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: the context is the one `run` gives.
    let (arena, scratch) = unsafe {
        let matching = context.cast::<Matching>();
        ((*matching).arena, (*matching).scratch)
    };
    // SAFETY: `scratch` is a map value.
    let (first, mut state) =
        unsafe { (get(&raw const (*scratch).start), get(&raw const (*scratch).state) as u32) };
    let at = (first & !(BLOCK - 1)) + index * BLOCK;
    if at >= PATH_MAX as u64 {
        return 1;
    }
    let at = kernel::masked(at, PATH_MAX as u64 - BLOCK) as usize;
    // SAFETY: a block at a multiple of its size below PATH_MAX.
    let bytes = unsafe { (&raw const (*scratch).bytes).cast::<u8>().add(HEAD + at) };
    let mut i = 0;
    while i < BLOCK as usize {
        // SAFETY: as above.
        state = table::step(&arena, state, get(unsafe { bytes.add(i) }));
        i += 1;
    }
    // SAFETY: as above.
    unsafe { put(&raw mut (*scratch).state, u64::from(state)) };
    0
}

/// Whether an action number has an automaton; the verifier and the reader both want it said.
const _: () = assert!(Action::WITH_AUTOMATON <= 7);

/// Longest cgroup path that is looked up by its name; a deeper one has its parent's domain.
const CGROUP_PATH: u64 = crate::emit::SLACK as u64;

/// The domain of a cgroup by its path (a kernel string) and the domain above, 0 for none.
#[inline(always)]
pub(crate) fn cgroup_domain(path: u64, above: u32) -> u32 {
    let scratch = crate::object::scratch(kernel::current());
    let Some(arena) = Arena::live() else { return above };
    if scratch.is_null() {
        return above;
    }
    crate::walk::overwritten(scratch);
    // SAFETY: `scratch` is a map value with more room than that; the helper reads any address.
    let length = unsafe {
        let to = (&raw mut (*scratch).bytes).cast::<u8>().add(HEAD);
        helpers::bpf_probe_read_kernel_str(to.cast(), CGROUP_PATH as u32, path as *const c_void)
    };
    if length <= 1 || length >= CGROUP_PATH as i64 {
        count(Site::ReadFailed);
        return above;
    }
    let length = kernel::masked(length as u64 - 1, CGROUP_PATH - 1);
    // SAFETY: `length` is below the room between the place and the end of the bytes.
    let copied = unsafe {
        put(&raw mut (*scratch).start, PATH_MAX as u64 - length);
        let to = (&raw mut (*scratch).bytes).cast::<u8>().add(HEAD + PATH_MAX - CGROUP_PATH as usize);
        let at = kernel::masked(CGROUP_PATH - length, CGROUP_PATH - 1);
        kernel::copy(to.add(at as usize), length as u32, path)
    };
    if !copied {
        count(Site::ReadFailed);
        return above;
    }
    pad(scratch);
    run(arena, scratch, arena.word(table::AT_CGROUPS) as u32);
    table::enter(&arena, above, state_answer(arena, scratch))
}
