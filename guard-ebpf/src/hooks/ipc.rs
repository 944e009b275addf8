//! What processes share by a number or a name that no path has: System V's shared memory, semaphores and message queues,
//! and POSIX message queues. A session's own are its own business, anybody else's are `shared-ipc`.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use guard_common::abi::{BoundaryItem, Op};
use guard_common::table::{self, Words};

use super::file::{MQUEUE_MAGIC, is_queue};
use crate::hooks::boundary;
use crate::judge::Arena;
use crate::kernel::{self, Ptr, get, off};
use crate::maps::MADE;
use crate::subject;

/// Decides on any use of a System V object.
#[inline(always)]
fn uses(object: Ptr) -> i32 {
    let Some(subject) = subject::inside_seldom() else { return 0 };
    let made = MADE.get(&(object as u64));
    if !made.is_null() && get(made) == subject.session {
        return 0;
    }
    boundary(subject, BoundaryItem::SharedIpc, Op::Other, 0)
}

/// Remembers who makes an object. Memory that was a session's is forgotten when somebody outside gets it.
#[inline(always)]
fn makes(object: Ptr) -> i32 {
    let object = object as u64;
    match subject::inside_seldom() {
        Some(subject) => MADE.set(&object, &subject.session),
        None => MADE.delete(&object),
    };
    0
}

/// `int ipc_permission(struct kern_ipc_perm *ipcp, short flag)`: whatever goes by the object's mode.
#[lsm(hook = "ipc_permission")]
pub(crate) fn ipc_permission(ctx: LsmContext) -> i32 {
    uses(ctx.arg(0))
}

macro_rules! objects {
    ($($makes:ident $makes_name:literal $controls:ident $controls_name:literal $tells:literal;)*) => {
        $(
            #[doc = concat!("`int ", $makes_name, "(struct kern_ipc_perm *perm)`")]
            #[lsm(hook = $makes_name)]
            pub(crate) fn $makes(ctx: LsmContext) -> i32 {
                makes(ctx.arg(0))
            }

            #[doc = concat!("`int ", $controls_name, "(struct kern_ipc_perm *perm, int cmd)`: what goes by who owns the object. ")]
            /// What tells about all objects at once comes without one.
            #[lsm(hook = $controls_name)]
            pub(crate) fn $controls(ctx: LsmContext) -> i32 {
                let command: u32 = ctx.arg(1);
                if matches!(command, IPC_INFO | $tells) { 0 } else { uses(ctx.arg(0)) }
            }
        )*
    };
}

const IPC_INFO: u32 = 3;

// SHM_INFO, MSG_INFO and SEM_INFO.
objects! {
    shm_alloc_security "shm_alloc_security" shm_shmctl "shm_shmctl" 14;
    msg_queue_alloc_security "msg_queue_alloc_security" msg_queue_msgctl "msg_queue_msgctl" 12;
    sem_alloc_security "sem_alloc_security" sem_semctl "sem_semctl" 19;
}

/// Decides a change of a message queue's name, which mq_open and mq_unlink make without a path.
#[inline(always)]
fn renames(directory: Ptr, op: Op) -> i32 {
    if !is_queue(directory) {
        return 0;
    }
    match subject::inside_seldom() {
        Some(subject) => boundary(subject, BoundaryItem::SharedIpc, op, 0),
        None => 0,
    }
}

/// `int inode_create(struct inode *dir, struct dentry *dentry, umode_t mode)`
#[lsm(hook = "inode_create")]
pub(crate) fn inode_create(ctx: LsmContext) -> i32 {
    renames(ctx.arg(0), Op::Create)
}

/// `int inode_unlink(struct inode *dir, struct dentry *dentry)`
#[lsm(hook = "inode_unlink")]
pub(crate) fn inode_unlink(ctx: LsmContext) -> i32 {
    renames(ctx.arg(0), Op::Unlink)
}

/// Is the dentry at this address a message queue's, and does the policy open those? The kernel opens them on a mount of
/// its own, where they have no path.
#[inline(always)]
pub(super) fn opens(dentry: u64, domain: u32) -> bool {
    let [sb] = kernel::peek(dentry + off!(DENTRY_SB));
    let [magic] = kernel::peek(sb + off!(SB_MAGIC));
    let Some(arena) = Arena::live() else { return false };
    let open = arena.word(table::domain_at(domain) + table::domain::BOUNDARY);
    magic == MQUEUE_MAGIC && open & BoundaryItem::SharedIpc.bit() != 0
}
