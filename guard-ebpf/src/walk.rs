//! Spelling a path: from the dentry to the root of the mount namespace, under the kernel's own sequence counts.

use core::ffi::c_void;

use aya_ebpf::helpers::generated as helpers;
use guard_common::abi::{Reason, Site};
use guard_common::limits::{NAME_MAX, PATH_MAX, WALK_STEPS};

use crate::kernel::{self, count, get, off, put, word};
use crate::object::{HEAD, Scratch};
use crate::subject;

/// The lowest bit of either sequence count: something is being renamed or mounted.
const UNDER_WAY: u64 = 0x1_0000_0001;
/// How often the counts are looked at until nothing is: some milliseconds.
const PATIENCE: u32 = 1 << 16;
/// How often a path is walked until nothing has changed meanwhile.
const TRIES: u32 = 24;

/// A walk's state. It lives in memory, because tracked in registers it multiplies the verifier's states.
#[repr(C)]
pub(crate) struct Walk {
    pub(crate) from: From,
    mount: u64,
    dentry: u64,
    root: u64,
    position: u64,
    end: u64,
    /// Of which place the path lies in the scratch space, and under which sequence counts, with their lowest bit set.
    spelt: From,
    spelt_under: u64,
    spelt_start: u64,
}

/// Where a walk begins, as addresses.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct From {
    /// The `struct mount`.
    pub(crate) mount: u64,
    /// What is at its root.
    pub(crate) root: u64,
    pub(crate) dentry: u64,
}

/// How a walk ended. Anything but `Done` has no path to decide on.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum End {
    /// Still walking; as a result: more steps than a walk takes.
    Walking = 0,
    /// At the root of the task's mount namespace.
    Done = 1,
    Fault = 2,
    TooLong = 3,
    Detached = 4,
    Foreign = 5,
    /// Not in any tree: pipes, sockets, memfds, anonymous inodes.
    NoPath = 6,
    Unstable = 7,
    /// Above the root of the mount it was reached through: a directory that was moved out of what is mounted.
    Outside = 8,
    /// On a file system that takes one name for another.
    Folds = 9,
}

impl End {
    #[inline(always)]
    fn from_code(code: u64) -> Self {
        match code {
            1 => Self::Done,
            2 => Self::Fault,
            3 => Self::TooLong,
            4 => Self::Detached,
            5 => Self::Foreign,
            6 => Self::NoPath,
            7 => Self::Unstable,
            8 => Self::Outside,
            9 => Self::Folds,
            _ => Self::Walking,
        }
    }

    /// The reason code of a walk without a path, and its counter.
    #[inline(always)]
    pub(crate) fn reason(self) -> Reason {
        let (site, reason) = match self {
            Self::Walking => (Site::WalkTooDeep, Reason::PathTooDeep),
            Self::Done | Self::NoPath => return Reason::NoPath,
            Self::Fault => (Site::WalkFault, Reason::PathFault),
            Self::TooLong => (Site::WalkTooLong, Reason::PathTooLong),
            Self::Detached => (Site::WalkDetached, Reason::PathDetached),
            Self::Foreign => (Site::WalkForeign, Reason::PathForeignMount),
            Self::Unstable => (Site::WalkUnstable, Reason::PathUnstable),
            Self::Outside => (Site::WalkOutside, Reason::PathOutside),
            Self::Folds => (Site::WalkFolds, Reason::PathFolds),
        };
        count(site);
        reason
    }
}

/// Sets where the next walk begins.
#[inline(always)]
pub(crate) fn aim(scratch: *mut Scratch, from: From) {
    // SAFETY: `scratch` is a map value.
    unsafe { put(&raw mut (*scratch).walk.from, from) };
}

/// Spells the path of the dentry that was aimed at, seen through its mount, into the scratch space.
///
/// Renames and mounts can change the chain under the walk, which would splice an old name under a new
/// parent; the kernel's own sequence counts tell, and the walk starts over, [`TRIES`] times in all: on a host where
/// somebody renames all the time a few would not do.
// SAFETY: the name is this function's alone in the object.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn spell(scratch: *mut Scratch) -> u64 {
    if scratch.is_null() {
        return End::Fault as u64;
    }
    overwritten(scratch);
    let mut before = calm();
    for _ in 0..TRIES {
        let end = walk(scratch);
        let now = calm();
        if before & UNDER_WAY == 0 && before == now {
            // SAFETY: not null, a map value.
            unsafe { put(&raw mut (*scratch).near.sequences, before) };
            if end == End::Done as u64 {
                spelt(scratch, before);
            }
            return end;
        }
        count(Site::WalkRetried);
        before = now;
    }
    End::Unstable as u64
}

/// Spells the place that was aimed at unless its path lies there already. Only for a place that something has held
/// since it was spelt: the memory of a dentry can become another's. An exec's file is one, see `forget`.
#[inline(always)]
pub(crate) fn spell_again(scratch: *mut Scratch) -> u64 {
    if is_spelt(scratch) { End::Done as u64 } else { spell(scratch) }
}

