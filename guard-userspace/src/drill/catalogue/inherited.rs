//! What comes from outside: descriptors, roots, mounts.

use super::build::{ROOT, STAYS, call, runs, write};
use crate::drill::Expect::Rule;
use crate::drill::{Expect, Group, On, Tags};

const INHERITED: &[Expect] = &[Rule("write", "inherited")];
const HOOK: super::build::Names = &["file_permission"];
const OPEN: &[Expect] = &[Rule("write", "open")];

pub(super) const DESCRIPTORS: Group = Group {
    name: "Descriptors from outside",
    tags: Tags { attack: &["T1565.001", "T1611"], owasp: &["ASI03", "ASI10"] },
    drills: &[
        write(
            "write-inherited",
            "an inherited descriptor writes no protected file",
            &["F09"],
            HOOK,
            INHERITED,
        )
        .handed(),
        write("pwritev2-inherited", "nor by pwritev2(2)", &["F09"], HOOK, INHERITED).handed(),
        write("splice-inherited", "nor by splice(2)", &["F09"], HOOK, INHERITED).handed(),
        write("sendfile-inherited", "nor by sendfile(2)", &["F09", "F15"], HOOK, INHERITED).handed(),
        write("copy-file-range-inherited", "nor by copy_file_range(2)", &["F09"], HOOK, INHERITED).handed(),
        write("fallocate-inherited", "nor by fallocate(2)", &["F09"], HOOK, INHERITED).handed(),
        write(
            "ftruncate-inherited",
            "nor by ftruncate(2)",
            &["F04"],
            &["file_truncate", "path_truncate"],
            &[Rule("write", "truncate")],
        )
        .handed(),
        write(
            "receive-file",
            "a descriptor received over a socket writes no protected file",
            &["F09"],
            &["file_receive"],
            &[Rule("write", "receive")],
        )
        .handed(),
        write(
            "map-inherited",
            "an inherited descriptor is not mapped for writing",
            &["F11"],
            &["mmap_file"],
            &[Rule("write", "mmap")],
        )
        .handed(),
        write(
            "map-inherited-then-mprotect",
            "nor mapped for reading and made writable",
            &["F12"],
            &["mmap_file"],
            &[Rule("write", "mmap")],
        )
        .handed(),
        write(
            "create-below-inherited",
            "nothing is created below an inherited directory",
            &["F02"],
            &["path_mknod"],
            &[Rule("write", "create"), Rule("write", "mknod")],
        )
        .handed()
        .cve(&["CVE-2024-21626"]),
        write(
            "unlink-below-inherited",
            "nothing is removed below an inherited directory",
            &["F21"],
            &["path_unlink"],
            &[Rule("write", "unlink")],
        )
        .handed()
        .cve(&["CVE-2024-21626"]),
        write(
            "open-below-inherited-o-path",
            "nothing is opened for writing below an inherited O_PATH directory",
            &["F01"],
            &["file_open"],
            OPEN,
        )
        .handed()
        .cve(&["CVE-2024-21626"]),
        write(
            "reopen-inherited",
            "an inherited descriptor is not opened again",
            &["F09"],
            &["file_open"],
            OPEN,
        )
        .handed(),
        write(
            "link-inherited-nameless",
            "an inherited nameless file gets no name in a protected directory",
            &["F17"],
            &["path_link"],
            &[Rule("write", "link-to"), Rule("write", "link-from")],
        )
        .handed()
        .ends(STAYS),
        write(
            "chmod-inherited",
            "an inherited descriptor changes no mode",
            &["F27"],
            &["path_chmod"],
            &[Rule("write", "chmod")],
        )
        .handed(),
        write("set-times-inherited", "nor times", &["F27"], &["inode_setattr"], &[Rule("write", "times")])
            .handed(),
    ],
};

pub(super) const VIEWS: Group = Group {
    name: "Other views of the tree",
    tags: Tags { attack: &["T1611", "T1564"], owasp: &["ASI10"] },
    drills: &[
        write("write-other-root", "another root hides no protected file", &["F37"], &["file_open"], OPEN)
            .by(ROOT)
            .handed(),
        write(
            "unlink-other-root",
            "nor from being removed",
            &["F37"],
            &["path_unlink"],
            &[Rule("write", "unlink")],
        )
        .by(ROOT)
        .handed(),
        runs(
            "exec-other-root",
            "nor a forbidden program",
            &["X05"],
            &["bprm_check_security"],
            &[Rule("exec", "exec")],
        )
        .by(ROOT)
        .handed(),
        write(
            "write-own-mount-namespace",
            "a mount namespace of its own hides no protected file",
            &["F33"],
            &["file_open"],
            OPEN,
        )
        .by(ROOT)
        .handed(),
        call(
            "write-detached-mount",
            "below a mount that hangs nowhere nothing is written",
            &["F34"],
            &["file_open"],
            OPEN,
        )
        .by(ROOT)
        .on(On::Shut)
        .handed(),
        call("unlink-detached-mount", "nor removed", &["F34"], &["path_unlink"], &[Rule("write", "unlink")])
            .by(ROOT)
            .on(On::Shut)
            .handed(),
        call(
            "write-foreign-mount",
            "through another namespace's mount nothing is written",
            &["F34"],
            &["file_open"],
            OPEN,
        )
        .by(ROOT)
        .on(On::Shut)
        .handed(),
        write(
            "open-tree-write-below",
            "a copied mount that hangs nowhere hides no protected file",
            &["F34"],
            &["file_open"],
            OPEN,
        )
        .by(ROOT)
        .handed()
        .lax(),
    ],
};
