//! Where members of kernel structures lie: read from the running kernel's BTF by the loader, which writes them into the
//! instructions that need them. One list; the BPF crate names its loads by it, the loader its look-ups.

/// Calls `$then!` with the list of `NAME "struct" "member" need;` entries. `required` members stop the load
/// with an error that names them; `optional` ones read as [`ABSENT`].
#[macro_export]
macro_rules! kernel_offsets {
    ($then:ident) => {
        $then! {
            TASK_BPF_STORAGE "task_struct" "bpf_storage" required;
            TASK_GROUP_LEADER "task_struct" "group_leader" required;
            TASK_REAL_PARENT "task_struct" "real_parent" required;
            TASK_CGROUPS "task_struct" "cgroups" required;
            TASK_MM "task_struct" "mm" required;
            TASK_FLAGS "task_struct" "flags" required;
            TASK_TGID "task_struct" "tgid" required;
            TASK_PID "task_struct" "pid" required;
            TASK_START "task_struct" "start_boottime" required;
            TASK_LOGINUID "task_struct" "loginuid" optional;
            TASK_COMM "task_struct" "comm" required;
            TASK_EXIT_CODE "task_struct" "exit_code" required;
            TASK_SIGNAL "task_struct" "signal" required;
            SIGNAL_LIVE "signal_struct" "live" required;
            CRED_UID "cred" "uid" required;
            TASK_NSPROXY "task_struct" "nsproxy" required;
            TASK_THREAD_PID "task_struct" "thread_pid" required;
            PID_LEVEL "pid" "level" required;
            PID_NUMBERS "pid" "numbers" required;
            TASK_CRED "task_struct" "cred" required;
            TASK_REAL_CRED "task_struct" "real_cred" required;
            TASK_IO_URING "task_struct" "io_uring" optional;
            LOCAL_STORAGE_LIST "bpf_local_storage" "list" optional;
            LOCAL_STORAGE_CACHE "bpf_local_storage" "cache" optional;
            STORAGE_MAP_PLACE "bpf_local_storage_map" "cache_idx" optional;
            STORAGE_ELEM_NODE "bpf_local_storage_elem" "snode" optional;
            STORAGE_ELEM_DATA "bpf_local_storage_elem" "sdata" optional;
            STORAGE_DATA_MAP "bpf_local_storage_data" "smap" optional;
            STORAGE_DATA_BYTES "bpf_local_storage_data" "data" optional;
            SIGNAL_THREADS "signal_struct" "nr_threads" required;
            CSS_SET_CGROUP "css_set" "dfl_cgrp" required;
            CGROUP_KN "cgroup" "kn" required;
            CGROUP_SELF "cgroup" "self" required;
            CSS_PARENT "cgroup_subsys_state" "parent" required;
            CSS_CGROUP "cgroup_subsys_state" "cgroup" required;
            KERNFS_ID "kernfs_node" "id" required;
            NSPROXY_MNT "nsproxy" "mnt_ns" required;
            MM_EXE_FILE "mm_struct" "exe_file" required;
            FILE_PATH "file" "f_path" required;
            FILE_INODE "file" "f_inode" required;
            FILE_MODE "file" "f_mode" required;
            FILE_FLAGS "file" "f_flags" required;
            PATH_MNT "path" "mnt" required;
            PATH_DENTRY "path" "dentry" required;
            DENTRY_PARENT "dentry" "d_parent" required;
            DENTRY_NAME "dentry" "d_name" required;
            DENTRY_INODE "dentry" "d_inode" required;
            DENTRY_HASH "dentry" "d_hash" required;
            DENTRY_FLAGS "dentry" "d_flags" required;
            DENTRY_SB "dentry" "d_sb" required;
            INODE_SB "inode" "i_sb" required;
            INODE_INO "inode" "i_ino" required;
            INODE_GENERATION "inode" "i_generation" required;
            INODE_MODE "inode" "i_mode" required;
            INODE_SIZE "inode" "i_size" required;
            INODE_UID "inode" "i_uid" required;
            SHMEM_SEALS "shmem_inode_info" "seals" optional;
            SHMEM_INODE "shmem_inode_info" "vfs_inode" optional;
            INODE_CTIME "inode" "i_ctime" optional;
            INODE_CTIME_HIDDEN "inode" "__i_ctime" optional;
            INODE_CTIME_SECONDS "inode" "i_ctime_sec" optional;
            INODE_CTIME_NANOSECONDS "inode" "i_ctime_nsec" optional;
            REGISTERS_CALL "pt_regs" "orig_ax" required;
            REGISTERS_SUBCALL "pt_regs" "bx" required;
            REGISTERS_SECOND "pt_regs" "si" required;
            REGISTERS_THIRD "pt_regs" "dx" required;
            INODE_RDEV "inode" "i_rdev" required;
            SB_MAGIC "super_block" "s_magic" required;
            SB_DEV "super_block" "s_dev" required;
            SB_ROOT "super_block" "s_root" required;
            SB_MOUNTS "super_block" "s_mounts" required;
            VFSMOUNT_ROOT "vfsmount" "mnt_root" required;
            MOUNT_PARENT "mount" "mnt_parent" required;
            MOUNT_POINT "mount" "mnt_mountpoint" required;
            MOUNT_MNT "mount" "mnt" required;
            MOUNT_NS "mount" "mnt_ns" required;
            MOUNT_INSTANCE "mount" "mnt_instance" optional;
            MOUNT_NEXT_FOR_SB "mount" "mnt_next_for_sb" optional;
            BPRM_FILE "linux_binprm" "file" required;
            BPRM_P "linux_binprm" "p" required;
            BPRM_EXEC "linux_binprm" "exec" required;
            BPRM_ARGC "linux_binprm" "argc" required;
            VMA_FILE "vm_area_struct" "vm_file" required;
            VMA_FLAGS "vm_area_struct" "vm_flags" required;
            IATTR_VALID "iattr" "ia_valid" required;
            FILE_PRIVATE "file" "private_data" required;
            SOCKET_SK "socket" "sk" required;
            SOCKET_FILE "socket" "file" required;
            SOCK_SOCKET "sock" "sk_socket" required;
            SOCK_FAMILY "sock" "__sk_common.skc_family" required;
            SOCK_STATE "sock" "__sk_common.skc_state" required;
            SOCK_LOCAL_PORT "sock" "__sk_common.skc_num" required;
            SOCK_LOCAL_V4 "sock" "__sk_common.skc_rcv_saddr" required;
            SOCK_LOCAL_V6 "sock" "__sk_common.skc_v6_rcv_saddr" required;
            SOCK_PEER_PORT "sock" "__sk_common.skc_dport" required;
            SOCK_PEER_V4 "sock" "__sk_common.skc_daddr" required;
            SOCK_PEER_V6 "sock" "__sk_common.skc_v6_daddr" required;
            SOCK_TYPE "sock" "sk_type" required;
            SOCK_PROTOCOL "sock" "sk_protocol" required;
            SOCK_BPF_STORAGE "sock" "sk_bpf_storage" required;
            SOCK_CGROUP "sock" "sk_cgrp_data.cgroup" required;
            UNIX_PEER "unix_sock" "peer" required;
            UNIX_PATH "unix_sock" "path" required;
            UNIX_ADDRESS "unix_sock" "addr" required;
            UNIX_ADDRESS_LENGTH "unix_address" "len" required;
            UNIX_ADDRESS_NAME "unix_address" "name" required;
            MESSAGE_NAME "msghdr" "msg_name" required;
            MESSAGE_NAME_LENGTH "msghdr" "msg_namelen" required;
            MESSAGE_FLAGS "msghdr" "msg_flags" required;
            MESSAGE_CONTROL_LENGTH "msghdr" "msg_controllen" required;
            MESSAGE_CONTROL "msghdr" "msg_control" required;
            UDP_PENDING "udp_sock" "pending" required;
            INET_CORK "inet_sock" "cork" required;
            INET_SOURCE "inet_sock" "inet_saddr" required;
            CORK_FLOW "inet_cork_full" "fl" required;
            FLOW_V4_TO "flowi4" "daddr" required;
            FLOW_V4_PORTS "flowi4" "uli" required;
            FLOW_V6_TO "flowi6" "daddr" required;
            FLOW_V6_PORTS "flowi6" "uli" required;
            PROTOCOL_SENDPAGE "proto_ops" "sendpage" optional;
            BUFFER_DATA "sk_buff" "data" required;
            PROC_INODE_VFS "proc_inode" "vfs_inode" optional;
            PROC_INODE_PID "proc_inode" "pid" optional;
            KEY_TYPE "key" "type" required;
            KEY_TYPE_NAME "key_type" "name" required;
            WORDS "itimerspec64" "it_interval" required;
        }
    };
}

