//! What is near: directories whose walk is remembered.
//!
//! Everything but the last component of a path depends on its directory alone, and so do the states that the
//! automata have come to by then. A task remembers a few directories with both. They hold for as long as nothing on
//! the host is renamed or mounted, which the kernel's own sequence counts tell, under the same generation of policy,
//! in the same mount namespace, and for the very same directory: its dentry, and its inode's number and serial number
//! (`i_generation`), because the memory of a dentry can become another's.

mod kept;

pub(crate) use kept::{complete, keep, learn};

use core::mem::MaybeUninit;

use guard_common::abi::{Action, Event};
use guard_common::limits::{NAME_MAX, PATH_MAX, POLICIES_PER_DOMAIN};

use crate::glide::{Glide, glide};
use crate::kernel::{self, Ptr, at, follow, get, load, off, put};
use crate::known::{self, Known, NAMES, Name};
use crate::maps::ArenaValue;
use crate::object::{HEAD, Place, Scratch};
use crate::storage;
use crate::subject;
use crate::walk;

/// Directories that a task remembers.
const SLOTS: usize = 4;
/// Longest path of a directory that is remembered, its slash included.
pub(crate) const LONGEST: u64 = 384;
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
pub(crate) struct Slot {
    key: [u64; KEY],
    states: [u64; AUTOMATA / 2],
    /// See `known`: the names, and which was met last.
    pub(crate) names: [Known; NAMES],
    pub(crate) met: u64,
    pub(crate) length: u64,
    /// An event about a name in the directory: its header, the directory's path, and room for the name.
    pub(crate) event: MaybeUninit<Event>,
    pub(crate) path: [u8; LONGEST as usize],
    pub(crate) last: [u8; 2 * known::LONGEST as usize],
}

/// The question under way.
#[repr(C)]
pub(crate) struct Question {
    key: [u64; KEY],
    name: u64,
    length: u64,
    pub(crate) hash: u64,
    /// The component itself, if its directory is remembered and it is short.
    pub(crate) last: Name,
    /// The states that the directory led to.
    pub(crate) states: [u64; AUTOMATA / 2],
    /// The parent that the walk found, and the sequence counts under which it ended.
    pub(crate) parent: u64,
    /// How long the last component was to the walk.
    pub(crate) walked: u64,
    pub(crate) sequences: u64,
    pub(crate) glide: Glide,
}

/// Members of a key that are set when they are known: the others come with the question.
const DIRECTORY: usize = 0;
const ABOVE: usize = 1;
const INODE: usize = 2;
const NUMBER: usize = 3;
const SERIAL: usize = 4;
const MOUNT: usize = 5;
const ROOT: usize = 6;
const SEQUENCES: usize = 7;
const NAMESPACE: usize = 8;
const GENERATION: usize = 9;
const WHO: usize = 10;

/// A name in its directory, as the kernel has them.
struct Named {
    hash: u32,
    length: u32,
    /// Where its bytes are.
    name: u64,
    parent: Ptr,
    above: Ptr,
    inode: Ptr,
    number: u64,
    serial: u32,
}

impl Named {
    #[inline(always)]
    fn read(dentry: Ptr) -> Self {
        let parent = follow(dentry, at!(DENTRY_PARENT));
        let inode = follow(parent, at!(DENTRY_INODE));
        Self {
            hash: load(dentry, at!(DENTRY_NAME)),
            length: load(dentry, at!(DENTRY_NAME, 4)),
            name: load(dentry, at!(DENTRY_NAME, 8)),
            parent,
            above: follow(parent, at!(DENTRY_PARENT)),
            inode,
            number: load(inode, at!(INODE_INO)),
            serial: load(inode, at!(INODE_GENERATION)),
        }
    }
}

