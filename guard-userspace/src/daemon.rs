//! `guard daemon`: policies to the kernel, events to the log, and an eye on both.

mod answer;
mod decider;
mod drills;
mod first;
mod gateways;
mod glass;
mod holds;
mod lookout;
mod notify;
mod policies;
mod reader;
mod sessions;
mod signals;
mod state;
mod sweep;
mod why;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use guard_common::abi::Control;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use thiserror::Error;
use tracing::{error, info, warn};

use decider::Deciding;
use first::{compile_with_drills, first_policies, refuse_governed_cgroup};
use holds::Holds;

use crate::audit::{Clock, Value};
use crate::compile::Plan;
use crate::config::Settings;
use crate::control::Server;
use crate::kernel::{self, Arenas, InstallError, Kernel, LoadError, Pins, Tier};
use crate::sys;

use gateways::Gateways;

pub use gateways::GatewayState;
use lookout::Lookout;
use sessions::Sessions;
use signals::Signals;

pub use drills::{CGROUP as DRILL_CGROUP, directory as drill_directory, policy_name as drill_policy_name};
use policies::Stamp;
pub use policies::{Loaded, PolicyError, load as load_policies};
pub use reader::Reader;
pub use state::{PolicyState, State};

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Config {
    /// Policies, one document a file.
    pub policies: PathBuf,
    /// Audit log and keys.
    pub state: PathBuf,
    /// Sockets and what the daemon tells `guard status`.
    pub run: PathBuf,
    /// Where cgroup v2 is mounted.
    pub cgroups: PathBuf,
    pub pins: Pins,
    /// Stop deciding when the daemon ends.
    pub detach: bool,
    /// Metrics, sinks and how the log is kept.
    pub settings: Settings,
    /// `host:port` that each gateway is asked to connect to; without one a connection to the gateway is enough.
    pub probe: Option<String>,
    /// Enforce the network alone where the kernel calls no LSM program.
    pub allow_partial: bool,
}

