//! What goes wrong on purpose while drills run with `--profile chaos`: the daemon is killed every second or reloads without
//! end, its disk is full, its records come faster than anybody reads them, memory is short, the clock jumps. Only on a
//! machine that may be thrown away.

mod daemon;
mod host;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use guard_common::abi::Site;
use serde::Serialize;

use super::stage::Stage;
use super::{DrillError, On, Options, Stance, Tier, doing, ground::Ground};
use crate::kernel::{Kernel, Pins};

/// How often each thing happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Disturbed {
    /// The daemon killed.
    pub kills: u64,
    /// Policies read again.
    pub reloads: u64,
    pub clock_jumps: u64,
    /// The disk of the daemon's state filled; never where it is the drill's own too.
    pub full_disks: u64,
    /// Records for which there was no room.
    pub floods: u64,
    pub tight_memory: u64,
}

/// Counted by the threads.
#[derive(Debug, Default)]
struct Counts {
    kills: AtomicU64,
    reloads: AtomicU64,
    clock_jumps: AtomicU64,
    full_disks: AtomicU64,
    tight_memory: AtomicU64,
}

/// What a thread needs.
#[derive(Debug, Clone)]
struct Cause {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    run: PathBuf,
    state: PathBuf,
    tree: PathBuf,
}

impl Cause {
    /// Waits, but not beyond the end; false at the end.
    fn pause(&self, time: Duration) -> bool {
        const STEP: Duration = Duration::from_millis(50);
        let steps = time.as_millis().div_ceil(STEP.as_millis());
        for _ in 0..steps {
            if self.ended() {
                return false;
            }
            thread::sleep(STEP);
        }
        !self.ended()
    }

    fn ended(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// What one thread does until the end.
type Body = fn(&Cause);

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Everything that disturbs, until this is dropped.
#[derive(Debug)]
pub(super) struct Chaos {
    cause: Cause,
    threads: Vec<JoinHandle<()>>,
    storm: Child,
    pins: Pins,
    lost_before: u64,
    /// What the storm beats against.
    _ground: Ground,
}

impl Chaos {
    pub(super) fn begin(options: &Options, stage: &Stage) -> Result<Self, DrillError> {
        let cause = Cause {
            stop: Arc::new(AtomicBool::new(false)),
            counts: Arc::new(Counts::default()),
            run: options.run.clone(),
            state: options.state.clone(),
            tree: stage.tree.clone(),
        };
        let ground = Ground::fresh(&stage.tree, u32::MAX, On::Shut, Tier::Root)
            .map_err(doing("furnish the storm's ground"))?;
        let storm = storm(options, stage, &ground).map_err(doing("start the storm"))?;
        let bodies: [Body; 5] =
            [daemon::kill, daemon::reload, host::jump, host::fill_disk, host::fill_memory];
        let mut threads = Vec::new();
        for body in bodies {
            let cause = cause.clone();
            let thread = thread::Builder::new().name("chaos".to_owned()).spawn(move || body(&cause));
            threads.push(thread.map_err(doing("start a thread"))?);
        }
        Ok(Self {
            cause,
            threads,
            storm,
            lost_before: lost(&options.pins),
            pins: options.pins.clone(),
            _ground: ground,
        })
    }

    /// So far.
    pub(super) fn disturbed(&self) -> Disturbed {
        let counts = &self.cause.counts;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Disturbed {
            kills: read(&counts.kills),
            reloads: read(&counts.reloads),
            clock_jumps: read(&counts.clock_jumps),
            full_disks: read(&counts.full_disks),
            floods: lost(&self.pins).saturating_sub(self.lost_before),
            tight_memory: read(&counts.tight_memory),
        }
    }
}

/// A process inside that is refused without end.
fn storm(options: &Options, stage: &Stage, ground: &Ground) -> std::io::Result<Child> {
    let child = Command::new(&options.helper)
        .arg("storm")
        .arg(ground.d.join("file"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    std::fs::write(stage.cgroup(Stance::Plain).join("cgroup.procs"), child.id().to_string())?;
    Ok(child)
}

/// Records for which the ring had no room.
fn lost(pins: &Pins) -> u64 {
    let sites = Kernel::inspect(pins).and_then(|kernel| kernel.sites().ok());
    sites.map_or(0, |sites| sites[Site::EventsLost as usize])
}

impl Drop for Chaos {
    fn drop(&mut self) {
        self.cause.stop.store(true, Ordering::Relaxed);
        let _ = self.storm.kill();
        let _ = self.storm.wait();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
