//! Policies of a running drill: what lies in `drill/` below the runtime state, for as long as it lies there.
//!
//! Whatever such a file says of where it applies, it applies below a cgroup of the drill's own and nowhere else, so that
//! a drill can neither loosen nor tighten what an agent may do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Daemon, DaemonError, Loaded, PolicyError, policies};
use crate::policy::glob::Glob;
use crate::policy::model::{Mode, Policy, Selector};
use crate::policy::parse;
use crate::policy::source::{Span, Spanned};

/// The directory, below that of the runtime state.
const DIRECTORY: &str = "drill";

/// The cgroup below which drills make theirs.
pub const CGROUP: &str = "guard.drill";

/// The name that the policy in `NAME.yaml` has while it is loaded.
pub fn policy_name(stem: &str) -> String {
    format!("guard-drill-{stem}")
}

/// Where a drill puts its policies.
pub fn directory(run: &Path) -> PathBuf {
    run.join(DIRECTORY)
}

/// The policies that lie there now. One with an error is left out: the drill that put it there is told when it asks.
pub(super) fn load(run: &Path) -> Vec<Arc<Policy>> {
    let files = policies::files(&directory(run)).unwrap_or_default();
    files.iter().filter_map(|path| confine(path)).map(Arc::new).collect()
}

fn confine(path: &Path) -> Option<Policy> {
    let stem = path.file_stem()?.to_str()?;
    let glob = Glob::path(&format!("/{CGROUP}/{stem}/**"), Span::default()).ok()?;
    let mut policy = parse::load(path).policy?;
    policy.applies_to = vec![Spanned::new(Selector::Cgroup(glob), Span::default())];
    policy.name.value = policy_name(stem);
    policy.candidate_for = None;
    // A drill of a file that only records would show nothing.
    policy.mode = Mode::Enforce;
    Some(policy)
}

impl Loaded {
    /// The same with the policies of a drill.
    pub(super) fn with_drills(&self, run: &Path) -> Self {
        let mut all = self.clone();
        all.policies.extend(load(run));
        all
    }
}

impl Daemon {
    /// Takes the drill's policies in, or lets them go. What else is enforced stays as it is if they do not go with it.
    pub(super) fn take_drills(&mut self) -> Result<(), DaemonError> {
        match policies::load(&directory(&self.config.run)) {
            Ok(_) | Err(PolicyError::None(_)) => {}
            Err(wrong @ (PolicyError::Read { .. } | PolicyError::Wrong { .. } | PolicyError::Compile(_))) => {
                return Err(wrong.into());
            }
        }
        let loaded = policies::load_again(&self.config.policies, &self.loaded)?.with_drills(&self.config.run);
        let plan = loaded.compile(&self.plan.ids, self.next_generation())?;
        self.replace(loaded, plan)
    }
}
