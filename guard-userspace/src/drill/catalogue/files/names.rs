//! Names made, moved and removed.

use super::{CREATE, LINK, RENAME};
use crate::drill::Expect::{Capability, Item, Rule};
use crate::drill::catalogue::build::{ROOTS, STAYS, write};
use crate::drill::{Group, Tags};

pub(in crate::drill::catalogue) const NAMES: Group = Group {
    name: "Making and moving names",
    tags: Tags { attack: &["T1565.001", "T1036"], owasp: &["ASI02", "ASI10"] },
    drills: &[
        write(
            "create",
            "no file is created in a protected directory, not even an empty one",
            &["F02"],
            &["path_mknod"],
            CREATE,
        ),
        write("create-read-only", "O_CREAT with O_RDONLY creates nothing", &["F02"], &["path_mknod"], CREATE),
        write("create-exclusive", "O_EXCL creates nothing", &["F02"], &["path_mknod"], CREATE),
        write(
            "link-nameless-file-in",
            "a nameless file of an allowed directory gets no name in a protected one",
            &["F17"],
            &["path_link"],
            LINK,
        ),
        write(
            "link-nameless-file-of-it",
            "a protected directory gets no nameless file",
            &["F02"],
            &["file_open", "path_link"],
            &[Rule("write", "open"), Rule("write", "create"), Rule("write", "link-to")],
        ),
        write(
            "hard-link-in",
            "no hard link is made in a protected directory",
            &["F17"],
            &["path_link"],
            LINK,
        )
        .ends(STAYS),
        write(
            "hard-link-out",
            "a protected file gets no second name elsewhere",
            &["F17"],
            &["path_link"],
            LINK,
        )
        .ends(STAYS),
        write("hard-link-out-by-symlink", "nor by a symbolic link to it", &["F17"], &["path_link"], LINK)
            .ends(STAYS),
        write(
            "symlink",
            "no symbolic link is made in a protected directory",
            &["F23"],
            &["path_symlink"],
            &[Rule("write", "symlink")],
        ),
        write(
            "mkdir",
            "no directory is made in a protected one",
            &["F25"],
            &["path_mkdir"],
            &[Rule("write", "mkdir")],
        ),
        write("mkfifo", "no fifo is made in a protected directory", &["F25"], &["path_mknod"], CREATE),
        write("mknod-regular", "mknod(2) makes no regular file there", &["F25"], &["path_mknod"], CREATE),
        write(
            "mknod-whiteout",
            "no whiteout is made in a protected directory",
            &["F25", "F36"],
            &["path_mknod"],
            &[Rule("write", "create"), Rule("write", "mknod"), Item("devices", "mknod")],
        ),
        write(
            "mknod-block",
            "no block device is made",
            &["F46"],
            &["path_mknod"],
            &[Rule("write", "mknod"), Item("devices", "mknod"), Capability("cap-mknod")],
        )
        .by(ROOTS),
        write(
            "mknod-character",
            "no character device is made",
            &["F46", "F47"],
            &["path_mknod"],
            &[Rule("write", "mknod"), Item("devices", "mknod"), Capability("cap-mknod")],
        )
        .by(ROOTS),
        write(
            "bind-socket-file",
            "no socket file is made in a protected directory",
            &["F25"],
            &["path_mknod"],
            CREATE,
        ),
        write(
            "unlink",
            "a protected file is not removed",
            &["F21"],
            &["path_unlink"],
            &[Rule("write", "unlink")],
        ),
        write(
            "unlink-symlink",
            "a protected symbolic link is not removed",
            &["F21"],
            &["path_unlink"],
            &[Rule("write", "unlink")],
        ),
        write(
            "unlink-below-o-path",
            "nor through an O_PATH descriptor of its directory",
            &["F21"],
            &["path_unlink"],
            &[Rule("write", "unlink")],
        ),
        write(
            "rmdir",
            "a protected directory is not removed",
            &["F21"],
            &["path_rmdir"],
            &[Rule("write", "rmdir")],
        ),
        write("rename-inside", "a protected file is not renamed", &["F17"], &["path_rename"], RENAME),
        write("rename-over-another", "nor over another protected file", &["F17"], &["path_rename"], RENAME),
        write("rename-out", "a protected file is not moved out", &["F17"], &["path_rename"], RENAME)
            .ends(STAYS),
        write("rename-in", "nothing is moved into a protected directory", &["F17"], &["path_rename"], RENAME)
            .ends(STAYS),
        write(
            "rename-over",
            "a protected file is not replaced by a move",
            &["F17"],
            &["path_rename"],
            RENAME,
        )
        .ends(STAYS),
        write("rename-noreplace", "RENAME_NOREPLACE moves nothing in", &["F17"], &["path_rename"], RENAME)
            .ends(STAYS),
        write(
            "rename-exchange",
            "RENAME_EXCHANGE does not swap a protected file for an allowed one",
            &["F17"],
            &["path_rename"],
            RENAME,
        )
        .ends(STAYS),
        write("rename-exchange-reversed", "nor the other way round", &["F17"], &["path_rename"], RENAME)
            .ends(STAYS),
        write(
            "rename-exchange-directory",
            "RENAME_EXCHANGE moves no directory out",
            &["F17", "F24"],
            &["path_rename"],
            RENAME,
        )
        .ends(STAYS),
        write("rename-whiteout", "RENAME_WHITEOUT moves nothing out", &["F17"], &["path_rename"], RENAME)
            .ends(STAYS),
        write(
            "rename-directory-out",
            "a protected directory is not moved out",
            &["F17", "F24"],
            &["path_rename"],
            RENAME,
        )
        .ends(STAYS),
        write(
            "rename-directory-in",
            "no directory is moved into a protected one",
            &["F17"],
            &["path_rename"],
            RENAME,
        )
        .ends(STAYS),
    ],
};
