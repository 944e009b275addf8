//! Processes outside: signals, limits, traces.

use super::build::{NOT_SEEN, Names, ROOT, call};
use crate::drill::Expect::Item;
use crate::drill::{Drill, Effect, Expect, Group, Tags, Way};

const SIGNAL: &[Expect] = &[Item("signals-outside", "signal")];
const OTHER: &[Expect] = &[Item("tasks-outside", "other")];
const KILL: Names = &["task_kill"];

const fn harms(
    name: &'static str,
    says: &'static str,
    covers: Names,
    hooks: Names,
    record: &'static [Expect],
) -> Drill {
    call(name, says, covers, hooks, record).effect(Effect::Harms)
}

pub(super) const SIGNALS: Group = Group {
    name: "Signals and limits of others",
    tags: Tags { attack: &["T1489", "T1562.001"], owasp: &["ASI08", "ASI10"] },
    drills: &[
        harms("kill", "nobody outside is killed", &["S18"], KILL, SIGNAL),
        call("kill-probe", "nor asked whether it lives", &["S18"], KILL, SIGNAL),
        call("kill-stop", "nor stopped", &["S18"], KILL, SIGNAL),
        harms("tgkill", "nor by a thread's number", &["S18"], KILL, SIGNAL),
        harms("tkill", "nor by the older call", &["S18"], KILL, SIGNAL),
        harms("rt-sigqueueinfo", "no signal is queued", &["S18"], KILL, SIGNAL),
        harms("rt-tgsigqueueinfo", "nor for a thread", &["S18"], KILL, SIGNAL),
        harms("pidfd-send-signal", "nor by a process's descriptor", &["S18"], KILL, SIGNAL),
        harms(
            "sigio",
            "no file of the agent's signals anybody outside",
            &["S18", "S20"],
            &["file_fcntl", "file_send_sigiotask"],
            SIGNAL,
        ),
        harms("sigio-structure", "nor one that is set by a structure", &["S18"], &["file_fcntl"], SIGNAL),
        harms("sigio-ioctl", "nor by ioctl(2)", &["S18"], &["file_ioctl"], SIGNAL),
        harms("sigio-terminal", "no terminal of the agent's does", &["S18"], &["file_fcntl"], SIGNAL),
        call(
            "file-lease",
            "no file is leased, which keeps everybody waiting who opens it",
            &["F49"],
            &["file_fcntl"],
            &[Item("file-watches", "other")],
        )
        .by(ROOT),
        harms("prlimit", "nobody's limits are changed", &["S23"], &["task_setrlimit"], OTHER),
        harms("setpriority", "nobody's priority is lowered", &["S24"], &["task_setnice"], OTHER),
        harms("sched-setscheduler", "nobody's scheduler is changed", &["S24"], &["task_setscheduler"], OTHER),
        call("sched-setaffinity", "nobody is bound to a processor", &["S24"], &["task_setscheduler"], OTHER),
        call("ioprio-set", "nobody's input and output is slowed", &["S24"], &["task_setioprio"], OTHER),
        call(
            "migrate-pages",
            "nobody's memory is moved even where tracing is allowed",
            &["S24"],
            &["task_movememory"],
            OTHER,
        )
        .by(ROOT)
        .lax()
        .if_any(),
        call(
            "timerslack",
            "nobody's timers are made late",
            &["S24"],
            &["file_open"],
            &[Item("tasks-outside", "open")],
        )
        .by(ROOT),
        harms(
            "oom-score-adj",
            "nobody is chosen to die when memory is short",
            &["S23"],
            &["file_open"],
            &[Item("tasks-outside", "open")],
        ),
    ],
};

const TRACE: &[Expect] = &[Item("ptrace-outside", "trace")];
const HOOK: Names = &["ptrace_access_check"];

const fn trace(name: &'static str, says: &'static str, covers: Names) -> Drill {
    call(name, says, covers, HOOK, TRACE).if_any()
}

pub(super) const TRACES: Group = Group {
    name: "Tracing and reading others",
    tags: Tags { attack: &["T1055.008", "T1003.007"], owasp: &["ASI03", "ASI10"] },
    drills: &[
        trace("ptrace-attach", "nobody outside is traced", &["S21", "X24"]),
        trace("ptrace-seize", "nor seized", &["S21"]),
        call("ptrace-traceme", "nobody outside becomes the tracer", &["S21"], &["ptrace_traceme"], TRACE)
            .if_any()
            .ways(&[Way::Direct, Way::Executed, Way::Nested]),
        trace("process-vm-readv", "nobody's memory is read", &["S21"]),
        call("process-vm-writev", "nor written", &["F44", "X24"], HOOK, TRACE).if_any().effect(Effect::Harms),
        call(
            "proc-mem",
            "nor through procfs",
            &["F44", "X24"],
            &["file_open", "ptrace_access_check"],
            &[Item("tasks-outside", "open"), Item("ptrace-outside", "trace")],
        )
        .if_any()
        .effect(Effect::Harms)
        .ends(NOT_SEEN),
        trace("proc-environ", "nobody's environment is read", &["S21"]).ends(NOT_SEEN),
        trace("proc-maps", "nor its map of memory", &["S21"]).ends(NOT_SEEN),
        trace("proc-fd", "nor its descriptors", &["S21"]).ends(NOT_SEEN),
        trace("proc-root", "its root leads nowhere", &["X05", "N73"]).ends(NOT_SEEN),
        trace("proc-cwd", "nor its working directory", &["X05"]).ends(NOT_SEEN),
        trace("proc-exe", "nor its program", &["X05"]).ends(NOT_SEEN),
        trace("pidfd-getfd", "no descriptor of anybody's is taken", &["N52", "S21"]),
        trace("kcmp", "nor compared", &["S21"]),
        trace("process-madvise", "nobody's memory is thrown out", &["S21"]).by(ROOT).ends(NOT_SEEN),
        trace("get-robust-list", "nobody's locks are read", &["S21"]),
    ],
};
