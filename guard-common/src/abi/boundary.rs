use super::names;

names! {
    /// What is always blocked inside a domain unless `boundary: allow:` names it.
    pub enum BoundaryItem: u8 {
        /// Create a user namespace.
        UserNamespaces = 0, "user-namespaces";
        /// Mount, remount, move or unmount; change root.
        Mounts = 1, "mounts";
        /// chroot(2).
        Chroot = 2, "chroot";
        /// Trace, read or write the memory of a task outside the domain.
        PtraceOutside = 3, "ptrace-outside";
        /// Signal a task outside the domain, or have a file do it.
        SignalsOutside = 4, "signals-outside";
        /// Receive a file descriptor that was opened outside the domain.
        ForeignFds = 5, "foreign-fds";
        /// bpf(2).
        Bpf = 6, "bpf";
        /// Load kernel modules or firmware, make the kernel load them.
        Modules = 7, "modules";
        /// perf_event_open(2).
        Perf = 8, "perf";
        /// Keys that make the kernel call a helper program.
        KeyUpcalls = 9, "key-upcalls";
        /// io_uring's kernel thread and pass-through commands.
        IoUringSpecial = 10, "io-uring-special";
        /// Push input into a terminal.
        TtyInjection = 11, "tty-injection";
        /// Write below cgroupfs, or be cloned into another cgroup.
        Cgroups = 12, "cgroups";
        /// Write below /proc/sys and the other knobs of procfs.
        ProcKnobs = 13, "proc-knobs";
        /// Write below /sys, debugfs, tracefs, securityfs, configfs, efivarfs.
        SysKnobs = 14, "sys-knobs";
        /// Open block devices, memory devices and the like.
        Devices = 15, "devices";
        /// Reboot, kexec, swap, accounting, quota, time.
        Machine = 16, "machine";
        /// Sockets of families and protocols beyond unix, TCP and UDP.
        SocketFamilies = 17, "socket-families";
        /// Socket options and control messages that bend where a packet goes.
        SocketOptions = 18, "socket-options";
        /// Change the priority, limits or placement of a task outside the domain.
        TasksOutside = 19, "tasks-outside";
        /// File-system administration by ioctl or attribute calls.
        FileAdmin = 20, "file-admin";
        /// Notification of other tasks' file use (fanotify permission events, leases, delegations).
        FileWatches = 21, "file-watches";
        /// System V and POSIX message queues and shared memory of others.
        SharedIpc = 22, "shared-ipc";
        /// Open a file by handle.
        FileHandles = 23, "file-handles";
        /// Write through a file descriptor that was open before the task entered the domain.
        InheritedFds = 24, "inherited-fds";
    }
}

impl BoundaryItem {
    /// This item's bit in a domain's boundary word.
    pub const fn bit(self) -> u64 {
        1 << self as u8
    }
}

names! {
    /// Linux capabilities by number; `boundary: allow: [cap-net-admin]` keeps one.
    pub enum Capability: u8 {
        Chown = 0, "cap-chown";
        DacOverride = 1, "cap-dac-override";
        DacReadSearch = 2, "cap-dac-read-search";
        Fowner = 3, "cap-fowner";
        Fsetid = 4, "cap-fsetid";
        Kill = 5, "cap-kill";
        Setgid = 6, "cap-setgid";
        Setuid = 7, "cap-setuid";
        Setpcap = 8, "cap-setpcap";
        LinuxImmutable = 9, "cap-linux-immutable";
        NetBindService = 10, "cap-net-bind-service";
        NetBroadcast = 11, "cap-net-broadcast";
        NetAdmin = 12, "cap-net-admin";
        NetRaw = 13, "cap-net-raw";
        IpcLock = 14, "cap-ipc-lock";
        IpcOwner = 15, "cap-ipc-owner";
        SysModule = 16, "cap-sys-module";
        SysRawio = 17, "cap-sys-rawio";
        SysChroot = 18, "cap-sys-chroot";
        SysPtrace = 19, "cap-sys-ptrace";
        SysPacct = 20, "cap-sys-pacct";
        SysAdmin = 21, "cap-sys-admin";
        SysBoot = 22, "cap-sys-boot";
        SysNice = 23, "cap-sys-nice";
        SysResource = 24, "cap-sys-resource";
        SysTime = 25, "cap-sys-time";
        SysTtyConfig = 26, "cap-sys-tty-config";
        Mknod = 27, "cap-mknod";
        Lease = 28, "cap-lease";
        AuditWrite = 29, "cap-audit-write";
        AuditControl = 30, "cap-audit-control";
        Setfcap = 31, "cap-setfcap";
        MacOverride = 32, "cap-mac-override";
        MacAdmin = 33, "cap-mac-admin";
        Syslog = 34, "cap-syslog";
        WakeAlarm = 35, "cap-wake-alarm";
        BlockSuspend = 36, "cap-block-suspend";
        AuditRead = 37, "cap-audit-read";
        Perfmon = 38, "cap-perfmon";
        Bpf = 39, "cap-bpf";
        CheckpointRestore = 40, "cap-checkpoint-restore";
    }
}

impl Capability {
    /// This capability's bit.
    pub const fn bit(self) -> u64 {
        1 << self as u8
    }
}

/// What a task in a domain keeps of its capabilities when the policy names none: those whose effect the
/// write, read, exec and signal rules judge anyway.
pub const CAPS_KEPT: u64 = Capability::Chown.bit()
    | Capability::DacOverride.bit()
    | Capability::Fowner.bit()
    | Capability::Fsetid.bit()
    | Capability::Kill.bit()
    | Capability::Setgid.bit()
    | Capability::Setuid.bit()
    | Capability::Setpcap.bit()
    | Capability::NetBindService.bit()
    | Capability::IpcLock.bit();

/// What the kernel itself may use on a task's behalf, with credentials it lent the task for the time: what a stacked
/// file system needs to copy a file up, its attributes and flags included.
pub const CAPS_LENT: u64 = Capability::DacReadSearch.bit()
    | Capability::LinuxImmutable.bit()
    | Capability::SysAdmin.bit()
    | Capability::Mknod.bit()
    | Capability::Setfcap.bit();
