//! Names: every way to make, remove or move one. These hooks know the mount, and run before the change.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use guard_common::abi::{Action, BoundaryItem, Op};

use crate::hold;
use crate::hooks::{PART, boundary, moves, place, question, returned};
use crate::kernel::Ptr;
use crate::object::{self, Place};
use crate::{passed, subject};

const S_IFMT: u16 = 0o170_000;
const S_IFCHR: u16 = 0o020_000;
const S_IFBLK: u16 = 0o060_000;

/// Decides a change of the name `dentry` in the directory `path`.
#[inline(always)]
fn name(op: Op, path: Ptr, dentry: Ptr) -> i32 {
    if subject::outside() { 0 } else { named(op, path, dentry) }
}

#[inline(never)]
fn named(op: Op, path: Ptr, dentry: Ptr) -> i32 {
    match subject::within() {
        Some(subject) => place(subject, Action::Write, op, Place::in_directory(path, dentry)),
        None => 0,
    }
}

/// Decides a change of what a `struct path` points to.
#[inline(always)]
fn itself(op: Op, path: Ptr) -> i32 {
    if subject::outside() { 0 } else { it(op, path) }
}

#[inline(never)]
fn it(op: Op, path: Ptr) -> i32 {
    match subject::within() {
        Some(subject) => place(subject, Action::Write, op, Place::of_path(path)),
        None => 0,
    }
}

/// `int path_mknod(const struct path *dir, struct dentry *dentry, umode_t mode, unsigned int dev)`: also the
/// creation by open(2), before the file exists.
#[lsm(hook = "path_mknod")]
pub(crate) fn path_mknod(ctx: LsmContext) -> i32 {
    if subject::outside() {
        return 0;
    }
    makes(ctx.arg(0), ctx.arg(1), ctx.arg(2), ctx.arg(3))
}

#[inline(never)]
fn makes(directory: Ptr, dentry: Ptr, mode: u64, dev: u64) -> i32 {
    let Some(subject) = subject::within() else { return 0 };
    let kind = mode as u16 & S_IFMT;
    if kind == S_IFBLK || kind == S_IFCHR {
        // A whiteout (device 0:0) is made by file systems for themselves and opens nothing.
        if dev as u32 != 0 {
            let refused = boundary(subject, BoundaryItem::Devices, Op::Mknod, dev as u32);
            if refused != 0 {
                return refused;
            }
        }
    }
    let op = if kind == 0 || kind == 0o100_000 { Op::Create } else { Op::Mknod };
    place(subject, Action::Write, op, Place::in_directory(directory, dentry))
}

/// `int path_mkdir(const struct path *dir, struct dentry *dentry, umode_t mode)`
#[lsm(hook = "path_mkdir")]
pub(crate) fn path_mkdir(ctx: LsmContext) -> i32 {
    name(Op::Mkdir, ctx.arg(0), ctx.arg(1))
}

/// `int path_rmdir(const struct path *dir, struct dentry *dentry)`
#[lsm(hook = "path_rmdir")]
pub(crate) fn path_rmdir(ctx: LsmContext) -> i32 {
    name(Op::Rmdir, ctx.arg(0), ctx.arg(1))
}

/// `int path_unlink(const struct path *dir, struct dentry *dentry)`
#[lsm(hook = "path_unlink")]
pub(crate) fn path_unlink(ctx: LsmContext) -> i32 {
    name(Op::Unlink, ctx.arg(0), ctx.arg(1))
}

/// `int path_symlink(const struct path *dir, struct dentry *dentry, const char *old_name)`
#[lsm(hook = "path_symlink")]
pub(crate) fn path_symlink(ctx: LsmContext) -> i32 {
    name(Op::Symlink, ctx.arg(0), ctx.arg(1))
}

/// `int path_link(struct dentry *old_dentry, const struct path *new_dir, struct dentry *new_dentry)`: both
/// names lie on one mount, or the link fails. The old name must be writable too: a link is a way to it.
#[lsm(hook = "path_link")]
pub(crate) fn path_link(ctx: LsmContext) -> i32 {
    let (old, directory, new): (Ptr, Ptr, Ptr) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    both((Op::LinkFrom, directory, old), (Op::LinkTo, directory, new), false)
}

/// Decides a change of two names, and of what comes under other rules by it.
#[inline(always)]
fn both(from: (Op, Ptr, Ptr), to: (Op, Ptr, Ptr), exchange: bool) -> i32 {
    let Some(subject) = subject::inside_seldom() else { return 0 };
    let (old, new) = (Place::in_directory(from.1, from.2), Place::in_directory(to.1, to.2));
    let scratch = object::scratch(subject.task);
    if scratch.is_null() {
        return returned(1);
    }
    // What was paid for was another call's.
    passed::forget(scratch);
    let refused = returned(question(subject, Action::Write, from.0, old, PART));
    if refused != 0 {
        return refused;
    }
    let refused = place(subject, Action::Write, to.0, new);
    if refused != 0 {
        return refused;
    }
    hold::spend(subject.task, scratch);
    moves::regoverned(subject, to.0, old, new, exchange)
}

/// `int path_rename(const struct path *old_dir, struct dentry *old_dentry, const struct path *new_dir,
/// struct dentry *new_dentry, unsigned int flags)`: called once for an exchange, which changes both names as well.
#[lsm(hook = "path_rename")]
pub(crate) fn path_rename(ctx: LsmContext) -> i32 {
    const RENAME_EXCHANGE: u32 = 2;
    let (old_directory, old, directory, new): (Ptr, Ptr, Ptr, Ptr) =
        (ctx.arg(0), ctx.arg(1), ctx.arg(2), ctx.arg(3));
    let flags: u32 = ctx.arg(4);
    let exchange = flags & RENAME_EXCHANGE != 0;
    both((Op::RenameFrom, old_directory, old), (Op::RenameTo, directory, new), exchange)
}

/// `int path_truncate(const struct path *path)`: truncate(2), and ftruncate(2) and O_TRUNC up to 6.1.
#[lsm(hook = "path_truncate")]
pub(crate) fn path_truncate(ctx: LsmContext) -> i32 {
    itself(Op::Truncate, ctx.arg(0))
}

/// `int file_truncate(struct file *file)`: ftruncate(2) and O_TRUNC from 6.2 on.
#[lsm(hook = "file_truncate")]
pub(crate) fn file_truncate(ctx: LsmContext) -> i32 {
    let Some(subject) = subject::inside_seldom() else { return 0 };
    place(subject, Action::Write, Op::Truncate, Place::of_file(ctx.arg(0)))
}

/// `int path_chmod(const struct path *path, umode_t mode)`
#[lsm(hook = "path_chmod")]
pub(crate) fn path_chmod(ctx: LsmContext) -> i32 {
    itself(Op::Chmod, ctx.arg(0))
}

/// `int path_chown(const struct path *path, kuid_t uid, kgid_t gid)`
#[lsm(hook = "path_chown")]
pub(crate) fn path_chown(ctx: LsmContext) -> i32 {
    itself(Op::Chown, ctx.arg(0))
}
