//! Files that may not be read.

use super::{F01, FILE_OPEN, LINK, RENAME};
use crate::drill::Expect::{Capability, Rule};
use crate::drill::catalogue::build::{ROOT, STAYS, read};
use crate::drill::{Expect, Group, Tags};

const LOOK: &[Expect] = &[Rule("read", "open")];

pub(in crate::drill::catalogue) const READING: Group = Group {
    name: "Reading files",
    tags: Tags { attack: &["T1552.001", "T1005"], owasp: &["ASI02", "ASI03"] },
    drills: &[
        read("read-open", "a file that may not be read is not opened", F01, FILE_OPEN, LOOK),
        read(
            "read-open-read-write",
            "nor for reading and writing",
            F01,
            FILE_OPEN,
            &[Rule("read", "open"), Rule("write", "open")],
        ),
        read("read-reopen-o-path", "O_PATH does not lead to the content", F01, FILE_OPEN, LOOK),
        read(
            "read-through-own-symlink",
            "a symbolic link does not lead to the content",
            &["F23"],
            FILE_OPEN,
            LOOK,
        ),
        read(
            "read-through-hard-link",
            "a hard link does not lead to the content",
            &["F17"],
            &["path_link"],
            LINK,
        )
        .ends(STAYS),
        read(
            "read-after-moving-it",
            "the file is not moved to where it could be read",
            &["F17"],
            &["path_rename"],
            RENAME,
        )
        .ends(STAYS),
        read(
            "read-after-moving-its-directory",
            "its directory is not moved to where it could be read",
            &["F17"],
            &["path_rename"],
            RENAME,
        )
        .ends(STAYS),
        read("read-map", "the file is not mapped for reading", F01, FILE_OPEN, LOOK),
        read(
            "read-by-handle",
            "a file handle does not lead to the content",
            &["F07"],
            &["capable"],
            &[Capability("cap-dac-read-search"), Rule("read", "open")],
        )
        .by(ROOT),
        read("list-directory", "the directory is not listed", F01, FILE_OPEN, LOOK),
        read("read-by-sendfile", "sendfile(2) does not copy the content", &["F15"], FILE_OPEN, LOOK),
    ],
};
