//! Files that are more than files: the kernel's knobs, devices, guard's own.

use super::build::{EPERM, NOT_SEEN, Names, ROOT, ROOTS, call};
use crate::drill::Expect::{Capability, Item, Rule};
use crate::drill::{Drill, Effect, Expect, Group, Tags};

const HOOK: Names = &["file_open"];
const PROC: &[Expect] = &[Item("proc-knobs", "open"), Rule("write", "open")];
const SYS: &[Expect] = &[Item("sys-knobs", "open"), Rule("write", "open")];
const CGROUPS: &[Expect] = &[Item("cgroups", "open"), Rule("write", "open")];
const DEVICE: &[Expect] = &[Item("devices", "open"), Rule("read", "open"), Capability("cap-sys-rawio")];

const fn knob(name: &'static str, says: &'static str, covers: Names, record: &'static [Expect]) -> Drill {
    call(name, says, covers, HOOK, record).by(ROOTS)
}

pub(super) const KNOBS: Group = Group {
    name: "Knobs, cgroups and devices",
    tags: Tags { attack: &["T1562.001", "T1611"], owasp: &["ASI10", "ASI03"] },
    drills: &[
        knob(
            "sysctl-ftrace-enabled",
            "the switch that silences every LSM program is not opened",
            &["S11"],
            PROC,
        ),
        call(
            "sysctl-ftrace-off",
            "nor may anybody else on the host turn it",
            &["S11"],
            &["sysctl", "file_open"],
            PROC,
        )
        .by(ROOT)
        .ways(super::build::DIRECT)
        .control(EPERM)
        .effect(Effect::Succeeds)
        .vm(),
        knob(
            "sysctl-core-pattern",
            "the program that gets core dumps is not changed",
            &["X34", "F16", "F45"],
            PROC,
        ),
        knob("sysctl-modprobe", "nor the one that loads modules", &["X34"], PROC),
        knob("sysctl-hostname", "nor the host's name", &["F45"], PROC),
        knob("sysctl-overcommit", "nor how memory is given out", &["F45"], PROC),
        knob("sysctl-through-self-root", "nor through /proc/self/root", &["F45", "X05"], PROC),
        knob("sysrq-trigger", "no sysrq is triggered", &["S25"], PROC),
        knob("irq-affinity", "no interrupt is moved", &["F45"], PROC),
        knob("sysfs", "no knob of sysfs is turned", &["F45"], SYS).if_any(),
        knob("sysfs-uevent-helper", "no helper is set for devices", &["X34"], SYS).if_any(),
        knob("tracefs", "tracing is not changed", &["S27"], SYS).if_any(),
        knob("debugfs", "no fault is injected", &["S27", "F45"], SYS).if_any(),
        knob("securityfs", "lockdown is not changed", &["F45"], SYS).if_any(),
        knob(
            "loginuid",
            "the login id that records carry is not changed",
            &["S35"],
            &[Item("proc-knobs", "open")],
        ),
        knob("cgroup-leave", "a task does not move itself to the root cgroup", &["S01"], CGROUPS)
            .cve(&["CVE-2022-0492"]),
        knob("cgroup-leave-to-sibling", "nor to another cgroup", &["S01"], CGROUPS),
        knob("cgroup-thread-leave", "nor a thread of it", &["S01"], CGROUPS)
            .ways(super::build::DIRECT)
            .if_any(),
        knob("cgroup-move-outsider", "nor somebody else", &["S06"], CGROUPS),
        knob("cgroup-move-guard", "nor the daemon", &["S06"], CGROUPS).by(ROOT).of_daemon().vm(),
        call(
            "cgroup-mkdir",
            "no cgroup is made",
            &["S04"],
            &["path_mkdir"],
            &[Item("cgroups", "mkdir"), Rule("write", "mkdir")],
        )
        .by(ROOTS),
        knob("cgroup-limit", "no limit of a cgroup is changed", &["S06"], CGROUPS),
        knob("cgroup-freeze", "no cgroup is frozen or thawed", &["S06"], CGROUPS),
        call("block-device", "no block device is opened", &["F46"], HOOK, DEVICE).by(ROOT).if_any(),
        call("dev-mem", "the machine's memory is not opened", &["F47"], HOOK, DEVICE)
            .by(ROOT)
            .if_any()
            .ends(NOT_SEEN),
        call("dev-kmsg", "the kernel's log is not opened", &["S32"], HOOK, DEVICE).by(ROOT).if_any(),
        call("proc-kcore", "the kernel's memory is not opened", &["S32"], HOOK, DEVICE).by(ROOT).if_any(),
    ],
};

