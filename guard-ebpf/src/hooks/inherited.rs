//! Files that were open before the task came in: a write through one is decided as if it were opened now.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use guard_common::abi::offsets::ABSENT;
use guard_common::abi::{Action, BoundaryItem, Op};
use guard_common::table::{self, Words};

use crate::hooks::file::{device, is_backing};
use crate::hooks::place;
use crate::judge::Arena;
use crate::kernel::{self, Ptr, at, follow, get, load, off, put};
use crate::object::{self, Place, Scratch};
use crate::{passed, subject};

const MAY_WRITE: u32 = 2;
const MAY_APPEND: u32 = 8;
const S_IFMT: u16 = 0o170_000;
const S_IFREG: u16 = 0o100_000;
const S_IFBLK: u16 = 0o060_000;
const S_IFCHR: u16 = 0o020_000;
const S_IFSOCK: u16 = 0o140_000;

/// Files that a task may write, remembered: a write is frequent and a path is long.
pub(crate) const REMEMBERED: usize = 4;

/// A file that may be written under one generation of policy.
///
/// The pointer alone would do for an outsider's file: it was open before the label, so it cannot be a new
/// one at an old address. A file of the task's own was decided when it was opened.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Approved {
    dentry: u64,
    inode: u64,
    generation: u64,
    domain: u64,
}

/// `int file_permission(struct file *file, int mask)`: every read and write. Of sockets only where splice and
/// sendfile have a way of their own to them, which passes no send hook.
#[lsm(hook = "file_permission")]
pub(crate) fn file_permission(ctx: LsmContext) -> i32 {
    let mask: u32 = ctx.arg(1);
    if mask & (MAY_WRITE | MAY_APPEND) == 0 {
        return 0;
    }
    let file: Ptr = ctx.arg(0);
    let inode = follow(file, at!(FILE_INODE));
    let kind = load::<u16, _, _>(inode, at!(INODE_MODE)) & S_IFMT;
    if kind != S_IFREG {
        // Of all comparisons in one the compiler makes a dozen instructions, for regular files too.
        match kernel::opaque(kind.into()) as u16 {
            S_IFBLK => {}
            S_IFCHR => return to_device(file),
            S_IFSOCK if off!(PROTOCOL_SENDPAGE) != ABSENT => return to_socket(file),
            _ => return 0,
        }
    }
    if subject::outside() { 0 } else { through(file) }
}

/// A write to a tunnel's device is a packet that has passed no socket; one to a device of any other kind is what opening it
/// is refused for.
#[inline(never)]
fn to_device(file: Ptr) -> i32 {
    let Some(subject) = subject::inside_seldom() else { return 0 };
    device(subject, Op::Inherited, follow(file, at!(FILE_INODE)))
}

#[inline(never)]
fn to_socket(file: Ptr) -> i32 {
    super::net::written(file)
}

#[inline(never)]
fn through(file: Ptr) -> i32 {
    let Some(subject) = subject::within() else { return 0 };
    let inode = follow(file, at!(FILE_INODE));
    if is_backing(subject, file) {
        return 0;
    }
    let Some(arena) = Arena::live() else { return -crate::hooks::EPERM };
    let opened = arena.word(table::domain_at(subject.domain) + table::domain::BOUNDARY);
    if opened & BoundaryItem::InheritedFds.bit() != 0 {
        return 0;
    }
    let scratch = object::scratch(subject.task);
    if scratch.is_null() {
        return -crate::hooks::EPERM;
    }
    let at = Place::of_file(file);
    let number: u64 = load(inode, at!(INODE_INO));
    let now = Approved {
        dentry: at.dentry as u64,
        inode: number,
        generation: arena.word(table::AT_GENERATION),
        domain: u64::from(subject.domain),
    };
    let slot = slot(scratch, number);
    if known(slot, &now) {
        return 0;
    }
    let refused = if passed::is_open(subject, Action::Write, inode) {
        0
    } else {
        place(subject, Action::Write, Op::Inherited, at)
    };
    if refused == 0 {
        remember(slot, &now);
    }
    refused
}

#[inline(always)]
fn slot(scratch: *mut Scratch, number: u64) -> *mut Approved {
    let at = kernel::masked(number, REMEMBERED as u64 - 1) as usize;
    // SAFETY: a map value; the index is masked.
    unsafe { (&raw mut (*scratch).approved).cast::<Approved>().add(at) }
}

#[inline(always)]
fn known(slot: *mut Approved, now: &Approved) -> bool {
    // SAFETY: `slot` lies in a map value.
    unsafe {
        get(&raw const (*slot).inode) == now.inode
            && get(&raw const (*slot).dentry) == now.dentry
            && get(&raw const (*slot).generation) == now.generation
            && get(&raw const (*slot).domain) == now.domain
    }
}

#[inline(always)]
fn remember(slot: *mut Approved, now: &Approved) {
    // SAFETY: `slot` lies in a map value.
    unsafe {
        put(&raw mut (*slot).dentry, now.dentry);
        put(&raw mut (*slot).inode, now.inode);
        put(&raw mut (*slot).generation, now.generation);
        put(&raw mut (*slot).domain, now.domain);
    }
}
