//! Metadata by dentry alone: these hooks do not know the mount, so the change is decided under every name
//! that the task's mount namespace has for the file, and the strictest counts.

use core::ffi::c_void;

use aya_ebpf::helpers::generated as helpers;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use guard_common::abi::offsets::ABSENT;
use guard_common::abi::{Action, BoundaryItem, Op, Reason, Site};

use super::control;
use crate::hooks::{PART, boundary, decide_spelt, knobs, pack, place, returned, settle};
use crate::kernel::{self, Ptr, at, count, follow, get, load, member, off, put};
use crate::object::{self, Place, Scratch};
use crate::subject::{self, Subject};
use crate::walk::From;
use crate::{hold, passed};

/// Mounts of one file system that are looked at. A host with more in one list blocks, and says so.
const MOUNTS: u32 = 4096;

const ATTR_MODE: u32 = 1;
const ATTR_UID: u32 = 2;
const ATTR_GID: u32 = 4;
const ATTR_SIZE: u32 = 8;
const ATTR_ATIME: u32 = 16;
const ATTR_MTIME: u32 = 32;

/// `int inode_setattr(struct mnt_idmap *idmap, struct dentry *dentry, struct iattr *attr)`; without the first
/// argument up to 6.2. Mode, owner and size have hooks that know the mount; times have only this.
#[lsm(hook = "inode_setattr")]
pub(crate) fn inode_setattr(ctx: LsmContext) -> i32 {
    let Some(subject) = subject::inside_seldom() else { return 0 };
    // All three slots are read, then two are chosen: the verifier takes no access to a computed slot. Where
    // there are two arguments the third slot is the return value so far.
    let (zeroth, first, second): (Ptr, Ptr, Ptr) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    let (dentry, attributes) = if off!(SETATTR_SHIFT) == 1 { (first, second) } else { (zeroth, first) };
    let valid: u32 = load(attributes, at!(IATTR_VALID));
    if valid & (ATTR_MODE | ATTR_UID | ATTR_GID | ATTR_SIZE) != 0 || valid & (ATTR_ATIME | ATTR_MTIME) == 0 {
        return 0;
    }
    by_dentry(subject, Op::Times, dentry)
}

