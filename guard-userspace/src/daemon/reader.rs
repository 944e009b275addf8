//! Events from the kernel's ring to the audit log.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use aya::maps::{MapData, RingBuf};
use guard_common::abi::{self, EventKind, Site};
use guard_common::limits::RING_BYTES;
use tokio::io::unix::AsyncFd;
use tracing::{error, info, warn};

use super::gateways::GatewayState;
use super::{DaemonError, chain, decider, doing};
use crate::approvals::{Event, Outcome, Request, message};
use crate::audit::fast::FastMap;
use crate::audit::{
    Body, Clock, Hash, HeldCall, Host, Identity, Log, LogError, PlanNames, Record, Scribe, Value, hash,
    populated,
};
use crate::compile::Plan;
use crate::config::Settings;
use crate::drill::last::Watch;
use crate::kernel::{Kernel, Tier};
use crate::metrics::{Decisions, Drill, Snapshot};
use crate::sinks::Sinks;
use crate::sys;
use crate::why::Memory;

/// Records of one write: enough to spread its cost, few enough to be held while there is no room for them.
const BATCH: usize = 4096;
/// How often the log is made durable and its head signed.
const CHECKPOINT: Duration = Duration::from_secs(1);

/// Events that are taken before all else has its turn.
const TURN: usize = 512;
/// Turns in which all that the ring can hold is taken: no event is shorter than its header.
const WHOLE: usize = RING_BYTES as usize / size_of::<abi::Event>() / TURN + 1;

/// How long events are let gather while they come one after the other.
const GATHER: Duration = Duration::from_millis(2);

/// Ranks of verdicts, and 0 for none.
pub(super) const VERDICTS: usize = 6;

/// What is to be said once everything has been taken that was in the ring at a moment.
struct Owed {
    /// How many events each CPU had sent.
    sent: Vec<u64>,
    /// The sessions whose cgroup nobody was in.
    left: Vec<u64>,
    /// Turns after which that is so for sure.
    turns: usize,
}

/// The ring, and where its events go.
pub struct Reader {
    /// The ring's descriptor once more: the ring itself is not one that tokio can wait on.
    wait: AsyncFd<OwnedFd>,
    ring: RingBuf<MapData>,
    pub(super) scribe: Scribe<PlanNames>,
    log: Log,
    /// Read, and not written yet.
    pending: Vec<Record>,
    /// The last generation whose names are known.
    learned: u64,
    /// When the log was last made durable, and whether anything was written since.
    checkpoint: Instant,
    dirty: bool,
    /// The last look found more than one event.
    busy: bool,
    /// It did not come to the end of the ring.
    more: bool,
    owed: Option<Owed>,
    /// By session: how many decisions came, by verdict's rank.
    pub(super) counts: FastMap<u64, [u64; VERDICTS]>,
    /// What agents may ask about.
    pub(super) why: Memory,
    /// Why the log cannot be written, while it cannot.
    refused: Option<String>,
    /// Where records go besides.
    sinks: Sinks,
    /// The last drill's result.
    drill: Watch,
    /// Messages about held calls, for when the log has what they tell of.
    messages: Vec<Vec<u8>>,
    decisions: Decisions,
    /// Age of the oldest event of the last batch, in seconds, when it was read.
    queue_age: f64,
    /// When the generation was learned of.
    since: Instant,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("log", &self.log.status()).finish_non_exhaustive()
    }
}

fn audit(error: impl std::error::Error + Send + Sync + 'static) -> DaemonError {
    DaemonError::Audit(Box::new(error))
}