const READ: &[Expect] = &[Rule("read", "open")];
const CREATE: &[Expect] = &[Rule("write", "create"), Rule("write", "mknod")];
const RENAME: &[Expect] =
    &[Rule("write", "rename-from"), Rule("write", "rename-to"), Item("bpf", "rename-from")];

pub(super) const GUARD: Group = Group {
    name: "Guard itself and the host's own files",
    tags: Tags { attack: &["T1562.001", "T1070", "T1543"], owasp: &["ASI10", "ASI08"] },
    drills: &[
        call("policy-write", "no policy is written", &["S28", "S45"], &["path_mknod"], CREATE).by(ROOT).vm(),
        call("policy-move", "the policies are not moved away", &["S28", "S45"], &["path_rename"], RENAME)
            .by(ROOT)
            .vm(),
        call("log-read", "guard's state is not read", &["S28"], HOOK, READ).by(ROOT),
        call("log-write", "nothing is written beside the log", &["S35", "S28"], &["path_mknod"], CREATE)
            .by(ROOT)
            .vm(),
        call("socket-directory", "the directory of guard's sockets is not listed", &["S30"], HOOK, READ)
            .by(ROOT),
        call(
            "control-socket",
            "the control socket takes no connection",
            &["S30"],
            &["unix_stream_connect"],
            &[Rule("connect", "connect")],
        )
        .by(ROOT)
        .of_daemon(),
        call(
            "binary-chmod",
            "guard's program is not changed",
            &["S28"],
            &["path_chmod"],
            &[Rule("write", "chmod")],
        )
        .by(ROOT)
        .vm(),
        call("pins-list", "the pinned programs and maps are not listed", &["S14"], HOOK, READ).by(ROOT),
        call("pins-move", "nor moved", &["S14"], &["path_rename"], RENAME).by(ROOT).vm(),
        call("etc-systemd", "no unit is added", &["S28", "X36"], &["path_mknod"], CREATE)
            .by(ROOT)
            .if_any()
            .vm(),
        call("etc-cron", "no job is added", &["X29"], &["path_mknod"], CREATE).by(ROOT).if_any().vm(),
        call(
            "etc-ld-preload",
            "no library is put before every program",
            &["S28", "X18"],
            &["path_mknod"],
            CREATE,
        )
        .by(ROOT)
        .if_any()
        .vm(),
        call(
            "guard-memory",
            "the daemon's memory is not opened",
            &["S21"],
            &["ptrace_access_check"],
            &[Item("ptrace-outside", "trace"), Item("tasks-outside", "open")],
        )
        .by(ROOT)
        .of_daemon()
        .ends(NOT_SEEN),
        call(
            "guard-descriptors",
            "nor its descriptors",
            &["S21"],
            &["ptrace_access_check"],
            &[Item("ptrace-outside", "trace")],
        )
        .by(ROOT)
        .of_daemon()
        .ends(NOT_SEEN),
        call(
            "guard-seize",
            "the daemon is not traced",
            &["S21"],
            &["ptrace_access_check"],
            &[Item("ptrace-outside", "trace")],
        )
        .by(ROOT)
        .of_daemon()
        .vm(),
        call(
            "kill-guard-probe",
            "the daemon is not asked whether it lives",
            &["S18"],
            &["task_kill"],
            &[Item("signals-outside", "signal")],
        )
        .by(ROOT)
        .of_daemon(),
        call(
            "kill-guard-winch",
            "nor signalled",
            &["S18"],
            &["task_kill"],
            &[Item("signals-outside", "signal")],
        )
        .by(ROOT)
        .of_daemon(),
    ],
};
