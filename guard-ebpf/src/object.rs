//! What is acted on: the absolute path of a file in the task's mount namespace, spelt by walking from the
//! dentry to the namespace's root. Independent of chroot, and every way to have no such path is told apart.

use guard_common::abi::{Asked, Event, Site};
use guard_common::limits::{NAME_MAX, PATH_MAX, POLICIES_PER_DOMAIN};

use crate::emit::{BEHIND, SLACK};
use crate::hooks::{Approved, REMEMBERED};
use crate::kernel::{self, Ptr, at, count, follow, load, member, off};
use crate::{storage, walk};

/// Room in front of the path: the event's header is written right before it, aligned down.
pub(crate) const HEAD: usize = 256;
const _: () = assert!(SLACK > NAME_MAX && HEAD >= size_of::<Event>() + size_of::<Asked>() + 8 + 16);

/// Room for an object and what stands before and behind it.
pub(crate) const BYTES: usize = HEAD + PATH_MAX + BEHIND;

/// A task's own scratch space. Per-CPU space is no substitute: LSM programs are preemptible and have no
/// recursion guard, so a task that preempts another one here would spell its path over the other's.
#[repr(C)]
pub(crate) struct Scratch {
    /// The object's bytes end at `HEAD + PATH_MAX`; behind them is room for a tail and slack for the verifier.
    pub(crate) bytes: [u8; BYTES],
    pub(crate) walk: walk::Walk,
    /// Index of the object's first byte, counted from `HEAD`.
    pub(crate) start: u64,
    /// State of the automaton.
    pub(crate) state: u64,
    /// The states that the automata of the last decision ended in, two for each joined policy.
    pub(crate) states: [u32; POLICIES_PER_DOMAIN * 2],
    /// See `judge`.
    pub(crate) decision: crate::judge::Outcome,
    /// The generation that the decision and the states are of.
    pub(crate) weighed_in: u64,
    /// See `near`.
    pub(crate) near: crate::near::Question,
    /// What comes of the decision.
    pub(crate) what: crate::emit::What,
    /// See `hold`: a digest in the making.
    pub(crate) sip: crate::hold::Sip,
    pub(crate) aside: Aside,
    /// See `hooks::life`.
    pub(crate) words: Words,
    /// The generation under which an address was decided on last. What stands before this is written before it is read, in
    /// each call: a berth that is left is cleared from here on.
    pub(crate) decided_in: u64,
    /// See `heard`.
    pub(crate) heard: crate::heard::Heard,
    /// See `hooks::inherited`.
    pub(crate) approved: [Approved; REMEMBERED],
    /// See `passed`.
    pub(crate) ticket: crate::passed::Ticket,
    pub(crate) object: u64,
    pub(crate) spent: u64,
    /// See `hold`: the digest of argv, the one of the argv that was approved, and that of an answer that was not taken yet.
    pub(crate) argv: u64,
    pub(crate) granted: u64,
    /// Under which generation it was.
    pub(crate) granted_in: u64,
    pub(crate) kept: u64,
    /// Bytes of argv behind the object's end.
    pub(crate) shown: u64,
    /// Of an exec: 1 for the file itself, 2 for its interpreter.
    pub(crate) level: u64,
    /// Of an exec: 1 once there is something about it in `EXECS`.
    pub(crate) pends: u64,
    /// See `confine`.
    pub(crate) births: u64,
    pub(crate) born_in: u64,
    pub(crate) born: [u64; crate::confine::BORN],
    pub(crate) differ: u64,
}

const _: () = assert!(size_of::<Scratch>().is_multiple_of(8) && BYTES.is_multiple_of(8));

/// Scratch space that lies ready, with room to remember directories. What a task could have left for itself is zero as
/// long as nobody owns it. Directories stay: what is remembered of them holds for whoever is in the same domain and the
/// same mount namespace, and whoever is next is often the same agent's next process.
#[repr(C)]
pub(crate) struct Berth {
    /// The task's address, 0 for one that can be had.
    pub(crate) owner: u64,
    /// One more than when the owner began, or than a time after that; 0 before it is written down. See `storage`.
    pub(crate) born: u64,
    /// 1 once somebody has found it taken.
    pub(crate) crowded: u64,
    pub(crate) scratch: Scratch,
    pub(crate) near: crate::near::Near,
}

