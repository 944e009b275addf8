//! The boundary: what is refused whole, whatever its object.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use guard_common::abi::{BoundaryItem, CAPS_LENT, Op};

use crate::hooks::{boundary, capability};
use crate::kernel::{self, Ptr, at, follow};
use crate::subject;

#[inline(always)]
fn refuse(item: BoundaryItem, op: Op) -> i32 {
    match subject::inside_seldom() {
        Some(subject) => boundary(subject, item, op, 0),
        None => 0,
    }
}

/// `int capable(const struct cred *cred, struct user_namespace *ns, int cap, unsigned int opts)`
#[lsm(hook = "capable")]
pub(crate) fn capable(ctx: LsmContext) -> i32 {
    /// A question whose answer nobody logs.
    const CAP_OPT_NOAUDIT: u32 = 2;
    let Some(subject) = subject::inside_seldom() else { return 0 };
    let (cap, opts): (u32, u32) = (ctx.arg(2), ctx.arg(3));
    if cap < 64 && 1u64 << cap & CAPS_LENT != 0 && subject::lent_by_kernel(subject.task) {
        return 0;
    }
    capability(subject, cap, opts & CAP_OPT_NOAUDIT != 0)
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $hook:ident $name:literal $item:ident $op:ident;)*) => {
        $(
            $(#[$doc])*
            #[lsm(hook = $name)]
            pub(crate) fn $hook(_: LsmContext) -> i32 {
                refuse(BoundaryItem::$item, Op::$op)
            }
        )*
    };
}

refusals! {
    /// `int userns_create(const struct cred *cred)`
    userns_create "userns_create" UserNamespaces Namespace;
    /// `int sb_mount(const char *dev_name, const struct path *path, const char *type, unsigned long flags, void *data)`
    sb_mount "sb_mount" Mounts Mount;
    /// `int sb_remount(struct super_block *sb, void *mnt_opts)`
    sb_remount "sb_remount" Mounts Mount;
    /// `int sb_umount(struct vfsmount *mnt, int flags)`
    sb_umount "sb_umount" Mounts Mount;
    /// `int sb_pivotroot(const struct path *old_path, const struct path *new_path)`
    sb_pivotroot "sb_pivotroot" Mounts Mount;
    /// `int move_mount(const struct path *from_path, const struct path *to_path)`
    move_mount "move_mount" Mounts Mount;
    /// `int path_chroot(const struct path *path)`
    path_chroot "path_chroot" Chroot Mount;
    /// `int bpf(int cmd, union bpf_attr *attr, unsigned int size, bool kernel)`; three arguments up to 6.14.
    bpf "bpf" Bpf Other;
    /// `int perf_event_open(int type)`; `struct perf_event_attr *attr, int type` up to 6.14.
    perf_event_open "perf_event_open" Perf Other;
    /// `int kernel_module_request(char *kmod_name)`
    kernel_module_request "kernel_module_request" Modules Other;
    /// `int kernel_load_data(enum kernel_load_data_id id, bool contents)`
    kernel_load_data "kernel_load_data" Modules Other;
    /// `int kernel_read_file(struct file *file, enum kernel_read_file_id id, bool contents)`
    kernel_read_file "kernel_read_file" Modules Other;
    /// `int settime(const struct timespec64 *ts, const struct timezone *tz)`
    settime "settime" Machine Other;
    /// `int quota_on(struct dentry *dentry)`
    quota_on "quota_on" Machine Other;
    /// `int uring_sqpoll(void)`
    uring_sqpoll "uring_sqpoll" IoUringSpecial Other;
    /// `int uring_cmd(struct io_uring_cmd *ioucmd)`
    uring_cmd "uring_cmd" IoUringSpecial Other;
    /// `int uring_override_creds(const struct cred *new)`
    uring_override_creds "uring_override_creds" IoUringSpecial Other;
    /// `int cred_alloc_blank(struct cred *cred, gfp_t gfp)`: for KEYCTL_SESSION_TO_PARENT alone, which gives the parent
    /// the caller's keyring.
    cred_alloc_blank "cred_alloc_blank" TasksOutside Other;
    /// `int tun_dev_create(void)`
    tun_dev_create "tun_dev_create" SocketFamilies Socket;
}

/// `int key_alloc(struct key *key, const struct cred *cred, unsigned long flags)`
#[lsm(hook = "key_alloc")]
pub(crate) fn key_alloc(ctx: LsmContext) -> i32 {
    let Some(subject) = subject::inside_seldom() else { return 0 };
    let name = follow(follow(ctx.arg::<Ptr>(0), at!(KEY_TYPE)), at!(KEY_TYPE_NAME));
    // Keys of these types are only ever made of the caller's own bytes; others call a helper program.
    match kernel::read::<[u8; 8]>(name as u64) {
        Some([b'u', b's', b'e', b'r', 0, ..] | [b'l', b'o', b'g', b'o', b'n', 0, ..]) => 0,
        Some(
            [b'k', b'e', b'y', b'r', b'i', b'n', b'g', 0] | [b'b', b'i', b'g', b'_', b'k', b'e', b'y', 0],
        ) => 0,
        _ => boundary(subject, BoundaryItem::KeyUpcalls, Op::Other, 0),
    }
}
