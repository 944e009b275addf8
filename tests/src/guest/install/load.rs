//! Somebody who presses while policies and daemons change.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::super::agent::{Who, enter};
use super::super::ground::{At, Kind};
use super::super::stage::{Stage, status};
use super::super::sys;

/// A process inside that does what is forbidden and what is allowed, again and again, and ends with a bit for each
/// that came out wrong.
#[derive(Debug)]
pub(super) struct Load {
    child: Pid,
    stop: PathBuf,
}

impl Load {
    pub(super) fn start(stage: &Stage, cgroup: &Path) -> Result<Self> {
        Self::with_pauses(stage, cgroup, Duration::from_micros(500))
    }

    pub(super) fn with_pauses(stage: &Stage, cgroup: &Path, pause: Duration) -> Result<Self> {
        let (shut, open) = (At::fresh(Kind::Shut, Who::Root)?, At::fresh(Kind::Open, Who::Root)?);
        let _ = stage;
        let stop = open.at_work("stop");
        let (wait, go) = nix::unistd::pipe()?;
        let Some(child) = sys::split()? else {
            drop(go);
            sys::end_with(|| {
                let _ = fs::File::from(wait).read(&mut [0]);
                let (mut rounds, mut wrong) = (0u32, 0);
                while !open.at_work("stop").exists() {
                    wrong |= i32::from(fs::write(shut.file(), "after\n").is_ok());
                    wrong |= i32::from(fs::remove_file(shut.on("full/inner")).is_ok()) << 1;
                    wrong |= i32::from(fs::write(open.file(), "after\n").is_err()) << 2;
                    rounds += 1;
                    // Each refusal is a record, and the guest's disk is its memory.
                    std::thread::sleep(pause);
                }
                if rounds < 50 { 120 } else { wrong }
            })
        };
        drop(wait);
        enter(cgroup, child)?;
        drop(go);
        Ok(Self { child, stop })
    }

    pub(super) fn end(self) -> Result<()> {
        fs::write(&self.stop, "")?;
        let end = waitpid(self.child, None)?;
        ensure!(
            end == WaitStatus::Exited(self.child, 0),
            "the load ended with {end:?}; counters: {}",
            status()["counters"]
        );
        Ok(())
    }
}
