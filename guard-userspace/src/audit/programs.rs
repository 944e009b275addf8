//! Which program a process runs, as the kernel told: by exec, and by fork from its parent.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use guard_common::abi::EventKind;

use super::fast::FastMap;
use crate::events::Event;

/// Processes remembered; beyond, all are forgotten, and procfs is asked for those that live.
const KEPT: usize = 65_536;

#[derive(Debug)]
struct Program {
    /// The process's start: another process with the same id is another process.
    start: u64,
    image: Arc<[u8]>,
}

/// Programs by process.
#[derive(Debug, Default)]
pub(super) struct Programs {
    by_pid: FastMap<u32, Program>,
}

impl Programs {
    /// The program of an event's process when the event happened. What no event has told, procfs may still know: of
    /// processes that were there before the domain was, or whose events are lost.
    pub(super) fn of(&mut self, event: &Event) -> Arc<[u8]> {
        match self.by_pid.get(&event.pid) {
            Some(known) if known.start == event.start_time => return Arc::clone(&known.image),
            Some(_) | None => {}
        }
        let forked = event.kind == EventKind::Enter;
        if forked && let Some(parent) = self.by_pid.get(&event.ppid) {
            let image = Arc::clone(&parent.image);
            self.keep(event, Arc::clone(&image));
            return image;
        }
        let glimpse = fs::read_link(format!("/proc/{}/exe", event.pid)).unwrap_or_default();
        let image: Arc<[u8]> = Arc::from(glimpse.as_os_str().as_bytes());
        self.keep(event, Arc::clone(&image));
        image
    }

    /// Takes note of what an event tells, after its own record has been written down.
    pub(super) fn saw(&mut self, event: &Event) {
        match event.kind {
            // A file without a path, as a memfd, is left to procfs.
            EventKind::Exec if event.object.is_empty() => {
                self.by_pid.remove(&event.pid);
            }
            EventKind::Exec => self.keep(event, event.object.as_slice().into()),
            EventKind::Exit => {
                self.by_pid.remove(&event.pid);
            }
            EventKind::Decision | EventKind::Enter | EventKind::CgroupMade | EventKind::CgroupGone => {}
        }
    }

    fn keep(&mut self, event: &Event, image: Arc<[u8]>) {
        // A packet has no process.
        if event.pid == 0 {
            return;
        }
        if self.by_pid.len() >= KEPT {
            self.by_pid.clear();
        }
        self.by_pid.insert(event.pid, Program { start: event.start_time, image });
    }
}
