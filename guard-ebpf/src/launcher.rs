//! Launchers: programs that prepare a service inside its cgroup before they hand over to it.

use guard_common::abi::InodeKey;
use guard_common::abi::offsets::ABSENT;

use crate::kernel::{self, Ptr, at, follow, load, off, word};
use crate::maps::LAUNCHERS;
use crate::subject;

/// Does the task run a program that prepares services?
#[inline(always)]
pub(crate) fn runs_launcher(task: Ptr) -> bool {
    let mm = follow(kernel::loose(task), at!(TASK_MM));
    if mm.is_null() {
        return false;
    }
    let file = follow(mm, at!(MM_EXE_FILE));
    !file.is_null() && is_launcher(follow(file, at!(FILE_INODE)))
}

/// Are the task's mounts those of the host's first process?
#[inline(always)]
pub(crate) fn has_hosts_mounts(task: Ptr) -> bool {
    let own = subject::mounts(task);
    kernel::peek(word!(INIT_NSPROXY).wrapping_add(off!(NSPROXY_MNT))) == [own]
}

/// Is this inode a program that prepares services?
#[inline(always)]
pub(crate) fn is_launcher(inode: Ptr) -> bool {
    if inode.is_null() {
        return false;
    }
    let sb = crate::object::file_system(inode);
    let key = if is_sealed(inode, sb) {
        InodeKey { ino: load(inode, at!(INODE_SIZE)), dev: InodeKey::COPY, _pad: 0 }
    } else {
        InodeKey { ino: load(inode, at!(INODE_INO)), dev: load(sb, at!(SB_DEV)), _pad: 0 }
    };
    !LAUNCHERS.get(&key).is_null()
}

/// Is this root's own memory file, sealed so that nobody can change it any more? runc and crun make such a copy of
/// themselves and run that. What is in it is not compared: whoever is outside, as root, and wants a program to run
/// outside need not disguise it as a launcher.
#[inline(always)]
fn is_sealed(inode: Ptr, sb: Ptr) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    /// F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW and F_SEAL_WRITE.
    const SEALED: u32 = 0xf;
    if load::<u64, _, _>(sb, at!(SB_MAGIC)) != TMPFS
        || off!(SHMEM_SEALS) == ABSENT
        || off!(SHMEM_INODE) == ABSENT
    {
        return false;
    }
    let seals = (inode as u64).wrapping_sub(off!(SHMEM_INODE)).wrapping_add(off!(SHMEM_SEALS));
    load::<u32, _, _>(inode, at!(INODE_UID)) == 0
        && kernel::read::<u32>(seals).is_some_and(|seals| seals & SEALED == SEALED)
}
