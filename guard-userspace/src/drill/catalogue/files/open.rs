//! Files opened to be written.

use super::{CREATE, F01, FILE_OPEN, OPEN, TRUNCATE};
use crate::drill::Expect::{Capability, Rule};
use crate::drill::catalogue::build::{ROOT, write};
use crate::drill::{Group, Tags};

pub(in crate::drill::catalogue) const OPENING: Group = Group {
    name: "Opening files to write",
    tags: Tags { attack: &["T1565.001"], owasp: &["ASI02", "ASI10"] },
    drills: &[
        write("open-write", "a protected file is not opened for writing", &["F01", "N75"], FILE_OPEN, OPEN),
        write(
            "open-read-write",
            "a protected file is not opened for reading and writing",
            F01,
            FILE_OPEN,
            OPEN,
        ),
        write("open-append", "a protected file is not opened for appending", F01, FILE_OPEN, OPEN),
        write("creat", "creat(2) does not empty a protected file", F01, FILE_OPEN, TRUNCATE),
        write(
            "open-truncate-read-only",
            "O_TRUNC with O_RDONLY does not empty a protected file",
            &["F03"],
            FILE_OPEN,
            TRUNCATE,
        ),
        write(
            "open-truncate-mode-3",
            "O_TRUNC with access mode 3 does not empty a protected file",
            &["F03"],
            FILE_OPEN,
            TRUNCATE,
        ),
        write("openat2", "openat2(2) does not open a protected file for writing", F01, FILE_OPEN, OPEN),
        write(
            "openat2-in-root",
            "a directory taken for the root does not hide a protected file",
            &["F37"],
            FILE_OPEN,
            OPEN,
        ),
        write(
            "truncate",
            "truncate(2) does not shorten a protected file",
            &["F04"],
            &["path_truncate"],
            TRUNCATE,
        ),
        write(
            "truncate-longer",
            "truncate(2) does not lengthen a protected file",
            &["F04"],
            &["path_truncate"],
            TRUNCATE,
        ),
        write(
            "write-through-own-symlink",
            "a symbolic link of the agent's own does not lead to a protected file",
            &["F23"],
            FILE_OPEN,
            OPEN,
        ),
        write(
            "write-through-symlink",
            "a symbolic link that was there does not lead to a protected file",
            &["F23"],
            FILE_OPEN,
            OPEN,
        ),
        write(
            "create-through-dangling-symlink",
            "nothing is created behind a dangling symbolic link",
            &["F02", "F23"],
            &["path_mknod"],
            CREATE,
        ),
        write(
            "reopen-o-path",
            "a descriptor opened with O_PATH is not opened again for writing",
            F01,
            FILE_OPEN,
            OPEN,
        ),
        write(
            "reopen-read-only",
            "a descriptor opened for reading is not opened again for writing",
            F01,
            FILE_OPEN,
            OPEN,
        ),
        write(
            "write-below-proc-self-root",
            "/proc/self/root does not hide a protected file",
            &["X05", "F37"],
            FILE_OPEN,
            OPEN,
        ),
        write(
            "write-through-proc-self-cwd",
            "/proc/self/cwd does not hide a protected file",
            &["X05"],
            FILE_OPEN,
            OPEN,
        ),
        write(
            "write-dotted-path",
            "dots and doubled slashes do not hide a protected file",
            &["X05"],
            FILE_OPEN,
            OPEN,
        ),
        write(
            "write-by-handle",
            "a file handle does not open a protected file",
            &["F07"],
            &["capable"],
            &[Capability("cap-dac-read-search"), Rule("write", "open")],
        )
        .by(ROOT),
        write("write-shared-map", "a protected file is not mapped for writing", &["F11"], FILE_OPEN, OPEN),
        write("fallocate", "a protected file is not made longer by fallocate(2)", F01, FILE_OPEN, OPEN),
        write(
            "copy-file-range",
            "copy_file_range(2) does not write a protected file",
            &["F15"],
            FILE_OPEN,
            OPEN,
        ),
        write(
            "race-symlink-swap",
            "a link that changes while it is opened never leads to a protected file",
            &["F24", "X25"],
            FILE_OPEN,
            OPEN,
        )
        .cve(&["CVE-2018-15664"]),
        write(
            "write-workspace-deferred-exec",
            "no hook is left for git, a shell or an editor to run later",
            &["X36"],
            &["path_mkdir"],
            &[Rule("write", "mkdir")],
        )
        .tags(&["T1546", "T1053"], &["ASI05", "ASI04"]),
    ],
};
