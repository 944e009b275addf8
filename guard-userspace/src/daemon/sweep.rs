//! What is looked after once a minute: what sessions that are over have left, and which files are launchers.

use std::collections::BTreeSet;

use tracing::warn;

use super::{Daemon, DaemonError, chain, doing, state};
use crate::audit::Clock;

/// Ticks, of a second each, between two sweeps.
pub(super) const EVERY: u64 = 60;

impl Daemon {
    /// Forgets what belongs to sessions that are over, and learns of launchers that were upgraded.
    pub(super) fn sweep(&mut self) {
        let now = Clock::boottime().unwrap_or(0);
        if let Err(error) = self.kernel.forget_budgets(now) {
            warn!(%error, "budgets of old sessions could not be forgotten");
        }
        if let Err(error) = self.kernel.forget_rulings(now) {
            warn!(%error, "answers that nobody took could not be forgotten");
        }
        if let Err(error) = self.kernel.forget_groups() {
            warn!(%error, "moves of old processes could not be forgotten");
        }
        if let Err(error) = self.kernel.register_launchers(self.program.as_deref()) {
            warn!(%error, "the programs could not be told of launchers");
        }
    }

    /// Gives back the numbers of domains of policies that are gone, once nobody has been in them for two looks in a
    /// row: a task of theirs would be under whatever policy gets the number next. Without it each drill takes a few
    /// for good, and one day there are none left.
    pub(super) fn forget_domains(&mut self) {
        if let Err(error) = self.try_to_forget_domains() {
            warn!(error = %chain(&error), "domains that nobody is in could not be forgotten");
        }
    }

    fn try_to_forget_domains(&mut self) -> Result<(), DaemonError> {
        let live: BTreeSet<u32> = self.plan.domains.iter().map(|domain| domain.id).collect();
        if self.plan.ids.all().all(|id| live.contains(&id)) {
            // Nothing to look for.
            self.unused.clear();
            return Ok(());
        }
        let carried = self.kernel.carried().map_err(doing("see which domains somebody is in"))?;
        let unused: BTreeSet<u32> =
            self.plan.ids.all().filter(|id| !live.contains(id) && !carried.contains(id)).collect();
        let gone: BTreeSet<u32> = unused.intersection(&self.unused).copied().collect();
        self.unused = &unused - &gone;
        if !gone.is_empty() {
            self.plan.ids.retain(|id| !gone.contains(&id));
            state::remember(&self.config, &self.plan)?;
        }
        Ok(())
    }
}