/// What is never needed at the same time: there is no room for both.
#[repr(C)]
pub(crate) union Aside {
    /// See `hooks::moves`, which compares once every question has been answered.
    pub(crate) residuals: [u32; RESIDUALS],
    pub(crate) asked: InQuestion,
}

/// While questions are asked.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct InQuestion {
    /// See `hooks::meta`.
    pub(crate) search: Search,
    /// See `hold`.
    pub(crate) file: Asked,
}

/// A search for argv's end.
#[repr(C)]
pub(crate) struct Words {
    pub(crate) argc: u64,
    pub(crate) length: u64,
    pub(crate) nuls: u64,
    pub(crate) end: u64,
}

/// Automata whose states are compared when a directory moves: five actions, two for each joined policy.
pub(crate) const RESIDUALS: usize = 5 * POLICIES_PER_DOMAIN * 2;

/// Names of one file that are tried, when only its dentry is known.
pub(crate) const SEARCHED: usize = 8;

/// A search for the mounts through which a task can see a file system.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Search {
    pub(crate) list: u64,
    pub(crate) cursor: u64,
    pub(crate) namespace: u64,
    pub(crate) found: u64,
    pub(crate) decided: u64,
    pub(crate) refused: u64,
    pub(crate) mounts: [u64; SEARCHED],
}

/// A place in the file tree: a dentry as seen through a mount. Both typed, and of what the verifier trusts only cast: see
/// [`kernel::loose`].
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) mount: Ptr,
    pub(crate) dentry: Ptr,
}

impl Place {
    /// Where a `struct path` points.
    #[inline(always)]
    pub(crate) fn of_path(path: Ptr) -> Self {
        let path = kernel::cast(path as u64, off!(PATH_TYPE));
        Self { mount: follow(path, at!(PATH_MNT)), dentry: follow(path, at!(PATH_DENTRY)) }
    }

    /// Where an open file lies.
    #[inline(always)]
    pub(crate) fn of_file(file: Ptr) -> Self {
        Self::of_path(member(file, off!(FILE_PATH)))
    }

    /// A name in the directory that a `struct path` points to.
    #[inline(always)]
    pub(crate) fn in_directory(path: Ptr, dentry: Ptr) -> Self {
        let path = kernel::cast(path as u64, off!(PATH_TYPE));
        Self { mount: follow(path, at!(PATH_MNT)), dentry: kernel::cast(dentry as u64, off!(DENTRY_TYPE)) }
    }

    /// Address of the `struct mount` around the `struct vfsmount`.
    #[inline(always)]
    pub(crate) fn mount_address(self) -> u64 {
        self.mount as u64 - off!(MOUNT_MNT)
    }

    /// Makes it the place that is spelt next. A function that is verified on its own takes no typed pointers, so
    /// they go by memory, where they turn into numbers.
    #[inline(always)]
    pub(crate) fn aim(self, scratch: *mut Scratch) {
        let root = load(self.mount, at!(VFSMOUNT_ROOT));
        walk::aim(scratch, walk::From { mount: self.mount_address(), root, dentry: self.dentry as u64 });
    }
}

/// The file system that an inode is of. By an inode that is cast, see [`kernel::loose`].
#[inline(always)]
pub(crate) fn file_system(inode: Ptr) -> Ptr {
    follow(kernel::cast(inode as u64, off!(INODE_TYPE)), at!(INODE_SB))
}

/// The running task's scratch space; null if there is no memory.
#[inline(always)]
pub(crate) fn scratch(task: Ptr) -> *mut Scratch {
    let place = storage::scratch(task);
    if place.is_null() {
        count(Site::ScratchFailed);
    }
    place
}
