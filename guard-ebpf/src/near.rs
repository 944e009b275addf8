//! What is near: directories whose walk is remembered.
//!
//! Everything but the last component of a path depends on its directory alone, and so do the states that the
//! automata have come to by then. A task remembers a few directories with both. They hold for as long as nothing on
//! the host is renamed or mounted, which the kernel's own sequence counts tell, under the same generation of policy,
//! in the same mount namespace, and for the very same directory: its dentry, and its inode's number and serial number
//! (`i_generation`), because the memory of a dentry can become another's.

use core::ffi::c_void;

use aya_ebpf::helpers::generated as helpers;
use guard_common::limits::{NAME_MAX, PATH_MAX, POLICIES_PER_DOMAIN};
use guard_common::table::{self, Words};

use crate::judge::Arena;
use crate::kernel::{self, Ptr, at, follow, get, load, put};
use crate::maps::{ArenaValue, NEAR};
use crate::object::{self, HEAD, Scratch};

/// Directories that a task remembers.
const SLOTS: usize = 4;
/// Longest path of a directory that is remembered, its slash included.
const LONGEST: u64 = 384;
/// Automata of one action: two for each joined policy.
const AUTOMATA: usize = POLICIES_PER_DOMAIN * 2;
/// Words that tell one directory under one policy from all others.
const KEY: usize = 11;

/// What a task remembers.
#[repr(C)]
pub(crate) struct Near {
    slots: [Slot; SLOTS],
}

/// One directory, for one action.
#[repr(C)]
struct Slot {
    key: [u64; KEY],
    states: [u64; AUTOMATA / 2],
    length: u64,
    path: [u8; LONGEST as usize],
}

/// The question under way, as numbers.
#[repr(C)]
pub(crate) struct Question {
    key: [u64; KEY],
    /// Where the last component is, and how long.
    name: u64,
    length: u64,
    /// The states that the directory led to.
    pub(crate) states: [u64; AUTOMATA / 2],
    /// The parent that the walk found, and the sequence counts under which it ended.
    pub(crate) parent: u64,
    /// How long the last component was to the walk.
    pub(crate) walked: u64,
    pub(crate) sequences: u64,
    glide: Glide,
}

/// The way of one automaton over some bytes.
#[repr(C)]
struct Glide {
    at: u64,
    length: u64,
    state: u64,
}

/// Members of a key that are set when they are known: the others come with the question.
const DIRECTORY: usize = 0;
const SEQUENCES: usize = 7;
const NAMESPACE: usize = 8;
const GENERATION: usize = 9;
const WHO: usize = 10;

/// Writes down what is asked about, and gives the number of the directory's inode.
#[inline(always)]
pub(crate) fn ask(scratch: *mut Scratch, dentry: Ptr, case: u64) -> u64 {
    // Hash, length, and where it is.
    let length: u32 = load(dentry, at!(DENTRY_NAME, 4));
    let name: u64 = load(dentry, at!(DENTRY_NAME, 8));
    let parent = follow(dentry, at!(DENTRY_PARENT));
    let above = follow(parent, at!(DENTRY_PARENT)) as u64;
    let inode = follow(parent, at!(DENTRY_INODE));
    let number: u64 = load(inode, at!(INODE_INO));
    let serial: u32 = load(inode, at!(INODE_GENERATION));
    // SAFETY: `scratch` is a map value.
    unsafe {
        let question = &raw mut (*scratch).near;
        let key = (&raw mut (*question).key).cast::<u64>();
        put(key, parent as u64);
        put(key.add(1), above);
        put(key.add(2), inode as u64);
        put(key.add(3), number);
        put(key.add(4), u64::from(serial));
        put(key.add(5), get(&raw const (*scratch).walk.from.mount));
        put(key.add(6), get(&raw const (*scratch).walk.from.root));
        put(key.add(WHO), case & 0xff_ffff_ffff);
        put(&raw mut (*question).name, name);
        put(&raw mut (*question).length, u64::from(length));
    }
    number
}

/// The slot that a directory would be in, null if there is no room.
#[inline(always)]
fn slot(question: *const Question, create: bool) -> *mut Slot {
    let near = NEAR.of_current(create);
    if near.is_null() {
        return core::ptr::null_mut();
    }
    // SAFETY: map values; the index is masked.
    unsafe {
        let key = (&raw const (*question).key).cast::<u64>();
        let mixed = get(key.add(DIRECTORY)) >> 6 ^ get(key.add(WHO)) >> 32;
        let at = kernel::masked(mixed, SLOTS as u64 - 1) as usize;
        (&raw mut (*near).slots).cast::<Slot>().add(at)
    }
}

