//! Names and paths that a program trips over.

use super::CREATE;
use crate::drill::Expect::Rule;
use crate::drill::catalogue::build::{call, write};
use crate::drill::{Group, On, Tags};

pub(in crate::drill::catalogue) const STRANGE: Group = Group {
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