/// Where a directory and a name in it are remembered, if both are; else null. What is known of the name is a plain yes
/// under the policies of a [`generation_of`].
#[inline(never)]
pub(crate) fn recall(task: Ptr, mount: Ptr, dentry: Ptr, case: u64) -> *mut Slot {
    // Before anything branches: the verifier then looks up the members once.
    let Named { hash, length, name, parent, above, inode, number, serial } = Named::read(dentry);
    let root: u64 = load(mount, at!(VFSMOUNT_ROOT));
    let slot = slot(task, number, case, false);
    if slot.is_null() {
        return core::ptr::null_mut();
    }
    // SAFETY: not null, a map value.
    unsafe {
        let kept = (&raw const (*slot).key).cast::<u64>();
        let mut differ = 0;
        for (at, value) in [
            (DIRECTORY, parent as u64),
            (ABOVE, above as u64),
            (INODE, inode as u64),
            (NUMBER, number),
            (SERIAL, serial.into()),
            (MOUNT, Place { mount, dentry }.mount_address()),
            (ROOT, root),
            (NAMESPACE, subject::mounts(task)),
            (WHO, who(case)),
        ] {
            differ = kernel::differ(differ, value, get(kept.add(at)));
        }
        // The root of a mount, or of nothing at all, has no directory.
        if differ != 0 || dentry as u64 == root || dentry == parent {
            return core::ptr::null_mut();
        }
        let found = known::find(slot, hash.into(), known::read(name, length.into()));
        // Last: all that was read of the chain was read under these counts.
        if !found || walk::sequences() != get(kept.add(SEQUENCES)) {
            return core::ptr::null_mut();
        }
    }
    slot
}

/// Under the policies of which generation a directory is remembered; 0 if it is not.
///
/// # Safety
///
/// `slot` lies in a map value.
#[inline(always)]
pub(crate) unsafe fn generation_of(slot: *const Slot) -> u64 {
    // SAFETY: a map value.
    unsafe { get((&raw const (*slot).key).cast::<u64>().add(GENERATION)) }
}

/// Writes down what is asked about.
#[inline(always)]
pub(crate) fn ask(scratch: *mut Scratch, dentry: Ptr, case: u64) {
    let Named { hash, length, name, parent, above, inode, number, serial } = Named::read(dentry);
    // SAFETY: `scratch` is a map value.
    unsafe {
        let question = &raw mut (*scratch).near;
        let key = (&raw mut (*question).key).cast::<u64>();
        put(key.add(DIRECTORY), parent as u64);
        put(key.add(ABOVE), above as u64);
        put(key.add(INODE), inode as u64);
        put(key.add(NUMBER), number);
        put(key.add(SERIAL), u64::from(serial));
        put(key.add(MOUNT), get(&raw const (*scratch).walk.from.mount));
        put(key.add(ROOT), get(&raw const (*scratch).walk.from.root));
        put(key.add(WHO), who(case));
        put(&raw mut (*question).name, name);
        put(&raw mut (*question).length, u64::from(length));
        put(&raw mut (*question).hash, u64::from(hash));
    }
}

/// Domain and action, of a case.
#[inline(always)]
fn who(case: u64) -> u64 {
    case & 0xff_ffff_ffff
}

/// Tells objects apart for `allows: first`: the name and its directory by the kernel's own salted hash,
/// the inode, the session.
// SAFETY: the name is this function's alone in the object.
#[unsafe(export_name = "near_digest")]
#[inline(never)]
pub(crate) extern "C" fn digest(scratch: *mut Scratch, session: u64) -> u64 {
    if scratch.is_null() {
        return 0;
    }
    // SAFETY: not null, a map value.
    let (hash, directory, dentry) = unsafe {
        (
            get(&raw const (*scratch).near.hash),
            get((&raw const (*scratch).near.key).cast::<u64>().add(NUMBER)),
            get(&raw const (*scratch).walk.from.dentry),
        )
    };
    mix(hash, directory, dentry, session)
}

