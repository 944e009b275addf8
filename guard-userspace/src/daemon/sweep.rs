//! What is looked after once a minute: what sessions that are over have left, and which files are launchers.

use tracing::warn;

use super::Daemon;
use crate::audit::Clock;

/// Ticks, of a second each, between two sweeps.
pub(super) const EVERY: u64 = 60;

impl Daemon {
    /// Forgets what belongs to sessions that are over, and learns of launchers that were upgraded.
    pub(super) fn sweep(&self) {
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
}
