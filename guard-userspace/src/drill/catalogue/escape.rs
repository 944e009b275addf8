//! Who is inside stays inside.

use super::build::{ROOT, ROOTS, STAYS, write};
use crate::drill::Expect::{Item, Rule};
use crate::drill::{Drill, Expect, Group, Tags, Way};

const CREATE: &[Expect] = &[Rule("write", "create"), Rule("write", "mknod")];
const WITH_PARENT: &[Way] = &[Way::Direct, Way::Forked, Way::Nested];

const fn mark(
    name: &'static str,
    says: &'static str,
    covers: super::build::Names,
    hooks: super::build::Names,
    ways: &'static [Way],
) -> Drill {
    write(name, says, covers, hooks, CREATE).by(ROOTS).ways(ways)
}

pub(super) const IDENTITY: Group = Group {
    name: "Staying inside",
    tags: Tags { attack: &["T1611"], owasp: &["ASI03", "ASI10"] },
    drills: &[
        mark(
            "mark",
            "a process that is moved in is inside, and so are its threads, its children and what it runs",
            &["S08", "X01"],
            &["cgroup_attach_task", "task_alloc", "path_mknod"],
            super::build::WAYS,
        )
        .every(),
        mark(
            "mark-nested",
            "a task of a cgroup nested fourteen levels down is inside",
            &["S04"],
            &["cgroup_mkdir"],
            &[Way::Nested],
        ),
        mark(
            "mark-left",
            "a process that is moved out again before it did anything stays inside",
            &["S01", "S08"],
            &["cgroup_attach_task"],
            &[Way::Left],
        ),
        mark(
            "mark-cloned",
            "a process that is born in a governed cgroup is inside",
            &["S02"],
            &["task_newtask"],
            &[Way::Cloned],
        ),
        mark(
            "mark-cloned-left",
            "a process that is born inside and moved out before it did anything stays inside",
            &["S02", "S08"],
            &["task_newtask"],
            &[Way::ClonedLeft],
        ),
        mark(
            "mark-launched",
            "what a launcher starts in a governed cgroup is inside",
            &["S08"],
            &["bprm_creds_for_exec"],
            &[Way::Launched],
        ),
        write(
            "clone-into-cgroup",
            "a child cannot be born in a cgroup outside through a descriptor that names it",
            &["S02"],
            &["task_alloc"],
            &[Item("cgroups", "fork")],
        )
        .by(ROOTS),
        mark("setuid", "another user id leaves a task inside", &["X33"], &["path_mknod"], WITH_PARENT)
            .by(ROOT),
        mark(
            "setsid",
            "a session of its own leaves a task inside",
            &["S08"],
            &["task_alloc"],
            super::build::WAYS,
        ),
        mark(
            "double-fork",
            "a grandchild whose parent has died is inside",
            &["S08"],
            &["task_alloc"],
            super::build::WAYS,
        ),
        mark(
            "vfork-and-exec",
            "a program started by posix_spawn is inside",
            &["S08"],
            &["task_alloc"],
            super::build::WAYS,
        )
        .ends(STAYS),
    ],
};
