//! Which sessions live: a record when one begins, a record when its last task has gone.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use guard_common::abi::EventKind;
use serde::{Deserialize, Serialize};

use super::files;
use crate::events::Event;

/// One session that has begun.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// CLOCK_BOOTTIME of its first event, in nanoseconds.
    pub since: u64,
    pub decisions: u64,
    /// Decisions whose call failed.
    pub refused: u64,
    pub programs: u64,
}

/// The sessions that live, by number.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    pub(super) live: BTreeMap<u64, Life>,
    /// Where this outlives the daemon.
    file: Option<PathBuf>,
}

/// As it lies on disk.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    boot: String,
    live: BTreeMap<u64, Life>,
}

impl Sessions {
    /// Counts one event. True if its session begins with it.
    pub(super) fn saw(&mut self, event: &Event) -> bool {
        if event.session == 0 {
            return false;
        }
        let mut begins = false;
        let life = self.live.entry(event.session).or_insert_with(|| {
            begins = true;
            Life { since: event.time, ..Life::default() }
        });
        match event.kind {
            EventKind::Decision => {
                life.decisions += 1;
                life.refused += u64::from(event.errno != 0);
            }
            EventKind::Exec => life.programs += 1,
            EventKind::Enter | EventKind::Exit | EventKind::CgroupMade | EventKind::CgroupGone => {}
        }
        begins
    }

    /// Goes on with the sessions that the last daemon of this boot knew, and keeps them there from now on.
    pub(super) fn remember(&mut self, file: &Path, boot: &str) {
        let kept = files::read(file).ok().flatten();
        let kept: Kept = kept.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        if kept.boot == boot {
            self.live = kept.live;
        }
        self.file = Some(file.to_owned());
    }

    /// Writes down which sessions live.
    pub(super) fn keep(&self, boot: &str) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let kept = Kept { boot: boot.to_owned(), live: self.live.clone() };
        let text = serde_json::to_vec(&kept).map_err(io::Error::other)?;
        files::replace(file, &text, files::PRIVATE)
    }
}

/// Whether any task is in a cgroup or below it; `None` if the cgroup has gone.
pub fn populated(cgroup: &Path) -> Option<bool> {
    let text = fs::read_to_string(cgroup.join("cgroup.events")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("populated ")).map(|value| value != "0")
}
