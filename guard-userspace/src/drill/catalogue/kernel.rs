//! What is the machine owner's: namespaces, mounts, programs in the kernel, the machine itself.

use super::build::{NOT_SEEN, Names, ROOT, ROOTS, call};
use crate::drill::Expect::{Capability, Item, Rule};
use crate::drill::{Drill, Effect, End, Expect, Group, Tags};

const USER: &[Expect] = &[Item("user-namespaces", "namespace")];
const ADMIN: &[Expect] = &[Capability("cap-sys-admin")];
const USERNS: Names = &["userns_create"];
const CAPABLE: Names = &["capable"];

const fn unshare(name: &'static str, says: &'static str, covers: Names) -> Drill {
    call(name, says, covers, CAPABLE, ADMIN).by(ROOT)
}

pub(super) const NAMESPACES: Group = Group {
    name: "Namespaces",
    tags: Tags { attack: &["T1611", "T1564"], owasp: &["ASI10", "ASI03"] },
    drills: &[
        call("clone-user-namespace", "no user namespace is made", &["N72", "S17"], USERNS, USER)
            .if_any()
            .cve(&["CVE-2022-0185"]),
        call(
            "clone-user-and-mount-namespace",
            "nor together with mounts",
            &["N72", "F33", "F34"],
            USERNS,
            USER,
        )
        .if_any(),
        call("clone-user-and-network-namespace", "nor together with a network", &["N72"], USERNS, USER)
            .if_any()
            .cve(&["CVE-2022-25636"]),
        call("unshare-user-namespace", "nor by unshare(2)", &["N72"], USERNS, USER).if_any(),
        unshare("unshare-mounts", "no mount namespace is made", &["F33"]),
        unshare("unshare-pids", "no process namespace is made", &["S42"]),
        unshare("unshare-network", "no network namespace is made", &["N72"]),
        unshare("unshare-uts", "no namespace of names is made", &["N72"]),
        unshare("unshare-ipc", "no ipc namespace is made", &["N66"]),
        unshare("unshare-cgroups", "no cgroup namespace is made", &["S03"]),
        unshare("unshare-time", "no time namespace is made", &["N72"]).ways(&[
            crate::drill::Way::Direct,
            crate::drill::Way::Forked,
            crate::drill::Way::Executed,
        ]),
        call(
            "setns-init",
            "no namespace of init's is entered",
            &["N73"],
            &["ptrace_access_check", "capable"],
            &[Item("ptrace-outside", "trace"), Capability("cap-sys-admin")],
        )
        .by(ROOT)
        .ends(NOT_SEEN),
        unshare("setns-own", "nor one of its own", &["N73"]),
        call(
            "setns-pidfd",
            "nor by a process's descriptor",
            &["N73"],
            &["ptrace_access_check", "capable"],
            &[Item("ptrace-outside", "trace"), Capability("cap-sys-admin")],
        )
        .by(ROOT),
    ],
};

const MOUNT: &[Expect] = &[Item("mounts", "mount")];
const BUSY: &[End] = &[End::Errno(libc::EBUSY), End::Errno(libc::EINVAL)];
const UNKNOWN: &[End] = &[End::Errno(libc::ENODEV)];

/// In a mount namespace of its own, made outside: only a process of one thread may then have it to itself.
const fn mounts(
    name: &'static str,
    says: &'static str,
    covers: Names,
    hooks: Names,
    record: &'static [Expect],
) -> Drill {
    call(name, says, covers, hooks, record).by(ROOT).handed()
}

