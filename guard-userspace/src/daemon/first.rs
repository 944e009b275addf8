//! Which policies a daemon begins with, and which it can go on with.

use std::io;

use tracing::{error, warn};

use super::policies::{self, Loaded, PolicyError};
use super::{Config, DaemonError, chain, doing};
use crate::compile::{IdMap, Plan};

/// Compiles the policies together with those of a running drill, or if that fails, without: a drill is in nobody's way.
pub(super) fn compile_with_drills(
    loaded: Loaded,
    config: &Config,
    ids: &IdMap,
    generation: u64,
) -> Result<(Loaded, Plan), DaemonError> {
    let all = loaded.with_drills(&config.run);
    if all.policies.len() > loaded.policies.len() {
        match all.compile(ids, generation) {
            Ok(plan) => return Ok((all, plan)),
            Err(refused) => warn!(error = %chain(&refused), "the drill's policies are left out"),
        }
    }
    let plan = loaded.compile(ids, generation)?;
    Ok((loaded, plan))
}

/// The policies to begin with, and why they are not those of the directory, if they are not: where those are wrong the
/// last good ones go on, as they do in a reload. Without any of them nothing would be enforced after a boot.
pub(super) fn first_policies(config: &Config) -> Result<(Loaded, Option<String>), DaemonError> {
    let fit = |loaded: Loaded| {
        refuse_governed_cgroup(&loaded.compile(&IdMap::default(), 0)?)?;
        Ok(loaded)
    };
    let refused = match policies::load(&config.policies).map_err(DaemonError::from).and_then(fit) {
        Ok(loaded) => return Ok((loaded, None)),
        // An empty directory is somebody's wish, not a slip of the pen.
        Err(empty @ DaemonError::Policies(PolicyError::None(_))) => return Err(empty),
        Err(refused) => refused,
    };
    let Some(kept) = policies::kept(config) else { return Err(refused) };
    let kept = fit(kept)?;
    error!(error = %chain(&refused), "the policies are refused; the last good ones are enforced");
    Ok((kept, Some(chain(&refused))))
}

/// A daemon inside a governed cgroup would be an agent's to stop, and could not be started again.
pub(super) fn refuse_governed_cgroup(plan: &Plan) -> Result<(), DaemonError> {
    let own = std::fs::read_to_string("/proc/self/cgroup").map_err(doing("read the daemon's cgroup"))?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_owned();
    if plan.domain_of(path.as_bytes()) != 0 {
        return Err(doing(format!(
            "go on in {path}, which a policy governs: narrow its `applies_to`, or start guard in a cgroup of its own"
        ))(io::Error::from(io::ErrorKind::PermissionDenied)));
    }
    Ok(())
}
