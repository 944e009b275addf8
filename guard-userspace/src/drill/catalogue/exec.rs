//! Programs and code that the rules do not let run.

use super::build::{STAYS, loads, runs};
use crate::drill::Expect::Rule;
use crate::drill::{End, Expect, Group, On, Tags};

const EXEC: &[Expect] = &[Rule("exec", "exec")];
const HOOK: super::build::Names = &["bprm_check_security"];
const SEGV: &[End] = &[End::Killed(libc::SIGSEGV)];
const KILL: &[End] = &[End::Killed(libc::SIGKILL)];

pub(super) const RUNNING: Group = Group {
    name: "Running programs",
    tags: Tags { attack: &["T1059", "T1204.002"], owasp: &["ASI05"] },
    drills: &[
        runs("execve", "a forbidden program does not run", &["X01"], HOOK, EXEC),
        runs("execve-symlink", "nor through a symbolic link", &["X05"], HOOK, EXEC),
        runs("execve-dotted", "nor by a path with dots and slashes", &["X05"], HOOK, EXEC),
        runs("execve-proc-self-root", "nor through /proc/self/root", &["X05"], HOOK, EXEC),
        runs("execve-relative", "nor by a relative path", &["X05"], HOOK, EXEC),
        runs("execve-proc-self-cwd", "nor through /proc/self/cwd", &["X05"], HOOK, EXEC),
        runs(
            "execve-by-thread-of-another-directory",
            "nor by a thread with a working directory of its own",
            &["X05"],
            HOOK,
            EXEC,
        ),
        runs("execveat", "nor by execveat(2) below a directory", &["X02"], HOOK, EXEC),
        runs("fexecve", "nor by its descriptor", &["X02"], HOOK, EXEC),
        runs("execveat-o-path", "nor by an O_PATH descriptor", &["X02"], HOOK, EXEC),
        runs("execve-proc-self-fd", "nor through /proc/self/fd", &["X05"], HOOK, EXEC),
        runs("fexecve-inherited", "nor by an inherited descriptor", &["X02"], HOOK, EXEC).handed(),
        runs("execveat-below-inherited", "nor below an inherited directory", &["X02"], HOOK, EXEC).handed(),
        runs("fexecve-deleted", "nor when its file is deleted", &["X03"], HOOK, EXEC).handed(),
        runs("fexecve-memfd", "a program in memory does not run", &["X03"], HOOK, EXEC)
            .on(On::Open)
            .tags(&["T1620"], &["ASI05"]),
        runs("execve-memfd-by-number", "nor through /proc/self/fd", &["X03"], HOOK, EXEC)
            .on(On::Open)
            .tags(&["T1620"], &["ASI05"]),
        runs("fexecve-memfd-inherited", "nor one made outside", &["X03"], HOOK, EXEC)
            .on(On::Open)
            .handed()
            .tags(&["T1620"], &["ASI05"]),
        runs(
            "script-forbidden",
            "a forbidden script does not run under an allowed interpreter",
            &["X12"],
            HOOK,
            EXEC,
        ),
        runs(
            "script-of-forbidden-interpreter",
            "an allowed script does not run a forbidden interpreter",
            &["X12", "X13"],
            HOOK,
            EXEC,
        ),
        runs(
            "elf-forbidden-loader",
            "an allowed program does not load a forbidden one as its loader",
            &["X15"],
            &["file_open", "mmap_file"],
            &[
                Rule("exec", "interpreter"),
                Rule("exec", "exec"),
                Rule("exec", "open"),
                Rule("load", "mmap"),
                Rule("load", "open"),
            ],
        )
        .ends(SEGV),
        runs(
            "exec-moved",
            "a forbidden program is not moved to where it may run",
            &["X06"],
            &["path_rename"],
            &[Rule("write", "rename-from")],
        )
        .ends(STAYS),
        runs("exec-hard-linked", "nor linked there", &["X06"], &["path_link"], &[Rule("write", "link-from")])
            .ends(STAYS),
        runs(
            "exec-copied-to-fresh",
            "a fresh copy does not run where fresh programs may not",
            &["X06", "X10"],
            HOOK,
            EXEC,
        )
        .on(On::Open),
        runs(
            "exec-by-arguments",
            "forbidden arguments end an allowed program before its first instruction",
            &["X10", "X13"],
            &["bprm_committed_creds"],
            &[Rule("exec", "argv")],
        )
        .on(On::Open)
        .ends(KILL),
        runs(
            "exec-by-arguments-after-options",
            "nor do options hide them",
            &["X10", "X13"],
            &["bprm_committed_creds"],
            &[Rule("exec", "argv")],
        )
        .on(On::Open)
        .ends(KILL),
    ],
};

const MMAP: &[Expect] = &[Rule("load", "mmap")];
const MPROTECT: &[Expect] = &[Rule("load", "mprotect")];

pub(super) const LOADING: Group = Group {
    name: "Loading code",
    tags: Tags { attack: &["T1129", "T1574.006"], owasp: &["ASI05", "ASI04"] },
    drills: &[
        loads("map-code-private", "forbidden code is not mapped", &["X15", "X18"], &["mmap_file"], MMAP),
        loads("map-code-shared", "nor mapped shared", &["X18"], &["mmap_file"], MMAP),
        loads("map-then-mprotect", "nor made executable afterwards", &["X18"], &["file_mprotect"], MPROTECT),
        loads("map-shared-then-mprotect", "nor when mapped shared", &["X18"], &["file_mprotect"], MPROTECT),
        loads(
            "map-writable-then-mprotect",
            "nor when mapped writable first",
            &["X18"],
            &["file_mprotect"],
            MPROTECT,
        ),
        loads("pkey-mprotect", "nor by pkey_mprotect(2)", &["X18"], &["file_mprotect"], MPROTECT),
        loads(
            "map-read-implies-exec",
            "nor by a personality that makes readable executable",
            &["X18"],
            &["mmap_file"],
            MMAP,
        ),
        loads("map-code-inherited", "nor by an inherited descriptor", &["X18"], &["mmap_file"], MMAP)
            .handed(),
    ],
};
