//! Files whose nature matters more than their name: the kernel's knobs, wherever they are mounted.

use guard_common::abi::offsets::ABSENT;
use guard_common::abi::{Action, BoundaryItem, Reason};

use crate::hooks::item::judge_boundary;
use crate::kernel::{self, Ptr, at, follow, load, off};

const PROCFS: u64 = 0x9fa0;

/// Refuses a change in a file system of knobs unless the policy opens its item; 0 otherwise.
#[inline(always)]
pub(crate) fn judge(task: Ptr, dentry: Ptr, case: u64, session: u64) -> i64 {
    let Some(item) = of(task, dentry) else { return 0 };
    let case = case & !(0xff << 32) | (Action::Boundary as u64) << 32;
    judge_boundary(case, session, item.bit(), Reason::Boundary as u64 | (item as u64) << 16)
}

/// What a change of this file would be.
#[inline(always)]
fn of(task: Ptr, dentry: Ptr) -> Option<BoundaryItem> {
    let sb = follow(dentry, at!(DENTRY_SB));
    match load::<u64, _, _>(sb, at!(SB_MAGIC)) {
        // cgroup2, cgroup
        0x6367_7270 | 0x0027_e0eb => Some(BoundaryItem::Cgroups),
        // sysfs, debugfs, tracefs, securityfs, configfs, efivarfs, selinuxfs, binfmt_misc
        0x6265_6572 | 0x6462_6720 | 0x7472_6163 | 0x7363_6673 | 0x6265_6570 | 0xde5e_81e4 | 0xf97c_ff8c
        | 0x4249_4e4d => Some(BoundaryItem::SysKnobs),
        0xcafe_4a11 => Some(BoundaryItem::Bpf),
        PROCFS => process_file(task, dentry, sb),
        _ => None,
    }
}

/// Of procfs, a task may write what is below its own directory, but not the login id that records carry.
#[inline(always)]
fn process_file(task: Ptr, dentry: Ptr, sb: Ptr) -> Option<BoundaryItem> {
    if starts(dentry, b'l') && name(dentry) == Some(*b"loginuid") {
        return Some(BoundaryItem::ProcKnobs);
    }
    if !below_a_process(dentry, sb) {
        return Some(BoundaryItem::ProcKnobs);
    }
    if own(task, dentry) { None } else { Some(BoundaryItem::TasksOutside) }
}

#[inline(always)]
fn below_a_process(dentry: Ptr, sb: Ptr) -> bool {
    let root = follow(sb, at!(SB_ROOT)) as u64;
    let mut at = dentry;
    for _ in 0..8 {
        let parent = follow(at, at!(DENTRY_PARENT));
        if parent as u64 == root {
            return kernel::read::<u8>(name_at(at)).is_some_and(|first| first.is_ascii_digit());
        }
        at = parent;
    }
    false
}

/// Whether a file of procfs is about the task itself or its process. The inode knows whose it is; a number
/// would mean another task in another process namespace.
#[inline(always)]
fn own(task: Ptr, dentry: Ptr) -> bool {
    let inode = follow(dentry, at!(DENTRY_INODE));
    if inode.is_null() || off!(PROC_INODE_PID) == ABSENT {
        return false;
    }
    let of = inode as u64 - off!(PROC_INODE_VFS);
    let [whose] = kernel::peek(of + off!(PROC_INODE_PID));
    whose != 0
        && (whose == follow(kernel::loose(task), at!(TASK_THREAD_PID)) as u64
            || whose
                == follow(follow(kernel::loose(task), at!(TASK_GROUP_LEADER)), at!(TASK_THREAD_PID)) as u64)
}

#[inline(always)]
fn name_at(dentry: Ptr) -> u64 {
    load(dentry, at!(DENTRY_NAME, 8))
}

#[inline(always)]
fn starts(dentry: Ptr, with: u8) -> bool {
    kernel::read::<u8>(name_at(dentry)) == Some(with)
}

#[inline(always)]
fn name(dentry: Ptr) -> Option<[u8; 8]> {
    kernel::read(name_at(dentry))
}