pub(super) const MOUNTS: Group = Group {
    name: "Mounts and roots",
    tags: Tags { attack: &["T1611", "T1564"], owasp: &["ASI10"] },
    drills: &[
        mounts("mount-tmpfs", "nothing is mounted", &["F35", "N77", "F43"], &["sb_mount"], MOUNT),
        mounts("mount-bind", "no directory gets another place", &["F33", "X08"], &["sb_mount"], MOUNT),
        mounts("mount-propagation", "no mount's propagation is changed", &["F35"], &["sb_mount"], MOUNT),
        mounts("mount-cgroup2", "cgroups are not mounted a second time", &["S03"], &["sb_mount"], MOUNT)
            .cve(&["CVE-2022-0492"]),
        mounts(
            "mount-overlay",
            "no stacked file system writes to a protected directory",
            &["F36"],
            &["sb_mount"],
            MOUNT,
        )
        .if_any()
        .cve(&["CVE-2021-3493", "CVE-2023-0386"]),
        mounts("remount-bind", "no mount's flags are changed", &["F35"], &["sb_mount"], MOUNT),
        mounts("remount", "no file system's flags are changed", &["F35"], &["sb_mount"], MOUNT),
        mounts(
            "umount",
            "nothing is unmounted even where capabilities are kept",
            &["S14"],
            &["sb_umount"],
            MOUNT,
        )
        .lax(),
        call("fsopen", "no mount is prepared", &["F35", "N77"], CAPABLE, ADMIN).by(ROOT),
        call(
            "fsopen-unknown",
            "no kernel module is asked for by the name of a file system",
            &["X35", "S26"],
            &["kernel_module_request"],
            &[Item("modules", "other")],
        )
        .by(ROOT)
        .lax()
        .effect(Effect::OnlyRecorded)
        .control(UNKNOWN)
        .ends(UNKNOWN),
        mounts("fspick", "no mount is picked to be changed", &["F35"], CAPABLE, ADMIN),
        mounts(
            "fsconfig-reconfigure",
            "nor changed even where capabilities are kept",
            &["F35"],
            &["sb_remount"],
            MOUNT,
        )
        .lax(),
        mounts("open-tree-clone", "no tree is copied", &["F34"], CAPABLE, ADMIN),
        mounts(
            "move-mount",
            "no tree is attached even where capabilities are kept",
            &["F35", "X08"],
            &["move_mount"],
            MOUNT,
        )
        .lax(),
        mounts("mount-setattr", "no attribute of a mount is changed", &["F35"], CAPABLE, ADMIN),
        call("chroot", "the root is not changed", &["F37"], CAPABLE, &[Capability("cap-sys-chroot")])
            .by(ROOTS),
        call(
            "chroot-lax",
            "nor even where capabilities are kept",
            &["F37"],
            &["path_chroot"],
            &[Item("chroot", "mount")],
        )
        .by(ROOT)
        .lax(),
        mounts(
            "pivot-root",
            "nor exchanged even where capabilities are kept",
            &["F37"],
            &["sb_pivotroot"],
            MOUNT,
        )
        .lax()
        .control(BUSY),
    ],
};

const BPF: &[Expect] = &[Item("bpf", "other")];
const MODULES: &[Expect] = &[Item("modules", "other")];
const KEYS: &[Expect] = &[Item("key-upcalls", "other")];
const RING: &[Expect] = &[Item("io-uring-special", "other")];
const NOEXEC: &[End] = &[End::Errno(libc::ENOEXEC)];
const ENOENT: &[End] = &[End::Errno(libc::ENOENT), End::Errno(libc::ENOKEY)];
const TTY: &[End] = &[End::Did, End::Errno(libc::EIO), End::Errno(libc::EPERM), End::Errno(libc::EINVAL)];
const UNFIT: &[End] =
    &[End::Did, End::Errno(libc::ENOTTY), End::Errno(libc::EINVAL), End::Errno(libc::EOPNOTSUPP)];

const fn owner(
    name: &'static str,
    says: &'static str,
    covers: Names,
    capability: &'static [Expect],
) -> Drill {
    call(name, says, covers, CAPABLE, capability).by(ROOT)
}