/// A member of one bit: `sk_kern_sock` of `struct sock`, set on the kernel's own sockets.
pub const SOCK_KERNEL_BIT: (&str, &str) = ("sock", "sk_kern_sock");

/// A move of this immediate, to which a fact's number is added, is replaced by a move of the fact. First half: a number
/// that no program computes with. A call of it becomes one of the kernel's function that the fact says.
pub const VALUE: u32 = 0x5d1a_0000;
/// A load this far behind its pointer, to which a fact's number times [`MEMBER_STRIDE`] is added, becomes one at the
/// place that the fact says, and as much further on as is left of the stride. No map's value is as large as that.
pub const MEMBER: u32 = 0x6000;
pub const MEMBER_STRIDE: u32 = 32;

/// What an optional member reads as on a kernel that has not got it.
pub const ABSENT: u64 = u64::MAX;

/// Addresses of kernel variables, from `/proc/kallsyms`, injected the same way.
pub const RENAME_LOCK: &str = "rename_lock";
/// The namespaces that the first process has.
pub const INIT_NSPROXY: &str = "init_nsproxy";
pub const MOUNT_LOCK: &str = "mount_lock";

/// Kernel symbols that tell how LSM programs look into task storage: with the first and without the second, one
/// task's look can fail because another one is in it.
pub const STORAGE_LOCK: &str = "bpf_task_storage_busy";
pub const STORAGE_LOCKLESS: &str = "bpf_task_storage_get_recur";
/// Members that are read where it can.
pub const STORAGE_MEMBERS: &[Fact] = &[
    Fact::LOCAL_STORAGE_LIST,
    Fact::STORAGE_ELEM_NODE,
    Fact::STORAGE_ELEM_DATA,
    Fact::STORAGE_DATA_MAP,
    Fact::STORAGE_DATA_BYTES,
];