/// Is the directory remembered? Then the last component lies in the scratch space, behind a slash, and the states
/// that its directory led to.
// SAFETY: the name is this function's alone in the object.
#[unsafe(export_name = "near_resume")]
#[inline(never)]
pub(crate) extern "C" fn resume(scratch: *mut Scratch) -> u64 {
    if scratch.is_null() {
        return 0;
    }
    let namespace = follow(follow(kernel::current(), at!(TASK_NSPROXY)), at!(NSPROXY_MNT)) as u64;
    // SAFETY: not null, map values.
    unsafe {
        let question = &raw mut (*scratch).near;
        put((&raw mut (*question).key).cast::<u64>().add(NAMESPACE), namespace);
        let slot = slot(question, false);
        if slot.is_null() {
            return 0;
        }
        let (asked, kept) =
            ((&raw const (*question).key).cast::<u64>(), (&raw const (*slot).key).cast::<u64>());
        let mut differ = 0;
        let mut i = 0;
        while i < KEY {
            if i != SEQUENCES && i != GENERATION {
                differ |= get(asked.add(i)) ^ get(kept.add(i));
            }
            i += 1;
        }
        let dentry = get(&raw const (*scratch).walk.from.dentry);
        let generation = get(kept.add(GENERATION));
        // The root of a mount, or of nothing at all, has no directory.
        if differ != 0
            || generation == 0
            || dentry == get(&raw const (*scratch).walk.from.root)
            || dentry == get(asked.add(DIRECTORY))
        {
            return 0;
        }
        let length = get(&raw const (*question).length);
        if length == 0 || length > NAME_MAX as u64 {
            return 0;
        }
        object::overwritten(scratch);
        let at = kernel::masked(PATH_MAX as u64 - length, PATH_MAX as u64 - 1) as usize;
        let to = (&raw mut (*scratch).bytes).cast::<u8>().add(HEAD + at);
        if !kernel::copy(to, kernel::masked(length, 255) as u32, get(&raw const (*question).name)) {
            return 0;
        }
        // Last: all that was read of the chain was read under these counts.
        if object::sequences() != get(kept.add(SEQUENCES)) {
            return 0;
        }
        put(&raw mut (*scratch).start, PATH_MAX as u64 - length);
        put((&raw mut (*question).key).cast::<u64>().add(GENERATION), generation);
        let (from, into) =
            ((&raw const (*slot).states).cast::<u64>(), (&raw mut (*question).states).cast::<u64>());
        let mut i = 0;
        while i < AUTOMATA / 2 {
            put(into.add(i), get(from.add(i)));
            i += 1;
        }
    }
    1
}

/// The generation that remembered the directory.
#[inline(always)]
pub(crate) fn generation(scratch: *mut Scratch) -> u64 {
    // SAFETY: a map value.
    unsafe { get((&raw const (*scratch).near.key).cast::<u64>().add(GENERATION)) }
}

/// Where an automaton goes on from.
#[inline(always)]
pub(crate) fn state(scratch: *mut Scratch, automaton: u32) -> u32 {
    let at = kernel::masked(u64::from(automaton), AUTOMATA as u64 - 1) as usize;
    // SAFETY: a map value; the index is masked.
    unsafe { get((&raw const (*scratch).near.states).cast::<u32>().add(at)) }
}

/// Walks one automaton over the last component.
#[inline(always)]
pub(crate) fn run(arena: *const ArenaValue, scratch: *mut Scratch, from: u32) {
    // SAFETY: a map value.
    let start = unsafe { get(&raw const (*scratch).start) };
    let state = glide(arena, scratch, start, PATH_MAX as u64 - start, from);
    // SAFETY: as above.
    unsafe { put(&raw mut (*scratch).state, state) };
}

/// Puts the directory in front of the last component: the whole path is wanted. 0 if it is not there any more.
// SAFETY: the name is this function's alone in the object.
#[unsafe(export_name = "near_complete")]
#[inline(never)]
pub(crate) extern "C" fn complete(scratch: *mut Scratch) -> u64 {
    if scratch.is_null() {
        return 0;
    }
    // SAFETY: not null, map values.
    unsafe {
        let slot = slot(&raw const (*scratch).near, false);
        if slot.is_null() {
            return 0;
        }
        let (length, start) = (get(&raw const (*slot).length), get(&raw const (*scratch).start));
        if length >= LONGEST || length > start {
            return 0;
        }
        let at = kernel::masked(start - length, PATH_MAX as u64 - 1) as usize;
        let to = (&raw mut (*scratch).bytes).cast::<u8>().add(HEAD + at);
        let from = (&raw const (*slot).path) as u64;
        if !kernel::copy(to, kernel::masked(length, 511) as u32, from) {
            return 0;
        }
        put(&raw mut (*scratch).start, start - length);
    }
    1
}

