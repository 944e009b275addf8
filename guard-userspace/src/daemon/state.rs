//! What outlives the daemon, and what it tells `guard status`.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Config, DaemonError, GatewayState, Loaded, doing, private_directory};
use crate::compile::{IdMap, Plan};
use crate::kernel::{Arenas, Kernel};

/// What the daemon knows and the kernel does not.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    pub generation: u64,
    pub policies: Vec<PolicyState>,
    /// Why the policies of the directory are refused, while they are.
    pub refused: Option<String>,
    /// Why the audit log cannot be written, while it cannot.
    #[serde(default)]
    pub unwritten: Option<String>,
    #[serde(default)]
    pub gateways: Vec<GatewayState>,
}

/// One loaded policy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PolicyState {
    pub name: String,
    pub file: String,
    pub mode: String,
}

const STATE: &str = "state.json";
const DOMAINS: &str = "domains.json";
const NUMBERS: &str = "numbers.json";

impl State {
    pub(super) fn new(plan: &Plan, loaded: &Loaded, refused: Option<String>) -> Self {
        let policies = loaded
            .policies
            .iter()
            .map(|policy| PolicyState {
                name: policy.name.value.clone(),
                file: policy.source.path.display().to_string(),
                mode: policy.mode.name().to_owned(),
            })
            .collect();
        Self { generation: plan.generation, policies, refused, unwritten: None, gateways: Vec::new() }
    }

    pub(super) fn write(&self, run: &Path) -> Result<(), DaemonError> {
        private_directory(run)?;
        replace(&run.join(STATE), self)
    }

    /// What the last daemon told.
    pub fn read(run: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(run.join(STATE)).ok()?).ok()
    }
}

/// The ids of the domains, which live tasks carry, survive the daemon. A disk without room is no reason not to
/// enforce: tasks do not outlive the machine, so that where the sockets are is as good a place.
pub(super) fn remember(config: &Config, plan: &Plan) -> Result<(), DaemonError> {
    let write = |directory: &Path| {
        private_directory(directory)?;
        replace(&directory.join(DOMAINS), &plan.ids)
    };
    match write(&config.state) {
        Ok(()) => {
            let _ = fs::remove_file(config.run.join(DOMAINS));
            Ok(())
        }
        Err(refused) => write(&config.run).map_err(|_| refused),
    }
}

/// Generation and ids to go on from: the kernel's generation if it holds one.
pub(super) fn previous(config: &Config, kernel: &Kernel) -> (u64, IdMap) {
    let read = |directory: &Path| serde_json::from_slice(&fs::read(directory.join(DOMAINS)).ok()?).ok();
    // What lies with the sockets is newer, or it would have been taken away.
    let ids = read(&config.run).or_else(|| read(&config.state));
    let generation = Arenas::of(kernel).identity().ok().flatten().map_or(0, |(generation, _)| generation);
    (generation, ids.unwrap_or_default())
}

/// Up to which number held calls may have had theirs: who has seen one answers no other call with it.
pub(super) fn numbered(state: &Path) -> u64 {
    let read = || serde_json::from_slice(&fs::read(state.join(NUMBERS)).ok()?).ok();
    read().unwrap_or(0)
}

/// Says up to which number a daemon may give them.
pub(super) fn number(state: &Path, last: u64) -> Result<(), DaemonError> {
    private_directory(state)?;
    replace(&state.join(NUMBERS), &last)
}

/// Writes a file beside the old one and then puts it in its place, so that a reader finds one or the other.
pub(super) fn replace(path: &Path, value: &impl Serialize) -> Result<(), DaemonError> {
    let text = serde_json::to_vec_pretty(value)
        .map_err(|error| doing(format!("write {}", path.display()))(io::Error::other(error)))?;
    let new = path.with_extension("new");
    write(&new, &text)
        .and_then(|()| fs::rename(&new, path))
        .map_err(doing(format!("write {}", path.display())))
}

/// For root alone: everybody can get through to the sockets beside it.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    // One that a former daemon left half-written may be open to others.
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(text)
}