macro_rules! changes {
    ($($(#[$doc:meta])* $hook:ident $name:literal $at:literal $op:ident;)*) => {
        $(
            $(#[$doc])*
            #[lsm(hook = $name)]
            pub(crate) fn $hook(ctx: LsmContext) -> i32 {
                match subject::inside_seldom() {
                    Some(subject) => by_dentry(subject, Op::$op, ctx.arg($at)),
                    None => 0,
                }
            }
        )*
    };
}

changes! {
    /// `int inode_setxattr(struct mnt_idmap *idmap, struct dentry *dentry, const char *name, …)`
    inode_setxattr "inode_setxattr" 1 Xattr;
    /// `int inode_removexattr(struct mnt_idmap *idmap, struct dentry *dentry, const char *name)`
    inode_removexattr "inode_removexattr" 1 Xattr;
    /// `int inode_set_acl(struct mnt_idmap *idmap, struct dentry *dentry, const char *acl_name, …)`, from 6.2 on.
    inode_set_acl "inode_set_acl" 1 Acl;
    /// `int inode_remove_acl(struct mnt_idmap *idmap, struct dentry *dentry, const char *acl_name)`
    inode_remove_acl "inode_remove_acl" 1 Acl;
    /// `int inode_file_setattr(struct dentry *dentry, struct file_kattr *fa)`, from 6.17 on.
    inode_file_setattr "inode_file_setattr" 0 Attributes;
}

/// `int file_ioctl(struct file *file, unsigned int cmd, unsigned long arg)`
#[lsm(hook = "file_ioctl")]
pub(crate) fn file_ioctl(ctx: LsmContext) -> i32 {
    let (file, command): (Ptr, u32) = (ctx.arg(0), ctx.arg(1));
    ioctl(file, command)
}

/// `int file_ioctl_compat(struct file *file, unsigned int cmd, unsigned long arg)`: of 32-bit programs.
#[lsm(hook = "file_ioctl_compat")]
pub(crate) fn file_ioctl_compat(ctx: LsmContext) -> i32 {
    let (file, command): (Ptr, u32) = (ctx.arg(0), ctx.arg(1));
    ioctl(file, command)
}

#[inline(always)]
fn ioctl(file: Ptr, command: u32) -> i32 {
    match command {
        // TIOCSTI, TIOCLINUX, TIOCSETD, TIOCCONS
        0x5412 | 0x541c | 0x5423 | 0x541d => match subject::inside_seldom() {
            Some(subject) => boundary(subject, BoundaryItem::TtyInjection, Op::Ioctl, command),
            None => 0,
        },
        // FS_IOC_SETFLAGS and its 32-bit twin, FS_IOC_FSSETXATTR, FS_IOC_SETVERSION and its twin,
        // FAT_IOCTL_SET_ATTRIBUTES
        0x4008_6602 | 0x4004_6602 | 0x401c_5820 | 0x4008_7602 | 0x4004_7602 | 0x4004_7211 => {
            match subject::inside_seldom() {
                Some(subject) => place(subject, Action::Write, Op::Attributes, Place::of_file(file)),
                None => 0,
            }
        }
        // FIOSETOWN, SIOCSPGRP
        0x8901 | 0x8902 => match subject::inside_seldom() {
            Some(subject) => control::owner(subject, 0),
            None => 0,
        },
        // FIOASYNC
        0x5452 => match subject::inside_seldom() {
            Some(subject) => control::asynchronous(subject, file),
            None => 0,
        },
        _ if matches!(command >> 8 & 0xff, 0x66 | 0x58 | 0x94 | 0xf5 | 0x4c | 0x12) && !reads(command) => {
            admin(command)
        }
        _ => 0,
    }
}

/// Of ext4 and fscrypt (f), xfs (X), btrfs, f2fs, loop and block devices: what only tells something, by name, because a
/// command's direction is not what it does (BLKZEROOUT has none, and FS_IOC_SET_ENCRYPTION_POLICY that of reading). And
/// the clones, whose target must be open for writing.
#[inline(always)]
fn reads(command: u32) -> bool {
    matches!(
        command,
        // FS_IOC_GETFLAGS and its 32-bit twin, EXT4_IOC_GETVERSION, FS_IOC_FIEMAP, FS_IOC_GET_ENCRYPTION_POLICY, its
        // successor, FS_IOC_GET_ENCRYPTION_NONCE, FS_IOC_MEASURE_VERITY
        0x8008_6601 | 0x8004_6601 | 0x8008_6603 | 0xc020_660b | 0x400c_6615 | 0xc009_6616 | 0x8010_661b | 0xc004_6686
        // FS_IOC_FSGETXATTR, XFS_IOC_FSGEOMETRY
        | 0x801c_581f | 0x8100_587e
        // FICLONE, FICLONERANGE, FIDEDUPERANGE, BTRFS_IOC_SYNC, _SUBVOL_GETFLAGS, _FS_INFO, _GET_SUBVOL_INFO,
        // FS_IOC_GETFSLABEL
        | 0x4004_9409 | 0x4020_940d | 0xc018_9436 | 0x9408 | 0x8008_9419 | 0x8400_941f | 0x81f8_943c | 0x8100_9431
        // BLKROGET, BLKGETSIZE, BLKRAGET, BLKSECTGET, BLKSSZGET, BLKIOMIN to BLKDISCARDZEROES, BLKROTATIONAL, and the
        // sizes of blocks, devices and zones with their 32-bit twins
        | 0x125e | 0x1260 | 0x1263 | 0x1267 | 0x1268 | 0x1278
            ..=0x127c
                | 0x127e
                | 0x8008_1270
                | 0x8004_1270
                | 0x8008_1272
                | 0x8004_1272
                | 0x8008_1280
                | 0x8004_1284
                | 0x8004_1285
    )
}

#[inline(always)]
fn admin(command: u32) -> i32 {
    match subject::inside_seldom() {
        Some(subject) => boundary(subject, BoundaryItem::FileAdmin, Op::Ioctl, command),
        None => 0,
    }
}

/// What the two loops share.
struct Search {
    scratch: *mut Scratch,
    dentry: u64,
    case: u64,
    session: u64,
}

/// Decides a change of a file known by its dentry.
#[inline(always)]
fn by_dentry(subject: Subject, op: Op, dentry: Ptr) -> i32 {
    // A stacked file system acts on the file below with the mounter's credentials; the file above has been
    // decided.
    if subject::lent_by_kernel(subject.task) {
        return 0;
    }
    let case = pack(subject, Action::Write, op) | PART;
    returned(judge_dentry(subject.task, dentry, case, subject.session))
}

#[inline(never)]
fn judge_dentry(task: Ptr, dentry: Ptr, case: u64, session: u64) -> i64 {
    let dentry = kernel::cast(dentry as u64, off!(DENTRY_TYPE));
    let scratch = object::scratch(task);
    if scratch.is_null() {
        return 1;
    }
    let refused = knobs::judge(task, dentry, case, session);
    if refused != 0 {
        return refused;
    }
    passed::forget(scratch);
    let sb = follow(dentry, at!(DENTRY_SB));
    let list = member(sb, off!(SB_MOUNTS)) as u64;
    let namespace = subject::mounts(task);
    let mut search = Search { scratch, dentry: dentry as u64, case, session };
    // SAFETY: a map value.
    unsafe {
        put(&raw mut (*scratch).aside.asked.search.list, list);
        put(&raw mut (*scratch).aside.asked.search.namespace, namespace);
        put(&raw mut (*scratch).aside.asked.search.cursor, kernel::peek::<1>(list)[0]);
        put(&raw mut (*scratch).aside.asked.search.found, 0);
        put(&raw mut (*scratch).aside.asked.search.decided, 0);
        put(&raw mut (*scratch).aside.asked.search.refused, 0);
        helpers::bpf_loop(
            MOUNTS,
            look as unsafe extern "C" fn(u64, *mut c_void) -> i64 as *mut c_void,
            (&raw mut search).cast(),
            0,
        );
        helpers::bpf_loop(
            get(&raw const (*scratch).aside.asked.search.found) as u32,
            weigh as unsafe extern "C" fn(u64, *mut c_void) -> i64 as *mut c_void,
            (&raw mut search).cast(),
            0,
        );
        if get(&raw const (*scratch).aside.asked.search.decided) != 0 {
            let refused = get(&raw const (*scratch).aside.asked.search.refused) as i64;
            if refused == 0 {
                hold::spend(task, scratch);
            }
            return -refused;
        }
    }
    count(Site::MountSearchFailed);
    crate::emit::no_object(scratch);
    settle(scratch, case, session, Reason::PathForeignMount as u64)
}

/// One mount of the file system: kept if it is in the task's mount namespace.
unsafe extern "C" fn look(_: u64, context: *mut c_void) -> i64 {
    // SAFETY: the context is the one `judge_dentry` gives.
    unsafe {
        let scratch = (*context.cast::<Search>()).scratch;
        let cursor = get(&raw const (*scratch).aside.asked.search.cursor);
        // Up to 6.17 a list that ends where it began, later a chain that ends in null.
        let chained = off!(MOUNT_INSTANCE) == ABSENT;
        if cursor == 0 || !chained && cursor == get(&raw const (*scratch).aside.asked.search.list) {
            return 1;
        }
        let mount = if chained { cursor } else { cursor - off!(MOUNT_INSTANCE) };
        let [namespace] = kernel::peek(mount + off!(MOUNT_NS));
        if namespace == get(&raw const (*scratch).aside.asked.search.namespace) {
            let found = get(&raw const (*scratch).aside.asked.search.found);
            if found >= object::SEARCHED as u64 {
                return 1;
            }
            let at = kernel::masked(found, object::SEARCHED as u64 - 1) as usize;
            put((&raw mut (*scratch).aside.asked.search.mounts).cast::<u64>().add(at), mount);
            put(&raw mut (*scratch).aside.asked.search.found, found + 1);
        }
        let next = if chained { cursor + off!(MOUNT_NEXT_FOR_SB) } else { cursor };
        put(&raw mut (*scratch).aside.asked.search.cursor, kernel::peek::<1>(next)[0]);
    }
    0
}

/// The file's name through one of the mounts found, decided.
unsafe extern "C" fn weigh(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: the context is the one `judge_dentry` gives.
    unsafe {
        let search = context.cast::<Search>();
        let scratch = (*search).scratch;
        let at = kernel::masked(index, object::SEARCHED as u64 - 1) as usize;
        let mount = get((&raw const (*scratch).aside.asked.search.mounts).cast::<u64>().add(at));
        let [root] = kernel::peek(mount + off!(MOUNT_MNT) + off!(VFSMOUNT_ROOT));
        let from = From { mount, root, dentry: (*search).dentry };
        let refused = decide_spelt(scratch, from, (*search).case, (*search).session);
        if refused < 0 {
            // Not below this mount's root.
            return 0;
        }
        put(&raw mut (*scratch).aside.asked.search.decided, 1);
        put(&raw mut (*scratch).aside.asked.search.refused, refused as u64);
        i64::from(refused != 0)
    }
}
