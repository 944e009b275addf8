//! Tasks: what they inherit, and what they may do to others.

use core::mem::MaybeUninit;

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use guard_common::abi::{BoundaryItem, LabelFlags, Op, Site};

use crate::hooks::{EPERM, boundary};
use crate::kernel::{Ptr, at, count, load, off};
use crate::subject::{self, Subject};
use crate::{confine, rejoin};

const CLONE_INTO_CGROUP: u64 = 1 << 33;
const EAGAIN: i32 = 11;
const ENOMEM: i32 = 12;

/// `int task_alloc(struct task_struct *task, u64 clone_flags)`; `unsigned long` up to 6.15.
#[lsm(hook = "task_alloc")]
pub(crate) fn task_alloc(ctx: LsmContext) -> i32 {
    let child: Ptr = ctx.arg(0);
    let flags: u64 = ctx.arg(1);
    // A pending label is inherited too, so this asks for the label, not for a subject.
    let label = subject::current_label();
    if label.domain == 0 {
        return 0;
    }
    let task = crate::kernel::current();
    if flags & CLONE_INTO_CGROUP != 0 && label.flags & LabelFlags::PENDING == 0 {
        let boxed = label.flags & LabelFlags::SANDBOXED != 0;
        let subject = Subject { task, domain: label.domain, session: label.session, boxed };
        let refused = boundary(subject, BoundaryItem::Cgroups, Op::Fork, 0);
        if refused != 0 {
            return refused;
        }
    }
    if subject::set(child, &label).is_null() {
        if off!(STORAGE_BUSY) == 0 {
            return -ENOMEM;
        }
        let found = flags & CLONE_INTO_CGROUP == 0 && subject::found_by_cgroup(task, &label);
        return if found { 0 } else { -EAGAIN };
    }
    count(Site::LabelInherited);
    0
}

/// Is the other task of the same session, or nobody's business? A launcher that prepares is not inside yet: whoever
/// could steer it would act outside.
#[inline(always)]
fn same_session(subject: Subject, other: Ptr) -> bool {
    let mut label = MaybeUninit::uninit();
    let label = subject::no_label(&mut label);
    if !subject::own_label(other, label) && !subject::own_label(subject::leader(other), label) {
        return load::<u32, _, _>(other, at!(TASK_TGID)) == load::<u32, _, _>(subject.task, at!(TASK_TGID));
    }
    label.session == subject.session && label.flags & LabelFlags::PENDING == 0
}

/// Of another task of the session, or of the same process: is it bound by all that binds the running one? Whoever is in a
/// sandbox would act through one that is not. Of a task that has not made a call since policies changed, what binds it is
/// not known yet; that it is in no sandbox is.
#[inline(always)]
fn is_as_bound(subject: Subject, other: Ptr) -> bool {
    if load::<u32, _, _>(other, at!(TASK_TGID)) == load::<u32, _, _>(subject.task, at!(TASK_TGID)) {
        return true;
    }
    let mut label = MaybeUninit::uninit();
    let label = subject::no_label(&mut label);
    if !subject::own_label(other, label) && !subject::own_label(subject::leader(other), label) {
        return false;
    }
    let moved = confine::moved(other);
    let domain = if moved != 0 { moved } else { label.domain };
    (!subject.boxed && !rejoin::is_renewed(label)) || rejoin::binds_as_much(subject.domain, domain)
}

#[inline(always)]
fn reach(other: Ptr, item: BoundaryItem, op: Op) -> i32 {
    reached(subject::inside_seldom(), other, item, op)
}

#[inline(always)]
fn reached(subject: Option<Subject>, other: Ptr, item: BoundaryItem, op: Op) -> i32 {
    match subject {
        Some(subject) if !same_session(subject, other) => {
            boundary(subject, item, op, load(other, at!(TASK_TGID)))
        }
        _ => 0,
    }
}

/// The kernel's own signals: the second argument is this value, not a pointer.
const SEND_SIG_PRIV: u64 = 1;

/// `int task_kill(struct task_struct *p, struct kernel_siginfo *info, int sig, const struct cred *cred)`
#[lsm(hook = "task_kill")]
pub(crate) fn task_kill(ctx: LsmContext) -> i32 {
    let info: *const u8 = ctx.arg(1);
    if info as u64 == SEND_SIG_PRIV {
        return 0;
    }
    if subject::outside() { 0 } else { signals(ctx.arg(0)) }
}

#[inline(never)]
fn signals(other: Ptr) -> i32 {
    reached(subject::within(), other, BoundaryItem::SignalsOutside, Op::Signal)
}

/// `int ptrace_access_check(struct task_struct *child, unsigned int mode)`: also for another's memory and descriptors, by
/// procfs, `process_vm_writev` or `pidfd_getfd`.
#[lsm(hook = "ptrace_access_check")]
pub(crate) fn ptrace_access_check(ctx: LsmContext) -> i32 {
    /// `PTRACE_MODE_NOAUDIT`: a look at a field of procfs that just stays empty.
    const NOAUDIT: u32 = 4;
    let child: Ptr = ctx.arg(0);
    let mode: u32 = ctx.arg(1);
    match subject::inside_seldom() {
        Some(subject) if !same_session(subject, child) || !is_as_bound(subject, child) => {
            if mode & NOAUDIT != 0 && mode & 2 == 0 {
                return -EPERM;
            }
            boundary(subject, BoundaryItem::PtraceOutside, Op::Trace, load(child, at!(TASK_TGID)))
        }
        _ => 0,
    }
}

/// `int ptrace_traceme(struct task_struct *parent)`
#[lsm(hook = "ptrace_traceme")]
pub(crate) fn ptrace_traceme(ctx: LsmContext) -> i32 {
    reach(ctx.arg(0), BoundaryItem::PtraceOutside, Op::Trace)
}

/// `int task_setscheduler(struct task_struct *p)`
#[lsm(hook = "task_setscheduler")]
pub(crate) fn task_setscheduler(ctx: LsmContext) -> i32 {
    reach(ctx.arg(0), BoundaryItem::TasksOutside, Op::Other)
}

/// `int task_setnice(struct task_struct *p, int nice)`
#[lsm(hook = "task_setnice")]
pub(crate) fn task_setnice(ctx: LsmContext) -> i32 {
    reach(ctx.arg(0), BoundaryItem::TasksOutside, Op::Other)
}

/// `int task_setioprio(struct task_struct *p, int ioprio)`
#[lsm(hook = "task_setioprio")]
pub(crate) fn task_setioprio(ctx: LsmContext) -> i32 {
    reach(ctx.arg(0), BoundaryItem::TasksOutside, Op::Other)
}

/// `int task_setrlimit(struct task_struct *p, unsigned int resource, struct rlimit *new_rlim)`
#[lsm(hook = "task_setrlimit")]
pub(crate) fn task_setrlimit(ctx: LsmContext) -> i32 {
    reach(ctx.arg(0), BoundaryItem::TasksOutside, Op::Other)
}

/// `int task_movememory(struct task_struct *p)`
#[lsm(hook = "task_movememory")]
pub(crate) fn task_movememory(ctx: LsmContext) -> i32 {
    reach(ctx.arg(0), BoundaryItem::TasksOutside, Op::Other)
}

/// `int file_send_sigiotask(struct task_struct *tsk, struct fown_struct *fown, int sig)`: the running task is
/// whoever made the file ready; what counts is that an agent's file reaches no outsider.
#[lsm(hook = "file_send_sigiotask")]
pub(crate) fn file_send_sigiotask(ctx: LsmContext) -> i32 {
    reach(ctx.arg(0), BoundaryItem::SignalsOutside, Op::Signal)
}
