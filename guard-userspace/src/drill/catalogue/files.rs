//! Files that the rules do not give.

use super::build::{ROOT, ROOTS, STAYS, call, read, write};
use crate::drill::Expect::{Capability, Item, Rule};
use crate::drill::{End, Expect, Group, On, Tags};

const OPEN: &[Expect] = &[Rule("write", "open")];
const CREATE: &[Expect] = &[Rule("write", "create"), Rule("write", "mknod")];
const TRUNCATE: &[Expect] = &[Rule("write", "truncate"), Rule("write", "open")];
const RENAME: &[Expect] = &[Rule("write", "rename-from"), Rule("write", "rename-to")];
const LINK: &[Expect] = &[Rule("write", "link-from"), Rule("write", "link-to")];
const LOOK: &[Expect] = &[Rule("read", "open")];
const F01: super::build::Names = &["F01"];
const FILE_OPEN: super::build::Names = &["file_open"];

pub(super) const OPENING: Group = Group {
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

pub(super) const READING: Group = Group {
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

pub(super) const NAMES: Group = Group {
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

const XATTR: &[Expect] = &[Rule("write", "xattr")];
const ACL: &[Expect] = &[Rule("write", "acl"), Rule("write", "xattr")];
const FLAGS: &[Expect] = &[Rule("write", "attributes")];
/// What a file system without such attributes says.
const UNFIT: &[End] =
    &[End::Did, End::Errno(libc::EOPNOTSUPP), End::Errno(libc::ENOTTY), End::Errno(libc::EINVAL)];

pub(super) const METADATA: Group = Group {
    name: "Changing metadata",
    tags: Tags { attack: &["T1222.002", "T1070.006"], owasp: &["ASI02", "ASI03"] },
    drills: &[
        write(
            "chmod",
            "a protected file's mode is not changed",
            &["F27"],
            &["path_chmod"],
            &[Rule("write", "chmod")],
        ),
        write(
            "fchmod",
            "nor through a descriptor opened for reading",
            &["F27"],
            &["path_chmod"],
            &[Rule("write", "chmod")],
        ),
        write("fchmodat2", "nor by fchmodat2(2)", &["F27"], &["path_chmod"], &[Rule("write", "chmod")])
            .since(6, 6),
        write(
            "chmod-directory",
            "a protected directory's mode is not changed",
            &["F27"],
            &["path_chmod"],
            &[Rule("write", "chmod")],
        ),
        write(
            "chown",
            "a protected file's owner is not changed",
            &["F27"],
            &["path_chown"],
            &[Rule("write", "chown")],
        )
        .by(ROOTS),
        write("lchown", "nor a symbolic link's", &["F27"], &["path_chown"], &[Rule("write", "chown")])
            .by(ROOTS),
        write(
            "fchown",
            "nor through a descriptor opened for reading",
            &["F27"],
            &["path_chown"],
            &[Rule("write", "chown")],
        )
        .by(ROOTS),
        write(
            "utimensat",
            "a protected file's times are not changed",
            &["F27"],
            &["inode_setattr"],
            &[Rule("write", "times")],
        ),
        write(
            "utimensat-symlink",
            "nor a symbolic link's",
            &["F27"],
            &["inode_setattr"],
            &[Rule("write", "times")],
        ),
        write(
            "futimens",
            "nor through a descriptor opened for reading",
            &["F27"],
            &["inode_setattr"],
            &[Rule("write", "times")],
        ),
        write(
            "set-acl",
            "a protected file gets no access control list",
            &["F28"],
            &["inode_set_acl", "inode_setxattr"],
            ACL,
        )
        .if_any(),
        write(
            "remove-acl",
            "a protected file's access control list is not removed",
            &["F28"],
            &["inode_remove_acl", "inode_removexattr"],
            ACL,
        )
        .if_any(),
        write(
            "set-xattr",
            "a protected file gets no extended attribute",
            &["F28"],
            &["inode_setxattr"],
            XATTR,
        )
        .if_any(),
        write(
            "fsetxattr",
            "nor through a descriptor opened for reading",
            &["F28"],
            &["inode_setxattr"],
            XATTR,
        )
        .if_any(),
        write(
            "remove-xattr",
            "a protected file's extended attribute is not removed",
            &["F28"],
            &["inode_removexattr"],
            XATTR,
        )
        .if_any(),
        write(
            "set-trusted-xattr",
            "a protected file gets no trusted attribute",
            &["F28"],
            &["capable", "inode_setxattr"],
            &[Rule("write", "xattr"), Capability("cap-sys-admin")],
        )
        .by(ROOT)
        .if_any(),
        write(
            "set-file-capability",
            "no program is given capabilities",
            &["F28", "X33"],
            &["inode_setxattr"],
            &[Rule("write", "xattr"), Capability("cap-setfcap")],
        )
        .by(ROOTS)
        .if_any(),
        write(
            "ioctl-set-flags",
            "a protected file's flags are not changed by ioctl(2)",
            &["F30"],
            &["file_ioctl"],
            FLAGS,
        )
        .if_any(),
        call("ioctl-fssetxattr", "nor its project", &["F30"], &["file_ioctl"], FLAGS)
            .on(On::Shut)
            .control(UNFIT),
        write(
            "ioctl-set-flags-32-bit",
            "nor by a 32-bit program's ioctl",
            &["F30"],
            &["file_ioctl_compat", "file_ioctl"],
            FLAGS,
        )
        .if_any(),
        call("file-setattr", "nor by file_setattr(2)", &["F30"], &["inode_file_setattr"], FLAGS)
            .on(On::Shut)
            .since(6, 17)
            .control(UNFIT),
        write(
            "set-times-of-bind-mounted",
            "a second mount does not hide whose times are changed",
            &["F33"],
            &["inode_setattr"],
            &[Rule("write", "times")],
        )
        .by(ROOT)
        .handed(),
    ],
};

pub(super) const URING: Group = Group {
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

pub(super) const STRANGE: Group = Group {
    name: "Strange names and paths",
    tags: Tags { attack: &["T1036", "T1070"], owasp: &["ASI02", "ASI10"] },
    drills: &[
        write(
            "name-newline",
            "a name with a newline creates nothing, and one well-formed record",
            &["F41", "S35"],
            &["path_mknod"],
            CREATE,
        ),
        write("name-not-utf8", "a name that is not UTF-8 creates nothing", &["F41"], &["path_mknod"], CREATE),
        write(
            "name-escapes",
            "a name with terminal escapes creates nothing",
            &["F41", "S35"],
            &["path_mknod"],
            CREATE,
        ),
        write(
            "name-deleted",
            "a name that says it is deleted creates nothing",
            &["F41"],
            &["path_mknod"],
            CREATE,
        ),
        write("name-255-bytes", "the longest name creates nothing", &["F40"], &["path_mknod"], CREATE),
        write(
            "name-json",
            "a name that looks like a record creates nothing and forges none",
            &["F41", "S35"],
            &["path_mknod"],
            CREATE,
        ),
        call(
            "path-100-deep",
            "nothing is created a hundred directories down",
            &["F40"],
            &["path_mknod"],
            CREATE,
        )
        .on(On::Shut)
        .handed(),
        call(
            "path-near-limit",
            "nothing is created at a path of 3,500 bytes",
            &["F40"],
            &["path_mknod"],
            CREATE,
        )
        .on(On::Shut)
        .handed(),
        call(
            "path-over-limit",
            "nothing is created at a path that is too long to be told",
            &["F40"],
            &["path_mknod"],
            CREATE,
        )
        .on(On::Shut)
        .handed(),
        write(
            "removed-cwd",
            "the working directory is not removed",
            &["F21"],
            &["path_rmdir"],
            &[Rule("write", "rmdir")],
        ),
    ],
};