/// Remembers the directory of the path that has just been spelt.
// SAFETY: the name is this function's alone in the object.
#[unsafe(export_name = "near_keep")]
#[inline(never)]
pub(crate) extern "C" fn keep(scratch: *mut Scratch, case: u64) -> u64 {
    let Some(arena) = Arena::live() else { return 0 };
    if scratch.is_null() {
        return 0;
    }
    // SAFETY: not null, map values.
    unsafe {
        let question = &raw mut (*scratch).near;
        let key = (&raw mut (*question).key).cast::<u64>();
        let (start, name) = (get(&raw const (*scratch).start), get(&raw const (*question).length));
        let length = (PATH_MAX as u64).wrapping_sub(start).wrapping_sub(name);
        if length == 0
            || length >= LONGEST
            || name == 0
            // Renamed in between: the walk has met another parent or name than the question.
            || get(&raw const (*question).parent) != get(key.add(DIRECTORY))
            || get(&raw const (*question).walked) != name
            || get(&raw const (*scratch).walk.from.dentry) == get(&raw const (*scratch).walk.from.root)
        {
            return 0;
        }
        let slot = slot(question, true);
        if slot.is_null() {
            return 0;
        }
        // Nothing holds until all of it is there.
        let kept = (&raw mut (*slot).key).cast::<u64>();
        put(kept.add(GENERATION), 0);
        put(key.add(SEQUENCES), get(&raw const (*question).sequences));
        let from = (&raw const (*scratch).bytes).cast::<u8>();
        let at = kernel::masked(start, PATH_MAX as u64 - 1) as usize;
        if !kernel::copy(
            (&raw mut (*slot).path).cast(),
            kernel::masked(length, 511) as u32,
            from.add(HEAD + at) as u64,
        ) {
            return 0;
        }
        put(&raw mut (*slot).length, length);
        let (domain, action) = (case as u32, (case >> 32) as u32 & 7);
        let policies = arena.flags(domain).policies();
        let mut n = 0;
        while n < POLICIES_PER_DOMAIN as u32 {
            let starts_at = table::domain_at(domain)
                + table::domain::ACTIONS
                + (action * POLICIES_PER_DOMAIN as u32 + n) * 2;
            let starts = if n < policies { arena.word(starts_at) } else { 0 };
            let first = glide(crate::judge::pointer(arena), scratch, start, length, starts as u32);
            let second = glide(crate::judge::pointer(arena), scratch, start, length, (starts >> 32) as u32);
            put((&raw mut (*slot).states).cast::<u64>().add(n as usize), first | second << 32);
            n += 1;
        }
        let mut i = 0;
        while i < KEY {
            if i != GENERATION {
                put(kept.add(i), get(key.add(i)));
            }
            i += 1;
        }
        put(kept.add(GENERATION), arena.word(table::AT_GENERATION));
    }
    1
}

/// Bytes in one call of the loop's body.
const BLOCK: u64 = 16;

/// What the loop over the bytes needs.
struct Gliding {
    arena: Arena,
    scratch: *mut Scratch,
}

/// The state of an automaton behind `length` bytes of the object from `at` on.
// SAFETY: the name is this function's alone in the object.
#[unsafe(export_name = "glide")]
#[inline(never)]
extern "C" fn glide(
    arena: *const ArenaValue,
    scratch: *mut Scratch,
    at: u64,
    length: u64,
    state: u32,
) -> u64 {
    if arena.is_null() || scratch.is_null() || state == table::DEAD || length > PATH_MAX as u64 {
        return u64::from(table::DEAD);
    }
    let mut context = Gliding { arena: Arena::of(arena), scratch };
    // SAFETY: a map value; the callback takes the context it is given here.
    unsafe {
        let glide = &raw mut (*scratch).near.glide;
        put(&raw mut (*glide).at, at);
        put(&raw mut (*glide).length, length);
        put(&raw mut (*glide).state, u64::from(state));
        helpers::bpf_loop(
            length.div_ceil(BLOCK) as u32,
            block as unsafe extern "C" fn(u64, *mut c_void) -> i64 as *mut c_void,
            (&raw mut context).cast(),
            0,
        );
        get(&raw const (*glide).state)
    }
}

/// One block of bytes, the last one shorter.
unsafe extern "C" fn block(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: the context is the one `glide` gives; the place is masked to the bytes, which go on for more than a
    // block behind it.
    unsafe {
        let gliding = context.cast::<Gliding>();
        let (arena, scratch) = ((*gliding).arena, (*gliding).scratch);
        let glide = &raw mut (*scratch).near.glide;
        let (at, length) = (get(&raw const (*glide).at), get(&raw const (*glide).length));
        let done = index * BLOCK;
        let left = length - done;
        let at = kernel::masked(at + done, PATH_MAX as u64 - 1) as usize;
        let bytes = (&raw const (*scratch).bytes).cast::<u8>().add(HEAD + at);
        let mut state = get(&raw const (*glide).state) as u32;
        let mut i = 0;
        while i < BLOCK as usize {
            if i as u64 >= left {
                break;
            }
            state = table::step(&arena, state, get(bytes.add(i)));
            i += 1;
        }
        put(&raw mut (*glide).state, u64::from(state));
    }
    0
}
