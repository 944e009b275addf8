//! Cgroups: which one a task is in, and whether it is governed.

use core::ptr;

use aya_ebpf::helpers::generated as helpers;
use guard_common::abi::{CgroupEntry, Site};
use guard_common::limits::CGROUP_FILTER_BITS;

use crate::kernel::{self, Ptr, at, count, follow, load, member, off};
use crate::maps::{CGROUP_FILTER, CGROUPS};

/// The id of the running task's cgroup. By the helper: the verifier of kernels up to 6.17 searches all types by name
/// for each member on the way there (`btf_nested_type_is_trusted`), in each program.
#[inline(always)]
pub(crate) fn current_cgroup() -> u64 {
    // SAFETY: takes nothing.
    unsafe { helpers::bpf_get_current_cgroup_id() }
}

/// The id of a task's cgroup.
#[inline(always)]
pub(crate) fn cgroup_of(task: Ptr) -> u64 {
    cgroup_id(follow(follow(kernel::loose(task), at!(TASK_CGROUPS)), at!(CSS_SET_CGROUP)))
}

#[inline(always)]
pub(crate) fn cgroup_id(cgroup: Ptr) -> u64 {
    load(follow(cgroup, at!(CGROUP_KN)), at!(KERNFS_ID))
}

#[inline(always)]
pub(crate) fn filter_hit(cgroup: u64) -> bool {
    kernel::get(filter_word(cgroup)) >> (cgroup & 63) & 1 != 0
}

/// The word of the filter with a cgroup's bit.
#[inline(always)]
fn filter_word(cgroup: u64) -> *mut u64 {
    const BYTES: u64 = CGROUP_FILTER_BITS as u64 / 8;
    CGROUP_FILTER.at_byte(kernel::masked(cgroup >> 3, BYTES - 8))
}

/// Adds a cgroup, and its bit first: an entry without its bit would be overlooked.
#[inline(always)]
pub(crate) fn add_cgroup(id: u64, entry: &CgroupEntry) {
    kernel::or(filter_word(id), 1 << (id & 63));
    if CGROUPS.set(&id, entry) == 0 {
        count(Site::CgroupAdded);
    } else {
        count(Site::CgroupMapFull);
    }
}

/// The entry of the nearest governed cgroup at or above `cgroup`.
#[inline(always)]
pub(crate) fn governed(cgroup: Ptr) -> *mut CgroupEntry {
    let mut at = cgroup;
    for _ in 0..12 {
        let entry = CGROUPS.get(&cgroup_id(at));
        if !entry.is_null() {
            return entry;
        }
        let parent = follow(member(at, off!(CGROUP_SELF)), at!(CSS_PARENT));
        if parent.is_null() {
            break;
        }
        at = follow(parent, at!(CSS_CGROUP));
    }
    ptr::null_mut()
}

/// Could this be a governed cgroup? No false no.
#[inline(always)]
pub(crate) fn maybe_governs(cgroup: u64) -> bool {
    filter_hit(cgroup)
}

/// Could the task's cgroup be a governed one? No false no.
#[inline(always)]
pub(crate) fn maybe_governed(task: Ptr) -> bool {
    filter_hit(cgroup_of(task))
}