pub(super) const OWNERS: Group = Group {
    name: "The kernel and the machine",
    tags: Tags { attack: &["T1562.001", "T1547.006"], owasp: &["ASI10", "ASI03"] },
    drills: &[
        call(
            "bpf-map-create",
            "no BPF map is made even where capabilities are kept",
            &["S16"],
            &["bpf"],
            BPF,
        )
        .by(ROOT)
        .lax(),
        call("bpf-prog-load", "nor a BPF program loaded", &["S16"], &["bpf"], BPF)
            .by(ROOT)
            .lax()
            .cve(&["CVE-2021-3490"]),
        call("bpf-open-guards-pin", "guard's pinned maps are not opened", &["S14", "S12"], &["bpf"], BPF)
            .by(ROOT),
        call("bpf-map-by-id", "nor by their numbers", &["S12"], &["bpf"], BPF).by(ROOT),
        call("bpf-list-programs", "BPF programs are not listed", &["S12", "S16"], &["bpf"], BPF).by(ROOT),
        call("bpf-list-links", "nor links", &["S12", "S16"], &["bpf"], BPF).by(ROOT),
        call(
            "perf-event-open",
            "nothing is traced by perf even where capabilities are kept",
            &["S32", "S27"],
            &["perf_event_open"],
            &[Item("perf", "other")],
        )
        .by(ROOT)
        .lax()
        .ends(NOT_SEEN)
        .cve(&["CVE-2013-2094"]),
        call(
            "init-module",
            "no kernel module is loaded even where capabilities are kept",
            &["S26"],
            &["kernel_load_data"],
            MODULES,
        )
        .by(ROOT)
        .lax()
        .control(NOEXEC),
        call("finit-module", "nor from a file", &["S26"], &["kernel_read_file"], MODULES)
            .by(ROOT)
            .lax()
            .control(NOEXEC),
        owner("delete-module", "no kernel module is removed", &["S26"], &[Capability("cap-sys-module")])
            .control(&[End::Errno(libc::ENOENT)]),
        call("request-key", "no key makes the kernel run a helper", &["N76", "X35"], &["key_alloc"], KEYS)
            .control(ENOENT),
        call("request-key-dns", "no key makes the kernel ask a name server", &["N76"], &["key_alloc"], KEYS)
            .handed()
            .control(ENOENT)
            .if_any()
            .vm(),
        call(
            "keyctl-session-to-parent",
            "nobody's keyring is put in place of its parent's",
            &["S18"],
            &["cred_alloc_blank"],
            &[Item("tasks-outside", "other")],
        )
        // All that its caller makes of a refusal.
        .ends(&[End::Errno(libc::ENOMEM)]),
        call(
            "uring-sqpoll",
            "no kernel thread works for an io_uring",
            &["N68", "N69"],
            &["uring_sqpoll"],
            RING,
        ),
        call("uring-cmd", "no device is spoken to by io_uring", &["F32", "N71"], &["uring_cmd"], RING),
        call(
            "uring-personality",
            "no io_uring request has other credentials",
            &["N68"],
            &["uring_override_creds"],
            RING,
        ),
        owner("sethostname", "the host's name is not changed", &["F45"], ADMIN).vm(),
        owner("acct", "process accounting is not changed", &["F15"], &[Capability("cap-sys-pacct")]).vm(),
        owner("swapon", "no file becomes swap space", &["F15"], ADMIN).control(&[End::Errno(libc::EINVAL)]),
        owner("syslog", "the kernel's log is not read", &["S32"], &[Capability("cap-syslog")]),
        owner("iopl", "the machine's ports are not opened", &["F47"], &[Capability("cap-sys-rawio")]),
        owner(
            "prctl-exe-file",
            "no program claims another's file for its image",
            &["S30"],
            &[Capability("cap-sys-resource")],
        )
        .control(&[End::Errno(libc::EBUSY)]),
        owner("fanotify-permission", "nobody else's file use is held up", &["F49"], ADMIN),
        owner("raise-hard-limit", "no hard limit is raised", &["S23"], &[Capability("cap-sys-resource")]),
        owner(
            "sched-fifo",
            "no real-time scheduler starves the daemon",
            &["S24"],
            &[Capability("cap-sys-nice")],
        ),
        owner("reboot-harmless", "the machine is not rebooted", &["S25"], &[Capability("cap-sys-boot")]).vm(),
        owner(
            "kexec-unload",
            "no other kernel is started or taken away",
            &["S25"],
            &[Capability("cap-sys-boot")],
        )
        .vm()
        .if_any(),
        owner("adjtimex", "the clock is not adjusted", &["S25"], &[Capability("cap-sys-time")]).vm(),
        call(
            "clock-settime",
            "the clock is not set even where capabilities are kept",
            &["S25"],
            &["settime"],
            &[Item("machine", "other")],
        )
        .by(ROOT)
        .lax()
        .vm(),
        call(
            "tty-push-input",
            "nothing is typed into a terminal",
            &["X32"],
            &["file_ioctl"],
            &[Item("tty-injection", "ioctl")],
        )
        .effect(Effect::OnlyRecorded)
        .control(TTY)
        .cve(&["CVE-2017-5226", "CVE-2023-28339"]),
        call(
            "tty-line-discipline",
            "no terminal gets another line discipline",
            &["X32"],
            &["file_ioctl"],
            &[Item("tty-injection", "ioctl")],
        ),
        call(
            "freeze-file-system",
            "no file system is administered",
            &["F30"],
            &["file_ioctl"],
            &[Item("file-admin", "ioctl")],
        )
        .control(UNFIT)
        .by(ROOT),
        call(
            "open-tun",
            "no tunnel device is opened",
            &["N47"],
            &["file_open"],
            &[Rule("read", "open"), Rule("write", "open"), Item("devices", "open")],
        )
        .by(ROOT)
        .if_any(),
        call(
            "tun-create-inherited",
            "no tunnel is made even where capabilities are kept",
            &["N47", "N46"],
            &["tun_dev_create"],
            &[Item("socket-families", "socket")],
        )
        .by(ROOT)
        .handed()
        .lax()
        .if_any(),
    ],
};