#[inline(always)]
fn is_spelt(scratch: *mut Scratch) -> bool {
    // SAFETY: `scratch` is a map value.
    unsafe {
        let walk = &raw const (*scratch).walk;
        let (from, spelt, under) = (
            get(&raw const (*walk).from),
            get(&raw const (*walk).spelt),
            get(&raw const (*walk).spelt_under),
        );
        let same = under != 0
            && from.dentry == spelt.dentry
            && from.mount == spelt.mount
            && from.root == spelt.root
            && get(&raw const (*walk).spelt_start) == get(&raw const (*scratch).start);
        same && sequences() | 1 == under
    }
}

/// The path of the place that was aimed at lies in the scratch space now.
#[inline(always)]
pub(crate) fn spelt(scratch: *mut Scratch, under: u64) {
    // SAFETY: `scratch` is a map value.
    unsafe {
        let walk = &raw mut (*scratch).walk;
        put(&raw mut (*walk).spelt, get(&raw const (*walk).from));
        put(&raw mut (*walk).spelt_start, get(&raw const (*scratch).start));
        put(&raw mut (*walk).spelt_under, under | 1);
    }
}

/// Something else lies there from now on.
#[inline(always)]
pub(crate) fn overwritten(scratch: *mut Scratch) {
    // SAFETY: `scratch` is a map value.
    unsafe { put(&raw mut (*scratch).walk.spelt_under, 0) };
}

#[inline(always)]
pub(crate) fn ended(code: u64) -> End {
    End::from_code(code)
}

/// The sequence counts of renames (low half) and mounts (high half); odd while one is under way.
#[inline(always)]
pub(crate) fn sequences() -> u64 {
    let renames = kernel::read_or_odd(word!(RENAME_LOCK));
    let mounts = kernel::read_or_odd(word!(MOUNT_LOCK));
    if mounts == 0 {
        // Every host has mounted something: it has not been read.
        return UNDER_WAY;
    }
    u64::from(mounts) << 32 | u64::from(renames)
}

/// The sequence counts once nothing is under way, as far as that can be waited for: who changes something holds a
/// spinlock, but on a virtual machine its processor can be taken away meanwhile, for longer than any number of walks.
// SAFETY: the name is this function's alone in the object.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn calm() -> u64 {
    let mut now = sequences();
    if now & UNDER_WAY != 0 {
        // SAFETY: the callback takes the context it is given here, a number on the stack.
        unsafe {
            helpers::bpf_loop(
                PATIENCE,
                look_again as unsafe extern "C" fn(u64, *mut c_void) -> i64 as *mut c_void,
                (&raw mut now).cast(),
                0,
            );
        }
    }
    now
}

unsafe extern "C" fn look_again(_: u64, now: *mut c_void) -> i64 {
    let seen = sequences();
    put(now.cast::<u64>(), seen);
    i64::from(seen & UNDER_WAY == 0)
}

/// Walks once, whatever changes under it.
// SAFETY: the name is this function's alone in the object.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk(scratch: *mut Scratch) -> u64 {
    if scratch.is_null() {
        return End::Fault as u64;
    }
    // SAFETY: `scratch` is a map value; `&raw` makes no reference.
    let walk = unsafe { &raw mut (*scratch).walk };
    // SAFETY: as above.
    let From { mount, root, dentry } = unsafe { get(&raw const (*walk).from) };
    set(walk, mount, dentry, root);
    // SAFETY: as above.
    unsafe {
        put(&raw mut (*walk).position, PATH_MAX as u64);
        put(&raw mut (*walk).end, End::Walking as u64);
    }
    let mut context = scratch;
    // SAFETY: the callback takes the context it is given here, a pointer to a map value on the stack.
    unsafe {
        helpers::bpf_loop(
            WALK_STEPS,
            step as unsafe extern "C" fn(u64, *mut c_void) -> i64 as *mut c_void,
            (&raw mut context).cast(),
            0,
        );
    }
    // SAFETY: as above.
    let (position, end, top) = unsafe {
        (get(&raw const (*walk).position), get(&raw const (*walk).end), get(&raw const (*walk).mount))
    };
    // SAFETY: as above.
    unsafe { put(&raw mut (*scratch).start, position) };
    if end != End::Done as u64 {
        return end;
    }
    // The walk ended at a mount that is its own parent: the root of its namespace, or a mount of none.
    let [namespace] = kernel::peek(top + off!(MOUNT_NS));
    let own = subject::mounts(kernel::current());
    if namespace == own {
        root_itself(scratch, position);
        if folds(dentry) { End::Folds as u64 } else { End::Done as u64 }
    } else if namespace == 0 || namespace > ERR_PTR {
        End::Detached as u64
    } else {
        End::Foreign as u64
    }
}