/// Why the daemon could not start, or could not go on.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// The policies have errors; what was enforced before still is.
    #[error(transparent)]
    Policies(#[from] PolicyError),
    /// The kernel half could not be brought up.
    #[error("enforce")]
    Load(#[from] LoadError),
    /// A policy generation could not be installed.
    #[error("install the policies")]
    Install(#[from] InstallError),
    /// Something else on the way.
    #[error("{what}")]
    Io {
        /// The operation.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The audit log could not be opened or written.
    #[error("write the audit log")]
    Audit(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Names an operation for an error of the system.
pub(crate) fn doing(what: impl Into<String>) -> impl FnOnce(io::Error) -> DaemonError {
    move |source| DaemonError::Io { what: what.into(), source }
}

/// Seconds between two looks at which sessions there are; a request looks at once.
const SESSIONS_EVERY: u64 = 10;
/// Seconds between two looks for agents outside every domain.
const LOOKOUT_EVERY: u64 = 60;

/// The daemon's standing state between events.
struct Daemon {
    config: Config,
    /// Where this program was when it started: after an upgrade another one is there.
    program: Option<PathBuf>,
    kernel: Kernel,
    /// The number of the last generation that was to be installed, whether it was or not.
    tried: u64,
    plan: Plan,
    loaded: Loaded,
    sessions: Sessions,
    /// Numbers of domains that nobody was in when it was last looked.
    unused: BTreeSet<u32>,
    /// Why the policies of the directory are refused, until they are good.
    refused: Option<String>,
    /// Why the audit log cannot be written, while it cannot.
    unwritten: Option<String>,
    /// Calls that wait for an answer.
    holds: Holds,
    deciding: Deciding,
    gateways: Gateways,
}

/// Runs until told to stop.
pub async fn run(config: Config) -> Result<(), DaemonError> {
    // Whoever tells it to end while it starts is heard when it has started.
    let mut signals = Signals::new()?;
    sys::return_large_blocks();
    // One for each level of a tree of cgroups, as deep as users make it.
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
    // First what no policy can mend.
    let tier = kernel::fitness(config.allow_partial)?;
    // Taken before they are read: what changes meanwhile is seen.
    let stamp = policies::stamp(&config.policies);
    let (loaded, refused) = first_policies(&config)?;
    let _alone = config.pins.claim()?;
    let kernel = Kernel::start(config.pins.clone(), &config.cgroups, tier)?;
    kernel
        .set_control(&Control { daemon: std::process::id(), complete: 1, beat: 0 })
        .map_err(doing("tell the programs who the daemon is"))?;
    let program = std::env::current_exe().ok();
    kernel
        .register_launchers(program.as_deref())
        .map_err(doing("tell the programs who launches services"))?;
    let (generation, ids) = state::previous(&config, &kernel);
    let (loaded, plan) = compile_with_drills(loaded, &config, &ids, generation + 1)?;
    let sessions = Sessions::read(&config.state).map_err(doing("read the boot id"))?;
    let gateways = Gateways::new(config.probe.clone());
    let deciding = Deciding::new(config.settings.decider.clone());
    let numbered = state::numbered(&config.state);
    let mut daemon = Daemon {
        config,
        program,
        kernel,
        tried: plan.generation,
        plan,
        loaded,
        sessions,
        unused: BTreeSet::new(),
        refused,
        unwritten: None,
        holds: Holds::after(numbered),
        deciding,
        gateways,
    };
    // A log that cannot be kept is found out before anything is decided by these policies.
    let mut reader =
        Reader::open(&daemon.kernel, &daemon.config.state, &daemon.config.cgroups, &daemon.config.settings)?;
    daemon.install()?;
    let mut server = Server::open(&daemon.config.run).map_err(doing("listen on the control socket"))?;
    let mut why = daemon.open_why()?;
    daemon.sessions.tell(&mut reader);
    daemon.look_at_sessions(&mut reader);
    kernel::forget_object();
    sys::return_free_memory();
    info!(generation = daemon.plan.generation, adopted = daemon.kernel.adopted, "enforcing");
    if tier == Tier::Partial {
        warn!("degraded: {}", Tier::PARTIAL);
    }
    notify::ready();
    let served = daemon.serve(&mut reader, &mut server, &mut why, &mut signals, stamp).await;
    daemon.end_holds(&mut reader);
    let finished = reader.finish();
    if daemon.config.detach {
        daemon.kernel.pins().remove().map_err(doing("remove the pins"))?;
        warn!("detached: nothing is enforced any more");
    }
    served.and(finished)
}

impl Daemon {
    /// Makes the plan the live one and the cgroups governed.
    ///
    /// The order matters: first the arena, so that a domain means something before anybody is in it.
    fn install(&mut self) -> Result<(), DaemonError> {
        state::remember(&self.config, &self.plan)?;
        Arenas::of(&self.kernel).install(&self.plan.arena)?;
        let governed = self
            .kernel
            .govern(&self.config.cgroups, |path| self.plan.domain_of(path))
            .map_err(doing("govern the cgroups"))?;
        let labelled = self
            .kernel
            .label_present(&self.config.cgroups, &governed)
            .map_err(doing("label the tasks that are inside already"))?;
        // Not after an error: then programs look everything up, until policies are installed.
        self.kernel
            .settle(self.plan.generation)
            .map_err(doing("tell the programs that policies have changed"))?;
        info!(generation = self.plan.generation, cgroups = governed.len(), labelled, "installed");
        if let Err(unkept) = policies::keep(&self.config, &self.loaded) {
            warn!(error = %chain(&unkept), "the policies are not kept for a start that finds worse ones");
        }
        self.ask_again();
        for gone in self.gateways.follow(&self.loaded) {
            self.kernel.close_gateway(gone, None).map_err(doing("forget a gateway"))?;
        }
        if let Err(untold) = self.tell() {
            error!(error = %chain(&untold), "status cannot be told");
        }
        Ok(())
    }

    /// Writes what only the daemon knows to where `guard status` looks.
    fn tell(&self) -> Result<(), DaemonError> {
        let mut state = State::new(&self.plan, &self.loaded, self.refused.clone());
        state.unwritten.clone_from(&self.unwritten);
        state.gateways = self.gateways.states();
        state.write(&self.config.run)
    }

    /// Reads the policies again; errors in them leave everything as it was, and all are shown in status.
    fn reload(&mut self) {
        let outcome = policies::load_again(&self.config.policies, &self.loaded).map_err(DaemonError::from);
        let outcome = outcome.and_then(|loaded| {
            let next = compile_with_drills(loaded, &self.config, &self.plan.ids, self.next_generation())?;
            refuse_governed_cgroup(&next.1)?;
            Ok(next)
        });
        match outcome {
            Ok((loaded, plan)) => {
                self.refused = None;
                if let Err(refused) = self.replace(loaded, plan) {
                    error!(error = %chain(&refused), "the new policies could not be installed");
                    self.refused = Some(chain(&refused));
                }
            }
            Err(refused) => {
                error!(error = %chain(&refused), "the new policies are refused; the old ones stay");
                self.refused = Some(chain(&refused));
            }
        }
        sys::return_free_memory();
        if let Err(untold) = self.tell() {
            error!(error = %chain(&untold), "status cannot be told");
        }
    }

    /// Tells the kernel, the log and status what a gateway's answer means.
    fn heed(&mut self, answer: gateways::Answer, reader: &mut Reader) {
        let Some(news) = self.gateways.learn(answer) else { return };
        let until = Clock::boottime().map(|now| now + gateways::BELIEVED.as_nanos() as u64);
        let until = until.ok().filter(|_| !news.up);
        if (!news.up || news.changed)
            && let Err(error) = self.kernel.close_gateway(news.address, until)
        {
            error!(%error, gateway = %news.address, "the kernel cannot be told of a gateway");
        }
        if !news.changed {
            return;
        }
        let why = news.why.unwrap_or_default();
        if news.up {
            info!(gateway = %news.address, "the gateway answers");
        } else {
            error!(gateway = %news.address, why, "the gateway does not answer: nothing gets out by it");
        }
        reader.note(
            "gateway",
            vec![
                ("address", Value::Text(news.address.to_string())),
                ("up", Value::Flag(news.up)),
                ("why", Value::Text(why)),
            ],
        );
        if let Err(untold) = self.tell() {
            error!(error = %chain(&untold), "status cannot be told");
        }
    }

    /// Installs other policies. What cannot be installed is not what the daemon goes by; in the kernel it may be live where
    /// cgroups could not follow.
    fn replace(&mut self, loaded: Loaded, plan: Plan) -> Result<(), DaemonError> {
        let before = (std::mem::replace(&mut self.loaded, loaded), std::mem::replace(&mut self.plan, plan));
        self.tried = self.plan.generation;
        let done = self.install();
        if done.is_err() {
            (self.loaded, self.plan) = before;
        }
        done
    }

    /// The next generation's number: never one that the kernel may have seen, because what tasks remember holds for one.
    fn next_generation(&self) -> u64 {
        self.tried.max(self.plan.generation) + 1
    }

    async fn serve(
        &mut self,
        reader: &mut Reader,
        server: &mut Server,
        why: &mut crate::why::Server,
        signals: &mut Signals,
        mut stamp: Stamp,
    ) -> Result<(), DaemonError> {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        let mut told_ftrace = false;
        let mut ticks = 0u64;
        let mut often = tokio::time::interval(Duration::from_millis(250));
        self.beat(Clock::boottime().unwrap_or(1));
        let mut lookout = Lookout::default();
        loop {
            tokio::select! {
                ready = reader.readable() => ready?,
                digested = self.holds.digested() => {
                    if let Some(id) = self.holds.note(digested) {
                        self.announce(id, reader);
                    }
                }
                answered = self.deciding.answered() => self.decide(answered, reader),
                _ = often.tick() => self.tend_holds(reader),
                _ = signals.terminate.recv() => break,
                _ = signals.interrupt.recv() => break,
                _ = signals.hangup.recv() => {
                    stamp = policies::stamp(&self.config.policies);
                    self.reload();
                }
                call = server.call() => self.answer(call, reader),
                question = why.question() => self.tell_why(question, reader)?,
                answer = self.gateways.answer() => self.heed(answer, reader),
                found = lookout.found() => lookout.report(found, &self.kernel, reader),
                _ = tick.tick() => {
                    notify::alive();
                    self.beat(Clock::boottime().unwrap_or(1));
                    self.gateways.ask();
                    let now = policies::stamp(&self.config.policies);
                    if now != stamp {
                        stamp = now;
                        self.reload();
                    }
                    let silenced = !crate::status::ftrace_enabled();
                    if silenced != told_ftrace {
                        reader.note("ftrace", vec![("enabled", Value::Flag(!silenced))]);
                    }
                    if silenced && !told_ftrace {
                        error!("kernel.ftrace_enabled is 0: every LSM program is silent; write 1 to mend it");
                    }
                    told_ftrace = silenced;
                    // What the ring holds first, or a session would end before its last records.
                    reader.account(&self.kernel, &self.plan)?;
                    let gateways = self.gateways.states();
                    let (refused, decider) = (self.refused.is_some(), self.deciding.counts());
                    reader.publish(&self.kernel, &self.plan, refused, decider, &gateways);
                    ticks = ticks.wrapping_add(1);
                    if ticks.is_multiple_of(sweep::EVERY) {
                        self.sweep();
                    }
                    if ticks.is_multiple_of(SESSIONS_EVERY) {
                        self.forget_domains();
                        self.look_at_sessions(reader);
                    }
                    self.end_overdue(reader);
                    if ticks % LOOKOUT_EVERY == 1 {
                        lookout.look();
                    }
                }
            }
            reader.drain(&self.plan)?;
            self.take_holds(reader);
            for call in self.holds.ripe() {
                self.answer(call, reader);
            }
            self.end_decided(reader);
            if self.unwritten.as_deref() != reader.refused() {
                self.unwritten = reader.refused().map(str::to_owned);
                if let Err(untold) = self.tell() {
                    error!(error = %chain(&untold), "status cannot be told");
                }
            }
        }
        reader.drain_whole(&self.plan)
    }
}

/// An error and everything behind it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Makes a directory for root alone.
pub(crate) fn private_directory(path: &Path) -> Result<(), DaemonError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(doing(format!("create {}", path.display())))
}
