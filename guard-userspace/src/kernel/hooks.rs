//! The hooks guard attaches, and what each promises: one line a hook, and everything about it on that line.

use serde::Serialize;

/// How a hook's program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An LSM hook: its return value is the enforcement.
    Lsm,
    /// A typed tracepoint: only tells.
    Tracepoint,
    /// A program of the root cgroup that is asked for each write below /proc/sys.
    Sysctl,
    /// A program of the root cgroup that is asked for each packet a socket sends.
    Egress,
    /// A program of the root cgroup that is asked for an address; the number is the type of attachment.
    Address(u32),
    /// A program of the root cgroup that is asked for each IPv4 or IPv6 socket.
    Socket,
}

/// How much of what a policy says this kernel lets guard enforce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// LSM programs are called: everything.
    Full,
    /// They are not: the network alone, by programs of the root cgroup.
    Partial,
}

impl Tier {
    /// What `guard status` says of it where it is not everything.
    pub const PARTIAL: &'static str = "bpf is not in the kernel's list of security modules, so only the network is \
        enforced, by cgroup programs. NOT covered: files, programs, capabilities, signals, tracing, unix sockets, \
        packet, vsock and other families, socket options beyond what packets show, listening on a port that a task \
        did not bind, sockets made or connected outside, and records of what is allowed; what would be boxed or held \
        is refused. Boot with lsm=…,bpf";
}

/// Whether a kernel must have the hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// No enforcing without it.
    Always,
    /// Kernels without it have no such call, or another hook sees it there; the text says which.
    IfPresent(&'static str),
}

/// One hook.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// The kernel's name, which is also the program's.
    pub name: &'static str,
    pub kind: Kind,
    pub need: Need,
    /// Arguments the program reads: position and type as [`super::btf::Btf::arguments`] spells it.
    pub reads: &'static [(usize, &'static str)],
}