/// The same of what is not written down.
#[inline(always)]
pub(crate) fn digest_of(dentry: Ptr, session: u64) -> u64 {
    let hash: u32 = load(dentry, at!(DENTRY_NAME));
    let above = follow(follow(dentry, at!(DENTRY_PARENT)), at!(DENTRY_INODE));
    mix(hash.into(), load(above, at!(INODE_INO)), dentry as u64, session)
}

#[inline(always)]
fn mix(hash: u64, directory: u64, dentry: u64, session: u64) -> u64 {
    let [inode] = kernel::peek(dentry + off!(DENTRY_INODE));
    // There is none yet of what is being made.
    let number = if inode == 0 { 0 } else { kernel::peek::<1>(inode + off!(INODE_INO))[0] };
    let mixed = (hash ^ kernel::constant(&kernel::DIGEST_KEY)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ directory.wrapping_mul(0xff51_afd7_ed55_8ccd)
        ^ number.wrapping_mul(0xc4ce_b9fe_1a85_ec53)
        ^ session.wrapping_mul(0x2545_f491_4f6c_dd1d);
    mixed >> 32
}

/// The slot that a directory would be in, null if there is no room.
#[inline(always)]
fn slot(task: Ptr, number: u64, case: u64, create: bool) -> *mut Slot {
    // Where each process has a memory of its own, a new one has none, and most run one program.
    if off!(STORAGE_BUSY) != 0 && (case >> 32) as u32 & 7 == Action::Exec as u32 {
        return core::ptr::null_mut();
    }
    let near = storage::near(task, create);
    if near.is_null() {
        return core::ptr::null_mut();
    }
    let at = kernel::masked(number ^ case >> 32, SLOTS as u64 - 1) as usize;
    // SAFETY: a map value; the index is masked.
    unsafe { (&raw mut (*near).slots).cast::<Slot>().add(at) }
}

/// The slot for the directory that is asked about, null if nothing is remembered yet.
#[inline(always)]
pub(crate) fn slot_for(scratch: *mut Scratch, case: u64) -> *mut Slot {
    // SAFETY: `scratch` is a map value.
    let number = unsafe { get((&raw const (*scratch).near.key).cast::<u64>().add(NUMBER)) };
    slot(kernel::current(), number, case, false)
}

/// Is the directory remembered? Then the last component lies in the scratch space, behind a slash, and the states
/// that its directory led to.
// SAFETY: the name is this function's alone in the object.
#[unsafe(export_name = "near_resume")]
#[inline(never)]
pub(crate) extern "C" fn resume(scratch: *mut Scratch, slot: *mut Slot) -> u64 {
    if scratch.is_null() || slot.is_null() {
        return 0;
    }
    let namespace = subject::mounts(kernel::current());
    // SAFETY: not null, map values.
    unsafe {
        let question = &raw mut (*scratch).near;
        put((&raw mut (*question).key).cast::<u64>().add(NAMESPACE), namespace);
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
        let generation = generation_of(slot);
        // The root of a mount, or of nothing at all, has no directory.
        if differ != 0
            || generation == 0
            || dentry == get(&raw const (*scratch).walk.from.root)
            || dentry == get(asked.add(DIRECTORY))
        {
            return 0;
        }
        let (length, at) = (get(&raw const (*question).length), get(&raw const (*question).name));
        if length == 0 || length > NAME_MAX as u64 {
            return 0;
        }
        walk::overwritten(scratch);
        let last = known::read(at, length);
        put(&raw mut (*question).last, last);
        if !known::spell(scratch, last) {
            let to = kernel::masked(PATH_MAX as u64 - length, PATH_MAX as u64 - 1) as usize;
            let to = (&raw mut (*scratch).bytes).cast::<u8>().add(HEAD + to);
            if !kernel::copy(to, kernel::masked(length, 255) as u32, at) {
                return 0;
            }
        }
        // Last: all that was read of the chain was read under these counts.
        if walk::sequences() != get(kept.add(SEQUENCES)) {
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