impl Reader {
    pub(super) fn open(
        kernel: &Kernel,
        state: &Path,
        cgroups: &Path,
        settings: &Settings,
    ) -> Result<Self, DaemonError> {
        let sinks =
            Sinks::start(settings).map_err(doing("serve metrics and sinks, as the configuration asks"))?;
        let ring = kernel.events().map_err(doing("open the event ring"))?;
        let wait = ring
            .as_fd()
            .try_clone_to_owned()
            .and_then(sys::wait_on)
            .map_err(doing("wait for the event ring"))?;
        let host = Host::read().map_err(doing("read the host's name and boot id"))?;
        let identity = Identity::open(&state.join("keys"), host.clone()).map_err(audit)?;
        let (log, opened) = Log::open(&state.join("audit"), identity, settings.log).map_err(audit)?;
        if opened.cut > 0 || opened.broken.is_some() {
            warn!(?opened, "the audit log was not whole; a record says so");
        }
        let mut scribe = Scribe::new(PlanNames::default(), host, cgroups)
            .map_err(|errno| doing("read the clock")(errno.into()))?;
        scribe.degraded = kernel.tier == Tier::Partial;
        if kernel.adopted {
            scribe.resume(log.sequences());
        }
        scribe.remember_sessions(&state.join("sessions.json"));
        let pending = vec![scribe.note("daemon-start", Vec::new())];
        let began = pending[0].time;
        Ok(Self {
            wait,
            ring,
            scribe,
            log,
            pending,
            learned: 0,
            checkpoint: Instant::now(),
            dirty: false,
            busy: false,
            more: false,
            owed: None,
            counts: FastMap::default(),
            why: Memory::new(began),
            refused: None,
            sinks,
            drill: Watch::new(state),
            messages: Vec::new(),
            decisions: Decisions::default(),
            queue_age: 0.0,
            since: Instant::now(),
        })
    }

    /// Waits until there is something to read.
    ///
    /// Where more than one came at a time, more are on their way: they are let gather, because waking up costs more than
    /// a record.
    pub(super) async fn readable(&self) -> Result<(), DaemonError> {
        if self.more {
            // Whatever else waits has its turn first.
            tokio::task::yield_now().await;
            return Ok(());
        }
        if self.busy {
            tokio::time::sleep(GATHER).await;
        }
        let mut ready = self.wait.readable().await.map_err(doing("wait for the event ring"))?;
        ready.clear_ready();
        Ok(())
    }

    /// Takes some events out of the ring, if the log takes them; says whether that was everything. No more at a time: an
    /// agent that makes events faster than they can be written would keep the daemon from all else, and from whoever wants
    /// to stop that agent. While the log takes nothing, nothing is read: the ring fills up, and each policy's `on_loss` decides.
    pub(super) fn drain(&mut self, plan: &Plan) -> Result<bool, DaemonError> {
        let mut taken = 0;
        if self.learned != plan.generation {
            self.scribe.names.learn(plan);
            self.learned = plan.generation;
            self.since = Instant::now();
            self.pending.push(self.generation(plan));
        }
        // What is taken is gone from the kernel, and with this process.
        let stuck = self.refused.is_some() && !self.pending.is_empty();
        let mut end = false;
        while !end && !stuck && taken < TURN && self.pending.len() < BATCH {
            let Some(entry) = self.ring.next() else {
                end = true;
                continue;
            };
            taken += 1;
            let before = self.pending.len();
            self.scribe.take(&entry, &mut self.pending);
            count(&mut self.counts, &self.pending[before..]);
            self.pending[before..].iter().for_each(|record| self.why.note(record));
        }
        if self.sinks.page().is_some() {
            self.queue_age = age(&self.pending).unwrap_or(0.0);
        }
        if end {
            self.scribe.settle(&mut self.pending);
        }
        let written = self.pending.is_empty() || self.write();
        self.more = written && !end;
        if let Some(owed) = &mut self.owed {
            owed.turns = if end { 0 } else { owed.turns.saturating_sub(1) };
        }
        self.busy = taken > 1;
        if self.pending.is_empty() {
            self.messages.drain(..).for_each(|message| self.sinks.tell(&message));
        }
        if self.dirty && self.refused.is_none() && self.checkpoint.elapsed() >= CHECKPOINT {
            let done = self.log.checkpoint();
            self.told(done);
            (self.checkpoint, self.dirty) = (Instant::now(), false);
        }
        Ok(end)
    }

