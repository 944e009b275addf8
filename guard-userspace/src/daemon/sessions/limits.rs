//! What a policy's `limits` mean for a cgroup. A limit that is there already and stricter stays.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::policy::model;

/// The strictest of some policies' limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) runtime: Option<Duration>,
    pub(super) tasks: Option<u64>,
    pub(super) memory: Option<u64>,
}

impl Limits {
    pub(super) fn of<'a>(all: impl Iterator<Item = &'a model::Limits>) -> Self {
        all.fold(Self::default(), |so_far, next| Self {
            runtime: least(so_far.runtime, next.max_runtime.as_ref().map(|limit| limit.value)),
            tasks: least(so_far.tasks, next.max_tasks.as_ref().map(|limit| limit.value)),
            memory: least(so_far.memory, next.max_memory.as_ref().map(|limit| limit.value)),
        })
    }

    /// Writes them to a cgroup whose controllers are on.
    pub(super) fn apply(&self, cgroup: &Path) {
        for (file, most) in [("pids.max", self.tasks), ("memory.max", self.memory)] {
            let Some(most) = most else { continue };
            let path = cgroup.join(file);
            let Ok(now) = fs::read_to_string(&path) else { continue };
            // The kernel keeps memory in whole pages.
            if now.trim().parse::<u64>().is_ok_and(|now| now <= most) {
                continue;
            }
            if let Err(error) = fs::write(&path, most.to_string()) {
                tracing::warn!(%error, path = %path.display(), "a limit cannot be set");
            }
        }
    }
}

fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strictest_counts_and_none_is_no_limit() {
        assert_eq!(least(Some(3), None), Some(3));
        assert_eq!(least(Some(3), Some(2)), Some(2));
        assert_eq!(least::<u64>(None, None), None);
    }

    #[test]
    fn a_stricter_limit_stays() {
        let dir = std::env::temp_dir().join(format!("guard-limits-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("pids.max"), "max\n").unwrap();
        fs::write(dir.join("memory.max"), "4096\n").unwrap();
        Limits { runtime: None, tasks: Some(5), memory: Some(8192) }.apply(&dir);
        assert_eq!(fs::read_to_string(dir.join("pids.max")).unwrap(), "5");
        assert_eq!(fs::read_to_string(dir.join("memory.max")).unwrap(), "4096\n");
        fs::remove_dir_all(dir).unwrap();
    }
}
