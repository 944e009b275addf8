//! What sessions and processes that are over leave in the kernel's maps.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use guard_common::abi::{BudgetKey, BudgetWord, CgroupEntry, GroupKey};
use guard_common::limits::{BUDGETS, GROUPS};
use zerocopy::{FromZeros, IntoBytes};

use super::Kernel;
use crate::sys::bpf;

/// A session that is younger than this may have a task that the look at the labels has not met, in nanoseconds.
const YOUNG: u64 = 60_000_000_000;

impl Kernel {
    /// Forgets the budgets of sessions without a cgroup and without a task. `now` is CLOCK_BOOTTIME.
    pub fn forget_budgets(&self, now: u64) -> io::Result<usize> {
        let old = |word: &BudgetWord| word.since.saturating_add(YOUNG) < now;
        let budgets: Vec<BudgetKey> =
            self.budgets()?.into_iter().filter(|(_, word)| old(word)).map(|(key, _)| key).collect();
        if budgets.is_empty() {
            return Ok(0);
        }
        let mut live: BTreeSet<u64> = self.sessions()?.into_iter().collect();
        live.extend(self.labels()?.iter().map(|(_, label)| label.session));
        let map = self.map("BUDGETS")?;
        let mut forgotten = 0;
        for key in budgets.iter().filter(|key| !live.contains(&key.session)) {
            forgotten += usize::from(bpf::delete(map, key.as_bytes())?);
        }
        Ok(forgotten)
    }

    /// Forgets where processes were moved that are no more.
    pub fn forget_groups(&self) -> io::Result<usize> {
        let map = self.map("GROUPS")?;
        let (mut gone, mut key) = (Vec::new(), None::<GroupKey>);
        let mut next = GroupKey::default();
        let mut seen = 0;
        while seen < GROUPS && bpf::next_key(map, key.as_ref().map(IntoBytes::as_bytes), next.as_mut_bytes())?
        {
            if !Path::new(&format!("/proc/{}", next.tgid)).exists() {
                gone.push(next);
            }
            seen += 1;
            key = Some(next);
        }
        gone.iter().try_fold(0, |count, key| Ok(count + usize::from(bpf::delete(map, key.as_bytes())?)))
    }

    /// The domains that a task or a cgroup is in, whatever policies there are now.
    pub fn carried(&self) -> io::Result<BTreeSet<u32>> {
        let mut carried: BTreeSet<u32> = self.labels()?.into_iter().map(|(_, label)| label.domain).collect();
        let map = self.map("CGROUPS")?;
        for id in self.governed_ids()? {
            let mut entry = CgroupEntry::default();
            if bpf::lookup(map, id.as_bytes(), entry.as_mut_bytes())? {
                carried.insert(entry.domain);
            }
        }
        let map = self.map("GROUPS")?;
        let (mut key, mut next) = (None::<GroupKey>, GroupKey::default());
        for _ in 0..GROUPS {
            if !bpf::next_key(map, key.as_ref().map(IntoBytes::as_bytes), next.as_mut_bytes())? {
                break;
            }
            let mut domain = 0u64;
            if bpf::lookup(map, next.as_bytes(), domain.as_mut_bytes())? {
                carried.insert(u32::try_from(domain).unwrap_or(0));
            }
            key = Some(next);
        }
        Ok(carried)
    }

    /// What is spent, as the kernel holds it.
    pub fn budgets(&self) -> io::Result<Vec<(BudgetKey, BudgetWord)>> {
        let map = self.map("BUDGETS")?;
        let (mut found, mut key) = (Vec::new(), None::<BudgetKey>);
        let mut next = BudgetKey::default();
        // A walk over a table that changes may meet a key twice, but not more often than there are keys.
        while found.len() < BUDGETS as usize
            && bpf::next_key(map, key.as_ref().map(IntoBytes::as_bytes), next.as_mut_bytes())?
        {
            let mut word = BudgetWord::new_zeroed();
            if bpf::lookup(map, next.as_bytes(), word.as_mut_bytes())? {
                found.push((next, word));
            }
            key = Some(next);
        }
        Ok(found)
    }
}