/// What [`Fact::LOCAL_STORAGE_CACHE`] is of no use without: the loader says that it is absent where one of these is.
pub const CACHE_NEEDS: &[Fact] =
    &[Fact::CAST, Fact::STORAGE_MAP_PLACE, Fact::STORAGE_DATA_MAP, Fact::STORAGE_DATA_BYTES];

macro_rules! table {
    ($($name:ident $of:literal $member:literal $need:ident;)*) => {
        /// What the loader writes into instructions: where each member lies, and what else it finds out.
        #[allow(non_camel_case_types, reason = "named as in the programs")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Fact {
            $($name,)*
            /// The byte of `struct sock` with the bit that is set on the kernel's own sockets.
            SOCK_KERNEL_BYTE,
            /// That bit.
            SOCK_KERNEL_MASK,
            /// 1 where `inode_setattr` has an argument in front of the dentry.
            SETATTR_SHIFT,
            /// 1 where a look into task storage can fail because another task is in it.
            STORAGE_BUSY,
            /// The kernel function that casts a pointer, [`ABSENT`] where it has none.
            CAST,
            /// The type of a task.
            TASK_TYPE,
            /// The types of a name and of a place.
            DENTRY_TYPE,
            PATH_TYPE,
            /// The types of an open file's inode and of a socket.
            INODE_TYPE,
            SOCKET_TYPE,
            /// The type of something that is four numbers and nothing else.
            WORDS_TYPE,
        }

        /// One member of a kernel structure that the programs read.
        #[derive(Clone, Copy, Debug)]
        pub struct Member {
            pub fact: Fact,
            pub of: &'static str,
            pub member: &'static str,
            pub required: bool,
        }

        /// Every member, for the loader.
        pub const MEMBERS: &[Member] = &[$(
            Member { fact: Fact::$name, of: $of, member: $member, required: need!($need) },
        )*];
    };
}
macro_rules! need {
    (required) => {
        true
    };
    (optional) => {
        false
    };
}
kernel_offsets!(table);

/// An instruction has fifteen bits for a place.
const _: () = assert!(MEMBER + (Fact::WORDS_TYPE as u32 + 1) * MEMBER_STRIDE <= 1 << 15);

/// Pairs that the programs read with one access, so they must be adjacent; asserted at load.
pub const ADJACENT: &[(&str, &str, &str)] =
    &[("mount", "mnt_parent", "mnt_mountpoint"), ("dentry", "d_parent", "d_name")];
