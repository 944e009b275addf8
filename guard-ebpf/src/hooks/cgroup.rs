//! How a task comes under a policy: cgroups that are made, tasks that arrive in them.

use core::mem::MaybeUninit;

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use guard_common::abi::{CgroupEntry, Site};

use crate::hooks::life;
use crate::kernel::{self, Ptr, at, count, follow, member, off};
use crate::maps::CGROUPS;
use crate::{cgroups, launcher, spent, subject, whose};

/// `TP_PROTO(struct cgroup *cgrp, const char *path)`, include/trace/events/cgroup.h.
///
/// Runs before the directory can be seen (`kernfs_activate` comes later), so a cgroup below a governed one
/// is governed before anybody can enter it.
#[btf_tracepoint(function = "cgroup_mkdir")]
pub(crate) fn cgroup_mkdir(ctx: BtfTracePointContext) -> i32 {
    let cgroup: Ptr = ctx.arg(0);
    let path: *const u8 = ctx.arg(1);
    let id = cgroups::cgroup_id(cgroup);
    let parent = follow(member(cgroup, off!(CGROUP_SELF)), at!(CSS_PARENT));
    let mut entry = CgroupEntry { domain: 0, _pad: 0, session: id };
    if !parent.is_null() {
        let above = CGROUPS.get(&cgroups::cgroup_id(follow(parent, at!(CSS_CGROUP))));
        if !above.is_null() {
            // SAFETY: not null, an entry of the map.
            let above = unsafe { *above };
            entry.session = above.session;
            entry.domain = above.domain;
        }
    }
    entry.domain = crate::judge::cgroup_domain(path as u64, entry.domain);
    if entry.domain != 0 {
        if entry.session == id && !spent::open(id) {
            count(Site::CgroupMapFull);
        }
        cgroups::add_cgroup(id, &entry);
    }
    0
}

/// `TP_PROTO(struct cgroup *cgrp, const char *path)`.
#[btf_tracepoint(function = "cgroup_rmdir")]
pub(crate) fn cgroup_rmdir(ctx: BtfTracePointContext) -> i32 {
    let id = cgroups::cgroup_id(ctx.arg(0));
    if !CGROUPS.get(&id).is_null() {
        CGROUPS.delete(&id);
        whose::forget(id);
        spent::close(id);
    }
    0
}

/// `TP_PROTO(struct cgroup *dst_cgrp, const char *path, struct task_struct *task, bool threadgroup)`.
///
/// Fires for the group leader only; other threads take the leader's label at their next hook.
#[btf_tracepoint(function = "cgroup_attach_task")]
pub(crate) fn cgroup_attach_task(ctx: BtfTracePointContext) -> i32 {
    let cgroup: Ptr = ctx.arg(0);
    arrive(ctx.arg(2), cgroup);
    0
}

/// `TP_PROTO(struct task_struct *task, unsigned long clone_flags)`: the first to see a child that was cloned
/// into a cgroup, before it runs.
#[btf_tracepoint(function = "task_newtask")]
pub(crate) fn task_newtask(ctx: BtfTracePointContext) -> i32 {
    let task: Ptr = ctx.arg(0);
    let flags: u64 = ctx.arg(1);
    if life::forked(task, flags) || !cgroups::maybe_governed(task) {
        return 0;
    }
    arrive(task, follow(follow(kernel::loose(task), at!(TASK_CGROUPS)), at!(CSS_SET_CGROUP)));
    0
}

/// Labels a task that is now in `cgroup`. A launcher's label waits for its next exec.
#[inline(always)]
fn arrive(task: Ptr, cgroup: Ptr) {
    let entry = cgroups::governed(cgroup);
    let mut own = MaybeUninit::uninit();
    let own = subject::no_label(&mut own);
    if entry.is_null() || subject::is_daemon(task) || subject::own_label(task, own) {
        return;
    }
    // SAFETY: not null, an entry of the map.
    let entry = unsafe { *entry };
    let pending = launcher::runs_launcher(task);
    count(if pending { Site::LabelPending } else { Site::Labelled });
    let label = subject::entry_label(&entry, pending);
    if !subject::set(task, &label).is_null() && !pending {
        life::entered(task, &label);
    }
}
