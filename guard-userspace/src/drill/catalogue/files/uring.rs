//! The same by io_uring.

use super::{CREATE, F01, FILE_OPEN, LINK, RENAME, TRUNCATE, XATTR};
use crate::drill::Expect::Rule;
use crate::drill::catalogue::build::{STAYS, write};
use crate::drill::{Group, Tags};

pub(in crate::drill::catalogue) const URING: Group = Group {
    name: "Files by io_uring",
    tags: Tags { attack: &["T1565.001", "T1562.001"], owasp: &["ASI02", "ASI10"] },
    drills: &[
        write(
            "uring-create",
            "io_uring creates no file in a protected directory",
            &["F02"],
            &["path_mknod"],
            CREATE,
        ),
        write("uring-create-by-worker", "nor by a worker thread", &["F02"], &["path_mknod"], CREATE),
        write(
            "uring-truncate-by-worker",
            "a worker thread empties no protected file",
            &["F03"],
            FILE_OPEN,
            TRUNCATE,
        ),
        write("uring-openat2", "OPENAT2 opens no protected file for writing", F01, FILE_OPEN, TRUNCATE),
        write(
            "uring-unlink",
            "UNLINKAT removes no protected file",
            &["F21"],
            &["path_unlink"],
            &[Rule("write", "unlink")],
        ),
        write(
            "uring-rmdir",
            "io_uring removes no directory either",
            &["F21"],
            &["path_rmdir"],
            &[Rule("write", "rmdir")],
        ),
        write("uring-rename", "RENAMEAT moves nothing out", &["F21", "F17"], &["path_rename"], RENAME)
            .ends(STAYS),
        write(
            "uring-exchange-by-worker",
            "a worker thread exchanges nothing",
            &["F21", "F17"],
            &["path_rename"],
            RENAME,
        )
        .ends(STAYS),
        write(
            "uring-mkdir",
            "MKDIRAT makes no directory",
            &["F21", "F25"],
            &["path_mkdir"],
            &[Rule("write", "mkdir")],
        ),
        write(
            "uring-symlink",
            "SYMLINKAT makes no link",
            &["F21", "F23"],
            &["path_symlink"],
            &[Rule("write", "symlink")],
        ),
        write(
            "uring-link",
            "LINKAT gives no protected file a second name",
            &["F21", "F17"],
            &["path_link"],
            LINK,
        )
        .ends(STAYS),
        write("uring-setxattr", "FSETXATTR sets no attribute", &["F28"], &["inode_setxattr"], XATTR).if_any(),
        write(
            "uring-write-inherited",
            "WRITE does not write through a descriptor from outside",
            &["F09"],
            &["file_permission"],
            &[Rule("write", "inherited")],
        )
        .handed(),
        write(
            "uring-fallocate-inherited",
            "nor FALLOCATE",
            &["F09"],
            &["file_permission"],
            &[Rule("write", "inherited")],
        )
        .handed(),
    ],
};
