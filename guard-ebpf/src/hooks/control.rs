//! What is done to an open file without reading or writing it: who hears of it, and whom it keeps waiting.
//!
//! A file sends its signals from wherever it becomes ready, also from the kernel's own threads, so they are not the
//! agent's any more when they are sent: whom they go to is decided where it is set. The value is the kernel's own copy
//! only where it is a number, so owners that are given by a pointer are refused.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use guard_common::abi::{BoundaryItem, Op};

use super::boundary;
use super::file::{is_character, is_terminal};
use crate::kernel::{self, Ptr, at, follow, load, off};
use crate::subject::{self, Subject};

const F_SETFL: u32 = 4;
const F_SETOWN: u32 = 8;
const F_SETOWN_EX: u32 = 15;
const F_SETLEASE: u32 = 1024;
const F_SETDELEG: u32 = 1040;
const F_UNLCK: u64 = 2;
const O_ASYNC: u64 = 0o20000;

/// `int file_fcntl(struct file *file, unsigned int cmd, unsigned long arg)`
#[lsm(hook = "file_fcntl")]
pub(crate) fn file_fcntl(ctx: LsmContext) -> i32 {
    let (command, argument): (u32, u64) = (ctx.arg(1), ctx.arg(2));
    match command {
        F_SETFL if argument & O_ASYNC != 0 => sets(ctx.arg(0), command, argument),
        F_SETOWN | F_SETOWN_EX | F_SETLEASE | F_SETDELEG => sets(ctx.arg(0), command, argument),
        _ => 0,
    }
}

#[inline(never)]
fn sets(file: Ptr, command: u32, argument: u64) -> i32 {
    let Some(subject) = subject::inside_seldom() else { return 0 };
    match command {
        F_SETFL => asynchronous(subject, file),
        F_SETOWN if argument as u32 == 0 || argument as u32 == own_number(subject.task) => 0,
        F_SETOWN | F_SETOWN_EX => owner(subject, argument as u32),
        F_SETLEASE if argument == F_UNLCK => 0,
        // A lease or a delegation keeps everybody waiting who opens the file: guard's daemon too.
        _ => boundary(subject, BoundaryItem::FileWatches, Op::Other, command),
    }
}

/// Signals of a file are not to go to others.
#[inline(always)]
pub(super) fn owner(subject: Subject, to: u32) -> i32 {
    boundary(subject, BoundaryItem::SignalsOutside, Op::Signal, to)
}

/// A terminal sends them to whoever is in its foreground (`tty_fasync`), anything else to who was set.
#[inline(always)]
pub(super) fn asynchronous(subject: Subject, file: Ptr) -> i32 {
    let inode = follow(file, at!(FILE_INODE));
    // Also by the names that mean a task's own: others can be in the foreground of that.
    if is_terminal(inode) || is_character(inode, 5) { owner(subject, 0) } else { 0 }
}

/// The number of a task's process in its own namespace, by which it names itself.
#[inline(always)]
fn own_number(task: Ptr) -> u32 {
    /// `struct upid`: a number, and a pointer.
    const UPID: u64 = 16;
    let leader = subject::leader(kernel::loose(task));
    let pid = load::<u64, _, _>(leader, at!(TASK_THREAD_PID));
    let level = kernel::peek::<1>(pid + off!(PID_LEVEL))[0] as u32;
    kernel::peek::<1>(pid + off!(PID_NUMBERS) + UPID * u64::from(level & 31))[0] as u32
}
