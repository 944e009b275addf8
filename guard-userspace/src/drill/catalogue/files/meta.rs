//! Modes, owners, times, attributes and flags.

use super::XATTR;
use crate::drill::Expect::{Capability, Rule};
use crate::drill::catalogue::build::{ROOT, ROOTS, call, write};
use crate::drill::{End, Expect, Group, On, Tags};

const ACL: &[Expect] = &[Rule("write", "acl"), Rule("write", "xattr")];
const FLAGS: &[Expect] = &[Rule("write", "attributes")];
/// What a file system without such attributes says.
const UNFIT: &[End] =
    &[End::Did, End::Errno(libc::EOPNOTSUPP), End::Errno(libc::ENOTTY), End::Errno(libc::EINVAL)];

pub(in crate::drill::catalogue) const METADATA: Group = Group {
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
