//! Opening files, and receiving open ones.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use guard_common::abi::{Action, BoundaryItem, Op};

use crate::hooks::{NO_HOLD, OPENS, PAID_FOR, boundary, place, question, returned};
use crate::kernel::{self, Ptr, at, follow, load, off};
use crate::object::{self, Place};
use crate::passed;
use crate::subject::{self, Subject};
use crate::walk;

const FMODE_WRITE: u32 = 2;
/// Set by the kernel where a file is opened to be executed, and exec and load decide that. Also by whoever asks for it,
/// where the kernel takes flags as they come: for a message queue, and for the other end of a terminal.
const FMODE_EXEC: u32 = 0x20;
/// The call has made the file.
const FMODE_CREATED: u32 = 0x10_0000;
const O_TRUNC: u32 = 0o1000;

const O_ACCMODE: u32 = 3;

const S_IFMT: u16 = 0o170_000;
const S_IFREG: u16 = 0o100_000;
const S_IFCHR: u16 = 0o020_000;
const S_IFBLK: u16 = 0o060_000;
const S_IFSOCK: u16 = 0o140_000;

/// `int file_open(struct file *file)`
#[lsm(hook = "file_open")]
pub(crate) fn file_open(ctx: LsmContext) -> i32 {
    if subject::outside() {
        return 0;
    }
    opens(ctx.arg(0))
}

#[inline(never)]
fn opens(file: Ptr) -> i32 {
    let Some(subject) = subject::within() else { return 0 };
    let mode: u32 = load(file, at!(FILE_MODE));
    let flags: u32 = load(file, at!(FILE_FLAGS));
    let inode = follow(file, at!(FILE_INODE));
    if flags & FMODE_EXEC != 0 && is_program(inode, flags) || is_backing(subject, file) {
        return 0;
    }
    // A terminal can be set, stopped and typed from through a descriptor for reading.
    let writes = mode & FMODE_WRITE != 0 || flags & O_TRUNC != 0 || is_terminal(inode);
    let refused = device(subject, Op::Open, inode);
    if refused != 0 {
        return refused;
    }
    let action = if writes { Action::Write } else { Action::Read };
    // To be held, a creation is held before the file is there.
    let more = if mode & FMODE_CREATED == 0 { OPENS } else { OPENS | NO_HOLD };
    let answer = question(subject, action, Op::Open, Place::of_file(file), more);
    if answer == PAID_FOR {
        passed::opened(subject, action, inode);
        return 0;
    }
    returned(answer)
}

/// Is this a file such as exec opens?
#[inline(always)]
fn is_program(inode: Ptr, flags: u32) -> bool {
    flags & O_ACCMODE == 0
        && load::<u16, _, _>(inode, at!(INODE_MODE)) & S_IFMT == S_IFREG
        && !is_queue(inode)
}

/// `s_magic` of the file system of POSIX message queues.
pub(super) const MQUEUE_MAGIC: u64 = 0x1980_0202;

/// Does this lie on the file system of POSIX message queues?
#[inline(always)]
pub(super) fn is_queue(inode: Ptr) -> bool {
    load::<u64, _, _>(object::file_system(inode), at!(SB_MAGIC)) == MQUEUE_MAGIC
}

/// Is this the file below a stacked file system's file? The upper one has been decided. The kernel opens it
/// with the mounter's credentials, lent for the time, on a mount that is in no namespace; a task can bring
/// about neither (io_uring's lending of credentials is refused). The flag the kernel has for it moves between
/// versions.
#[inline(always)]
pub(super) fn is_backing(subject: Subject, file: Ptr) -> bool {
    subject::borrows_credentials(subject.task)
        && kernel::peek::<1>(Place::of_file(file).mount_address() + off!(MOUNT_NS))[0] > walk::ERR_PTR
}

/// Devices other than those every program uses.
#[inline(always)]
pub(super) fn device(subject: Subject, op: Op, inode: Ptr) -> i32 {
    let kind = load::<u16, _, _>(inode, at!(INODE_MODE)) & S_IFMT;
    if kind == S_IFBLK || kind == S_IFCHR && !harmless(load(inode, at!(INODE_RDEV))) {
        return boundary(subject, BoundaryItem::Devices, op, load(inode, at!(INODE_RDEV)));
    }
    0
}

/// Is this a terminal by its own name? Not by the one by which a task reaches its own, nor by the one that makes a pair.
#[inline(always)]
pub(super) fn is_terminal(inode: Ptr) -> bool {
    if load::<u16, _, _>(inode, at!(INODE_MODE)) & S_IFMT != S_IFCHR {
        return false;
    }
    let rdev: u32 = load(inode, at!(INODE_RDEV));
    match (rdev >> 20, rdev & 0xf_ffff) {
        (4 | 136..=143 | 204 | 229, _) => true,
        (5, minor) => !matches!(minor, 0 | 2),
        _ => false,
    }
}

/// Is this a character device of that major number?
#[inline(always)]
pub(super) fn is_character(inode: Ptr, major: u32) -> bool {
    load::<u16, _, _>(inode, at!(INODE_MODE)) & S_IFMT == S_IFCHR
        && load::<u32, _, _>(inode, at!(INODE_RDEV)) >> 20 == major
}

/// Character devices that every program uses: null, zero, full, random, urandom, terminals, ptmx.
#[inline(always)]
fn harmless(rdev: u32) -> bool {
    match (rdev >> 20, rdev & 0xf_ffff) {
        (1, minor) => matches!(minor, 3 | 5 | 7 | 8 | 9),
        (4 | 5 | 136..=143 | 204 | 229, _) => true,
        _ => false,
    }
}

/// `int file_receive(struct file *file)`: over a unix socket, by pidfd_getfd, from a seccomp supervisor. What
/// the task could have opened itself it may receive.
#[lsm(hook = "file_receive")]
pub(crate) fn file_receive(ctx: LsmContext) -> i32 {
    let Some(subject) = subject::inside_seldom() else { return 0 };
    let file: Ptr = ctx.arg(0);
    let inode = follow(file, at!(FILE_INODE));
    if load::<u16, _, _>(inode, at!(INODE_MODE)) & S_IFMT == S_IFSOCK {
        return super::unix::received(subject, file);
    }
    let writes = load::<u32, _, _>(file, at!(FILE_MODE)) & FMODE_WRITE != 0 || is_terminal(inode);
    let refused = device(subject, Op::Open, inode);
    if refused != 0 {
        return refused;
    }
    let action = if writes { Action::Write } else { Action::Read };
    if passed::is_open(subject, action, inode) {
        return 0;
    }
    place(subject, action, Op::Receive, Place::of_file(file))
}
