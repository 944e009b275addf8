//! What is shared without a path: System V objects and POSIX message queues of somebody outside.

use super::build::{Names, call};
use crate::drill::Expect::Item;
use crate::drill::{Drill, End, Expect, Group, Tags};

const USES: &[Expect] = &[Item("shared-ipc", "other")];

/// Whatever a module says of the object's mode, the kernel says EACCES.
const BY_MODE: &[End] = &[End::Errno(libc::EACCES)];

const fn others(name: &'static str, says: &'static str, hooks: Names) -> Drill {
    call(name, says, &["N66"], hooks, USES).handed().if_any()
}

pub(super) const SHARED: Group = Group {
    name: "Shared memory and message queues",
    tags: Tags { attack: &["T1559"], owasp: &["ASI02", "ASI07"] },
    drills: &[
        others("sysv-memory-attach", "shared memory of others is not attached", &["ipc_permission"])
            .ends(BY_MODE),
        others("sysv-message-send", "nothing is sent by a message queue of others", &["ipc_permission"])
            .ends(BY_MODE),
        others("sysv-semaphore-post", "a semaphore of others is not changed", &["ipc_permission"])
            .ends(BY_MODE),
        others("sysv-memory-remove", "shared memory of others is not removed", &["shm_shmctl"]),
        others("sysv-queue-remove", "nor a message queue", &["msg_queue_msgctl"]),
        others("sysv-semaphores-remove", "nor semaphores", &["sem_semctl"]),
        call(
            "mqueue-create",
            "no POSIX message queue is made",
            &["N66"],
            &["inode_create"],
            &[Item("shared-ipc", "create")],
        )
        .if_any(),
        call(
            "mqueue-unlink",
            "no POSIX message queue of others is removed",
            &["N66"],
            &["inode_unlink"],
            &[Item("shared-ipc", "unlink")],
        )
        .handed()
        .if_any(),
    ],
};
