//! What is enforced: from the kernel's own mouth, whatever a file says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use guard_common::abi::{Site, Spent};
use serde::Serialize;

use crate::control::{Client, Greeting, Request};
use crate::daemon::{GatewayState, PolicyState, State};
use crate::drill::last::Last;
use crate::kernel::{Arenas, HookState, Kernel, Pins, Tier};

/// The answer of `guard status`.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Every promised hook is attached, a generation is live, nothing silences the programs.
    pub enforcing: bool,
    /// Something promised is not so; why, is in `reasons`.
    pub degraded: bool,
    pub reasons: Vec<String>,
    pub generation: u64,
    /// Of the policies' texts, as the kernel holds it.
    pub policy_sha256: String,
    pub policies: Vec<PolicyState>,
    pub hooks: BTreeMap<String, String>,
    pub cgroups: usize,
    pub tasks: usize,
    /// Whether each policy's gateway answers.
    pub gateways: Vec<GatewayState>,
    pub sessions: Vec<SessionState>,
    /// What the kernel counted, by site.
    pub counters: BTreeMap<&'static str, u64>,
    pub ftrace_enabled: bool,
    /// The daemon that answers. Without one everything is still decided, and nothing recorded.
    pub daemon: Option<Greeting>,
    /// The last drill: green only if it is fresh.
    pub drill: Option<Last>,
    /// Identity of the attached programs.
    pub build: String,
}

/// What a session has sent.
#[derive(Debug, Serialize)]
pub struct SessionState {
    /// The id of its top cgroup.
    pub session: u64,
    /// Bytes of packets, headers included.
    pub bytes_out: u64,
    /// The `max_bytes_out` at which a packet did not fit: nothing goes any more while that is the limit.
    pub spent_at: Option<u64>,
}

impl From<(u64, Spent)> for SessionState {
    fn from((session, spent): (u64, Spent)) -> Self {
        let spent_at = Some(spent.closed_at).filter(|limit| *limit != 0);
        Self { session, bytes_out: spent.bytes, spent_at }
    }
}

/// Whether the tracing machinery that LSM programs hang on is switched on. Without it every program is silent
/// and its link still looks attached.
pub fn ftrace_enabled() -> bool {
    fs::read_to_string("/proc/sys/kernel/ftrace_enabled").is_ok_and(|text| text.trim() == "1")
}

impl Status {
    /// Asks the kernel. Without pins nothing is enforced, and that is the answer.
    pub fn ask(pins: &Pins, run: &Path) -> Self {
        let mut status = Self {
            enforcing: false,
            degraded: false,
            reasons: Vec::new(),
            generation: 0,
            policy_sha256: String::new(),
            policies: Vec::new(),
            hooks: BTreeMap::new(),
            cgroups: 0,
            tasks: 0,
            gateways: Vec::new(),
            sessions: Vec::new(),
            counters: BTreeMap::new(),
            ftrace_enabled: ftrace_enabled(),
            daemon: Client::connect(run).and_then(|mut daemon| daemon.ask(&Request::Hello)).ok(),
            drill: None,
            build: String::new(),
        };
        match Kernel::inspect(pins) {
            Some(kernel) => status.fill(&kernel, run),
            None => status.reasons.push(format!(
                "nothing is loaded: no pins in {}; start `guard daemon`",
                pins.root().display()
            )),
        }
        // What is beside enforcement does not end it: the old policies stay, and so do the programs.
        status.enforcing = status.reasons.is_empty();
        let beside = State::read(run).map(beside).unwrap_or_default();
        let amiss = !status.enforcing || !beside.is_empty();
        status.degraded = amiss && !status.hooks.is_empty();
        status.reasons.extend(beside);
        status
    }

    fn fill(&mut self, kernel: &Kernel, run: &Path) {
        self.build.clone_from(&kernel.build);
        if kernel.tier == Tier::Partial {
            self.reasons.push(Tier::PARTIAL.to_owned());
        }
        for (name, state) in kernel.hooks() {
            if let HookState::Missing(why) = state {
                self.reasons.push(format!("hook {name} is missing ({why}); restart `guard daemon`"));
            }
            self.hooks.insert((*name).to_owned(), state.to_string());
        }
        if !self.ftrace_enabled && kernel.tier == Tier::Full {
            self.reasons.push(
                "kernel.ftrace_enabled is not 1, so no LSM program runs; `sysctl kernel.ftrace_enabled=1`"
                    .to_owned(),
            );
        }
        match Arenas::of(kernel).identity() {
            Ok(Some((generation, digest))) => {
                self.generation = generation;
                self.policy_sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            }
            Ok(None) => {
                self.reasons.push("no policy generation is installed; start `guard daemon`".to_owned())
            }
            Err(error) => self.reasons.push(format!("the policies in the kernel cannot be read: {error}")),
        }
        if let Some(state) = State::read(run) {
            if state.generation != self.generation {
                self.reasons.push(format!(
                    "the kernel holds generation {}, the daemon speaks of {}",
                    self.generation, state.generation
                ));
            }
            self.policies = state.policies;
            self.gateways = state.gateways;
        }
        if !kernel.is_settled() {
            // What the arena says does not hold for a cgroup that is not governed yet.
            self.reasons.push(
                "not every cgroup has the policies yet: they are being installed, or that failed; ask again in a moment"
                    .to_owned(),
            );
        }
        self.cgroups = kernel.governed_ids().map_or(0, |ids| ids.len());
        self.tasks = kernel.labels().map_or(0, |labels| labels.len());
        if let Ok(spent) = kernel.spent() {
            self.sessions = spent.into_iter().map(SessionState::from).collect();
        }
        if let Ok(counters) = kernel.sites() {
            self.counters = Site::ALL.iter().map(|site| (site.name(), counters[*site as usize])).collect();
        }
    }
}

/// What is wrong although everything is enforced.
fn beside(state: State) -> Vec<String> {
    let refused =
        state.refused.map(|why| format!("the policies are refused, and the last good ones go on: {why}"));
    let unwritten = state
        .unwritten
        .map(|why| format!("the audit log cannot be written, and events wait in the kernel: {why}"));
    refused.into_iter().chain(unwritten).collect()
}