const fn lsm(name: &'static str, reads: &'static [(usize, &'static str)]) -> Hook {
    Hook { name, kind: Kind::Lsm, need: Need::Always, reads }
}

const fn some(name: &'static str, reads: &'static [(usize, &'static str)], why: &'static str) -> Hook {
    Hook { name, kind: Kind::Lsm, need: Need::IfPresent(why), reads }
}

/// Attached where no LSM program is called, and only there.
const fn address(name: &'static str, kind: u32) -> Hook {
    Hook { name, kind: Kind::Address(kind), need: Need::Always, reads: &[] }
}

const fn tracepoint(name: &'static str, reads: &'static [(usize, &'static str)]) -> Hook {
    Hook { name, kind: Kind::Tracepoint, need: Need::Always, reads }
}

/// Every hook, in the order in which they are attached: what labels tasks comes first.
pub const HOOKS: &[Hook] = &[
    Hook { name: "sysctl", kind: Kind::Sysctl, need: Need::Always, reads: &[] },
    lsm("task_alloc", &[(0, "*task_struct"), (1, "int")]),
    tracepoint("cgroup_mkdir", &[(0, "*cgroup"), (1, "*")]),
    tracepoint("cgroup_rmdir", &[(0, "*cgroup")]),
    tracepoint("cgroup_attach_task", &[(0, "*cgroup"), (2, "*task_struct")]),
    tracepoint("task_newtask", &[(0, "*task_struct"), (1, "int")]),
    tracepoint("sched_process_exit", &[(0, "*task_struct")]),
    lsm("bprm_creds_for_exec", &[(0, "*linux_binprm")]),
    lsm("bprm_check_security", &[(0, "*linux_binprm")]),
    lsm("bprm_committed_creds", &[(0, "*linux_binprm")]),
    lsm("file_open", &[(0, "*file")]),
    lsm("file_permission", &[(0, "*file"), (1, "int")]),
    lsm("mmap_file", &[(0, "*file"), (2, "int"), (3, "int")]),
    lsm("file_mprotect", &[(0, "*vm_area_struct"), (2, "int")]),
    lsm("file_receive", &[(0, "*file")]),
    lsm("path_mknod", &[(0, "*path"), (1, "*dentry"), (2, "int"), (3, "int")]),
    lsm("path_mkdir", &[(0, "*path"), (1, "*dentry")]),
    lsm("path_rmdir", &[(0, "*path"), (1, "*dentry")]),
    lsm("path_unlink", &[(0, "*path"), (1, "*dentry")]),
    lsm("path_symlink", &[(0, "*path"), (1, "*dentry")]),
    lsm("path_link", &[(0, "*dentry"), (1, "*path"), (2, "*dentry")]),
    lsm("path_rename", &[(0, "*path"), (1, "*dentry"), (2, "*path"), (3, "*dentry"), (4, "int")]),
    lsm("path_truncate", &[(0, "*path")]),
    some("file_truncate", &[(0, "*file")], "before 6.2 path_truncate sees ftruncate too"),
    lsm("path_chmod", &[(0, "*path")]),
    lsm("path_chown", &[(0, "*path")]),
    Hook { name: "egress", kind: Kind::Egress, need: Need::Always, reads: &[] },
    lsm("socket_create", &[(0, "int"), (1, "int"), (2, "int"), (3, "int")]),
    lsm("socket_connect", &[(0, "*socket"), (1, "*sockaddr"), (2, "int")]),
    lsm("socket_sendmsg", &[(0, "*socket"), (1, "*msghdr")]),
    lsm("socket_bind", &[(0, "*socket"), (1, "*sockaddr"), (2, "int")]),
    lsm("socket_listen", &[(0, "*socket")]),
    lsm("socket_accept", &[(0, "*socket")]),
    lsm("socket_setsockopt", &[(0, "*socket"), (1, "int"), (2, "int")]),
    lsm("netlink_send", &[(0, "*sock"), (1, "*sk_buff")]),
    some("sctp_bind_connect", &[(0, "*sock")], "a kernel without it has no SCTP"),
    some("mptcp_add_subflow", &[(0, "*sock")], "before 6.4 the socket is refused where it is made"),
    lsm("unix_stream_connect", &[(1, "*sock"), (2, "*sock")]),
    lsm("unix_may_send", &[(1, "*socket")]),
    lsm("inode_setattr", &[]),
    lsm("inode_setxattr", &[(1, "*dentry")]),
    lsm("inode_removexattr", &[(1, "*dentry")]),
    some("inode_set_acl", &[(1, "*dentry")], "before 6.2 inode_setxattr sees access control lists"),
    some("inode_remove_acl", &[(1, "*dentry")], "before 6.2 inode_removexattr sees access control lists"),
    some("inode_file_setattr", &[(0, "*dentry")], "before 6.17 only ioctls set these attributes"),
    lsm("file_fcntl", &[(0, "*file"), (1, "int"), (2, "int")]),
    lsm("file_ioctl", &[(0, "*file"), (1, "int")]),
    some(
        "file_ioctl_compat",
        &[(0, "*file"), (1, "int")],
        "kernels without it call file_ioctl for 32-bit programs",
    ),
    lsm("ipc_permission", &[(0, "*kern_ipc_perm")]),
    lsm("shm_alloc_security", &[(0, "*kern_ipc_perm")]),
    lsm("msg_queue_alloc_security", &[(0, "*kern_ipc_perm")]),
    lsm("sem_alloc_security", &[(0, "*kern_ipc_perm")]),
    lsm("shm_shmctl", &[(0, "*kern_ipc_perm"), (1, "int")]),
    lsm("msg_queue_msgctl", &[(0, "*kern_ipc_perm"), (1, "int")]),
    lsm("sem_semctl", &[(0, "*kern_ipc_perm"), (1, "int")]),
    lsm("inode_create", &[(0, "*inode")]),
    lsm("inode_unlink", &[(0, "*inode")]),
    lsm("capable", &[(2, "int"), (3, "int")]),
    some("userns_create", &[], "before 6.1 the capability mask stands alone"),
    lsm("sb_mount", &[]),
    lsm("sb_remount", &[]),
    lsm("sb_umount", &[]),
    lsm("sb_pivotroot", &[]),
    lsm("move_mount", &[]),
    lsm("path_chroot", &[]),
    lsm("bpf", &[]),
    lsm("perf_event_open", &[]),
    lsm("kernel_module_request", &[]),
    lsm("kernel_load_data", &[]),
    lsm("kernel_read_file", &[]),
    lsm("settime", &[]),
    lsm("quota_on", &[]),
    some("uring_sqpoll", &[], "before 5.16 there is no such hook; kernels that old are refused"),
    some("uring_cmd", &[], "before 6.0 io_uring has no pass-through commands"),
    some("uring_override_creds", &[], "before 5.16 there is no such hook; kernels that old are refused"),
    lsm("tun_dev_create", &[]),
    lsm("key_alloc", &[(0, "*key")]),
    lsm("cred_alloc_blank", &[]),
    lsm("task_kill", &[(0, "*task_struct"), (1, "*kernel_siginfo")]),
    lsm("ptrace_access_check", &[(0, "*task_struct"), (1, "int")]),
    lsm("ptrace_traceme", &[(0, "*task_struct")]),
    lsm("task_setscheduler", &[(0, "*task_struct")]),
    lsm("task_setnice", &[(0, "*task_struct")]),
    lsm("task_setioprio", &[(0, "*task_struct")]),
    lsm("task_setrlimit", &[(0, "*task_struct")]),
    lsm("task_movememory", &[(0, "*task_struct")]),
    lsm("file_send_sigiotask", &[(0, "*task_struct")]),
    // `enum bpf_attach_type`: BPF_CGROUP_INET4_BIND and so on.
    Hook { name: "sock_create", kind: Kind::Socket, need: Need::Always, reads: &[] },
    address("bind4", 8),
    address("bind6", 9),
    address("connect4", 10),
    address("connect6", 11),
    address("sendmsg4", 14),
    address("sendmsg6", 15),
];

/// The hooks of a tier, in the order in which they are attached.
pub fn hooks(tier: Tier) -> impl Iterator<Item = &'static Hook> {
    HOOKS.iter().filter(move |hook| hook.is_of(tier))
}

impl Hook {
    /// Is it attached in this tier?
    pub fn is_of(&self, tier: Tier) -> bool {
        match self.kind {
            Kind::Lsm => tier == Tier::Full,
            Kind::Address(_) | Kind::Socket => tier == Tier::Partial,
            Kind::Tracepoint | Kind::Sysctl | Kind::Egress => true,
        }
    }

    /// The function, or the type of one, that tells the arguments; `None` where the kernel's interface for
    /// programs fixes them.
    pub fn prototype(&self) -> Option<String> {
        match self.kind {
            Kind::Lsm => Some(format!("bpf_lsm_{}", self.name)),
            Kind::Tracepoint => Some(format!("btf_trace_{}", self.name)),
            Kind::Sysctl | Kind::Egress | Kind::Address(_) | Kind::Socket => None,
        }
    }

    /// How many arguments precede the first one in the prototype.
    pub fn shift(&self) -> usize {
        match self.kind {
            Kind::Lsm | Kind::Sysctl | Kind::Egress | Kind::Address(_) | Kind::Socket => 0,
            // A tracepoint's function takes the tracepoint's own data first.
            Kind::Tracepoint => 1,
        }
    }
}