/// Does the file system of a name take other names for the same, such as `KEY` for `key`? The name that is kept is then
/// the one that somebody looked up first, and rules would speak of that. Such a file system hashes and compares names
/// itself, all of them; a mount point above keeps the name by which it was mounted on.
#[inline(always)]
fn folds(dentry: u64) -> bool {
    /// `DCACHE_OP_HASH` and `DCACHE_OP_COMPARE`.
    const OWN_NAMES: u64 = 3;
    kernel::peek::<1>(dentry + off!(DENTRY_FLAGS))[0] & OWN_NAMES == OWN_NAMES
}

/// Error pointers are the last page of addresses; kernel-internal mounts have one for a namespace.
pub(crate) const ERR_PTR: u64 = u64::MAX - 4095;

/// The root itself has no component; its path is one slash.
#[inline(always)]
fn root_itself(scratch: *mut Scratch, position: u64) {
    if position == PATH_MAX as u64 {
        // SAFETY: `scratch` is a map value and the index a constant inside it.
        unsafe {
            put(&raw mut (*scratch).bytes[HEAD + PATH_MAX - 1], b'/');
            put(&raw mut (*scratch).start, PATH_MAX as u64 - 1);
        }
    }
}

#[inline(always)]
fn set(walk: *mut Walk, mount: u64, dentry: u64, root: u64) {
    // SAFETY: `walk` is in a map value.
    unsafe {
        put(&raw mut (*walk).mount, mount);
        put(&raw mut (*walk).dentry, dentry);
        put(&raw mut (*walk).root, root);
    }
}

/// One step of the walk: over a component, or from a mount's root to its mount point.
unsafe extern "C" fn step(_: u64, context: *mut c_void) -> i64 {
    // SAFETY: the context is the one `walk` gives: a pointer to a pointer to the scratch space.
    let scratch = unsafe { *context.cast::<*mut Scratch>() };
    // SAFETY: a map value.
    let walk = unsafe { &raw mut (*scratch).walk };
    // SAFETY: as above.
    let (dentry, root) = unsafe { (get(&raw const (*walk).dentry), get(&raw const (*walk).root)) };
    let end = if dentry == root { cross(walk) } else { component(scratch, walk, dentry) };
    if end == End::Walking {
        return 0;
    }
    // SAFETY: as above.
    unsafe { put(&raw mut (*walk).end, end as u64) };
    1
}

#[inline(always)]
fn cross(walk: *mut Walk) -> End {
    // SAFETY: `walk` is in a map value.
    let mount = unsafe { get(&raw const (*walk).mount) };
    // `mnt_parent` and `mnt_mountpoint`, adjacent in `struct mount` (asserted at load).
    let [parent, dentry] = kernel::peek(mount + off!(MOUNT_PARENT));
    if parent == mount {
        return End::Done;
    }
    if parent == 0 {
        return End::Fault;
    }
    let [root] = kernel::peek(parent + off!(MOUNT_MNT) + off!(VFSMOUNT_ROOT));
    if root == 0 {
        return End::Fault;
    }
    set(walk, parent, dentry, root);
    End::Walking
}

#[inline(always)]
fn component(scratch: *mut Scratch, walk: *mut Walk, dentry: u64) -> End {
    // `d_parent` and `d_name`, adjacent in `struct dentry` (asserted at load); a name's length stands above its hash.
    let [parent, length_hash, name] = kernel::peek(dentry + off!(DENTRY_PARENT));
    if parent == dentry {
        // SAFETY: `walk` is in a map value.
        let first = unsafe { get(&raw const (*walk).from.dentry) };
        return if dentry == first { End::NoPath } else { End::Outside };
    }
    if parent == 0 {
        return End::Fault;
    }
    let length = length_hash >> 32;
    // SAFETY: `walk` is in a map value.
    let position = unsafe { get(&raw const (*walk).position) };
    if position == PATH_MAX as u64 {
        // SAFETY: a map value.
        unsafe {
            put(&raw mut (*scratch).near.parent, parent);
            put(&raw mut (*scratch).near.walked, length);
        }
    }
    if length > NAME_MAX as u64 || length + 1 > position {
        return End::TooLong;
    }
    let position = position - (length + 1);
    let at = kernel::masked(position, PATH_MAX as u64 - 1) as usize;
    // SAFETY: `at` is below PATH_MAX, and a name's worth of slack follows.
    let to = unsafe { (&raw mut (*scratch).bytes).cast::<u8>().add(HEAD + at) };
    put(to, b'/');
    // SAFETY: as above.
    let copied = kernel::copy(unsafe { to.add(1) }, kernel::masked(length, 255) as u32, name);
    // SAFETY: `walk` is in a map value.
    unsafe {
        put(&raw mut (*walk).position, position);
        put(&raw mut (*walk).dentry, parent);
    }
    if copied { End::Walking } else { End::Fault }
}