    /// Takes everything out of the ring that is there now.
    pub(super) fn drain_whole(&mut self, plan: &Plan) -> Result<(), DaemonError> {
        for _ in 0..WHOLE {
            if self.drain(plan)? || self.refused.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Looks for what was lost last, as nothing comes behind it that would show the gap, and ends the sessions whose last task
    /// has gone. For every second or so. Both wait until what was in the ring by then has been taken, which while an agent
    /// fills it are some turns.
    pub(super) fn account(&mut self, kernel: &Kernel, plan: &Plan) -> Result<(), DaemonError> {
        if self.owed.is_none() {
            // First the numbers, then the ring: what has a number by then is in the ring, or nearly.
            let sent = kernel.sent().map_err(doing("read how many events were sent"))?;
            self.owed = Some(Owed { sent, left: self.empty_sessions(), turns: WHOLE });
        }
        self.drain(plan)?;
        let clear = self.pending.is_empty() && self.refused.is_none();
        if let Some(owed) = self.owed.take_if(|owed| clear && owed.turns == 0) {
            self.scribe.sent(&owed.sent);
            self.end_sessions(kernel, &owed.left);
        }
        Ok(())
    }

    /// Which policies decide from here on.
    fn generation(&self, plan: &Plan) -> Record {
        let units = || plan.units.iter().filter(|unit| unit.profile.is_none());
        let policies: Vec<String> =
            units().map(|unit| format!("{}={}", unit.name(), unit.policy.mode)).collect();
        let texts: Vec<String> = units()
            .map(|unit| format!("{}={}", unit.name(), hash(unit.policy.source.text.as_bytes())))
            .collect();
        self.scribe.note(
            "generation",
            vec![
                ("generation", Value::Number(plan.generation)),
                ("policies", Value::Text(policies.join(" "))),
                ("texts", Value::Text(texts.join(" "))),
                ("policies_sha256", Value::Text(Hash(plan.sha256).to_string())),
            ],
        )
    }

    /// The sessions whose cgroup nobody is in.
    fn empty_sessions(&mut self) -> Vec<u64> {
        let mut live: Vec<u64> = self.scribe.sessions().keys().copied().collect();
        live.retain(|session| self.scribe.directory(*session).as_deref().and_then(populated) != Some(true));
        live
    }

    /// Ends those of these sessions whose last task has gone: nobody is in the cgroup, and no labelled task has left it.
    fn end_sessions(&mut self, kernel: &Kernel, left: &[u64]) {
        let mut strays = None;
        for &session in left {
            let directory = self.scribe.directory(session);
            let known = self.scribe.sessions().contains_key(&session);
            if !known || directory.as_deref().and_then(populated) == Some(true) {
                continue;
            }
            // Asked once for all: it is a look at every process of the host.
            let strays = strays.get_or_insert_with(|| kernel.labels().unwrap_or_default());
            if !strays.iter().any(|(_, label)| label.session == session) {
                if let Some(old) = self.scribe.end_session(session, directory.is_none(), &mut self.pending) {
                    self.counts.remove(&old);
                }
                if directory.is_none() {
                    // Whoever comes into one that is still there belongs to the same session.
                    self.why.forget(session);
                    self.counts.remove(&session);
                }
            }
        }
        if let Err(error) = self.scribe.keep_sessions() {
            warn!(%error, "the list of sessions cannot be written; a restart would begin them again");
        }
    }

    /// The calls that were held since the last question.
    pub(super) fn held(&mut self) -> Vec<HeldCall> {
        std::mem::take(&mut self.scribe.held)
    }

    /// This host.
    pub(super) fn host(&self) -> &Host {
        self.scribe.host()
    }

    /// Tells of a held call, if anybody wants to hear of it.
    pub(super) fn tell(&mut self, event: Event, call: &Request, outcome: Option<&Outcome>) {
        if self.sinks.wants_held() {
            self.messages.push(message(event, self.scribe.host(), call, outcome));
        }
    }

    /// Puts a record of the daemon's own into the log, with the next that are written.
    pub(super) fn note(&mut self, kind: &'static str, fields: Vec<(&'static str, Value)>) {
        self.pending.push(self.scribe.note(kind, fields));
    }

    /// Writes what is pending; false if the log has no room for it.
    fn write(&mut self) -> bool {
        let done = self.log.append(&self.pending);
        let done = self.told(done);
        if done {
            // Only now: a sink may learn of nothing that is not in the log.
            if self.sinks.wants_lines() {
                self.sinks.offer(self.log.written());
            }
            if self.sinks.page().is_some() {
                self.decisions.count(&self.pending);
            }
            self.pending.clear();
            self.dirty = true;
        }
        done
    }

    /// Says once that the log cannot be written, and once that it can be again.
    fn told(&mut self, done: Result<(), LogError>) -> bool {
        match done {
            Ok(()) if self.refused.is_some() => info!("the audit log is written again"),
            Ok(()) => {}
            Err(ref refused) if self.refused.is_none() => {
                error!(error = %chain(refused), "the audit log cannot be written; events wait in the kernel");
            }
            Err(_) => {}
        }
        self.refused = done.as_ref().err().map(|refused| chain(refused));
        done.is_ok()
    }

    /// Writes what `/metrics` answers, if anybody may ask.
    pub(super) fn publish(
        &mut self,
        kernel: &Kernel,
        plan: &Plan,
        refused: bool,
        decider: Option<decider::Counts>,
        gateways: &[GatewayState],
    ) {
        let drill = self.sinks.page().and_then(|_| self.drill.look());
        let Some(page) = self.sinks.page() else { return };
        let sites = kernel.sites().unwrap_or([0; Site::COUNT]);
        let policies = plan.units.iter().filter(|unit| unit.profile.is_none());
        let snapshot = Snapshot {
            kernel: Site::ALL.iter().map(|site| (site.name(), sites[*site as usize])).collect(),
            lost: sites[Site::EventsLost as usize],
            records: self.log.status().records,
            writable: self.refused.is_none(),
            queue_age: self.queue_age,
            generation: plan.generation,
            policy_age: self.since.elapsed().as_secs_f64(),
            policies: policies.map(|unit| (unit.name(), unit.policy.mode.name().to_owned())).collect(),
            refused,
            sessions: self.scribe.sessions().len() as u64,
            silenced: !crate::status::ftrace_enabled(),
            sinks: self.sinks.standing(),
            decider: decider.map(decider::named).unwrap_or_default(),
            gateways: gateways
                .iter()
                .filter_map(|gateway| Some((gateway.address.to_string(), gateway.up?)))
                .collect(),
            drill: drill.map(|last| Drill {
                age_seconds: last.age_seconds,
                green: last.green,
                gap: last.gap,
                skipped: last.skipped,
            }),
        };
        page.put(snapshot.page(&self.decisions));
    }

    /// Why the log cannot be written, while it cannot.
    pub(super) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    pub(super) fn finish(mut self) -> Result<(), DaemonError> {
        self.scribe.finish(&mut self.pending);
        self.pending.push(self.scribe.note("daemon-stop", Vec::new()));
        self.log.append(&self.pending).map_err(audit)?;
        self.log.checkpoint().map_err(audit)
    }
}

/// How long the oldest event of a batch has waited, in seconds.
fn age(records: &[Record]) -> Option<f64> {
    let event = records.iter().find_map(|record| match &record.body {
        Body::Event(event) => Some(event.event.time),
        Body::Lost(_) | Body::Corrupt(_) | Body::Note(_) => None,
    })?;
    Some(Clock::boottime().ok()?.saturating_sub(event) as f64 / 1e9)
}

/// Counts the decisions among the records.
fn count(counts: &mut FastMap<u64, [u64; VERDICTS]>, records: &[Record]) {
    for record in records {
        if let Body::Event(event) = &record.body
            && event.event.kind == EventKind::Decision
        {
            let place = event.event.verdict.code() as usize % VERDICTS;
            counts.entry(event.event.session).or_default()[place] += 1;
        }
    }
}
