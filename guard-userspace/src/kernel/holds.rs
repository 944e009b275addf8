//! Held calls: who is held, and the answers.

use std::io;

use guard_common::abi::{Held, Reason, Ruling, RulingKey};
use guard_common::limits::{HELD, RULINGS};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use zerocopy::IntoBytes;

use super::Kernel;
use crate::sys::bpf;

impl Kernel {
    /// Answers a call. The thread, or whichever of the session makes the same call, takes the answer before `until`.
    pub fn rule(&self, key: RulingKey, reason: Reason, until: u64) -> io::Result<()> {
        let ruling = Ruling { until, reason: reason as u32, _pad: 0 };
        bpf::update(self.map("RULINGS")?, key.as_bytes(), ruling.as_bytes())
    }

    /// Whether an answer has not been taken yet.
    pub fn is_ruled(&self, key: &RulingKey) -> bool {
        let mut ruling = Ruling::default();
        let map = self.map("RULINGS");
        map.and_then(|map| bpf::lookup(map, key.as_bytes(), ruling.as_mut_bytes())).unwrap_or(false)
    }

    /// Takes an answer back.
    pub fn unrule(&self, key: RulingKey) -> io::Result<()> {
        bpf::delete(self.map("RULINGS")?, key.as_bytes()).map(drop)
    }

    /// Forgets answers that nobody took in time. `now` is CLOCK_BOOTTIME.
    pub fn forget_rulings(&self, now: u64) -> io::Result<()> {
        let map = self.map("RULINGS")?;
        let (mut late, mut key, mut seen) = (Vec::new(), None::<RulingKey>, 0);
        let mut next = RulingKey::default();
        while seen < RULINGS
            && bpf::next_key(map, key.as_ref().map(IntoBytes::as_bytes), next.as_mut_bytes())?
        {
            let mut ruling = Ruling::default();
            if bpf::lookup(map, next.as_bytes(), ruling.as_mut_bytes())? && ruling.until < now {
                late.push(next);
            }
            seen += 1;
            key = Some(next);
        }
        late.iter().try_for_each(|key| bpf::delete(map, key.as_bytes()).map(drop))
    }

    /// The threads that are held, as the kernel holds them.
    pub fn held(&self) -> io::Result<Vec<(u32, Held)>> {
        let map = self.map("HELD")?;
        let (mut held, mut key) = (Vec::new(), None::<u32>);
        let mut next = 0u32;
        while held.len() < HELD as usize
            && bpf::next_key(map, key.as_ref().map(IntoBytes::as_bytes), next.as_mut_bytes())?
        {
            let mut entry = Held::default();
            if bpf::lookup(map, next.as_bytes(), entry.as_mut_bytes())? {
                held.push((next, entry));
            }
            key = Some(next);
        }
        Ok(held)
    }

    /// Since when a thread is held in this call; `None` if it is not.
    pub fn held_since(&self, tid: u32, start: u64) -> Option<u64> {
        let mut entry = Held::default();
        let found = bpf::lookup(self.map("HELD").ok()?, tid.as_bytes(), entry.as_mut_bytes()).ok()?;
        (found && entry.start == start).then_some(entry.since)
    }

    /// Forgets a thread that is no more.
    pub fn unhold(&self, tid: u32) -> io::Result<()> {
        bpf::delete(self.map("HELD")?, tid.as_bytes()).map(drop)
    }
}

/// Lets a stopped process go on: it makes its call again. False if it is gone. Any thread's id will do.
pub fn go_on(pid: u32) -> bool {
    i32::try_from(pid).is_ok_and(|pid| kill(Pid::from_raw(pid), Signal::SIGCONT).is_ok())
}
