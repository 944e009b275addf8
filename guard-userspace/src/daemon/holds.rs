//! Held calls in the daemon's loop: they arrive with the events, wait in the queue, and are answered.

mod given;
mod looks;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use guard_common::abi::{Reason, RulingKey};
use tracing::{error, warn};

use given::fields;
pub(super) use given::{Given, record};
pub(super) use looks::{Digested, Made, is_to_be_seen, unchanged};
use looks::{Looks, is_thread};

use super::decider::outcome;
use super::{Daemon, Reader};
use crate::approvals::{Again, Arrival, Bounds, Event, Pending, Queue, Request, facts};
use crate::audit::{Clock, HeldCall};
use crate::control::{self, Call, Refusal};
use crate::kernel::go_on;
use crate::sys::Leased;

/// How long an answer lies ready for the call that it was given to.
const READY: Duration = Duration::from_secs(30);
/// How long a session's answer is good, if nobody says otherwise.
const SESSION: Duration = Duration::from_secs(3600);
/// A held thread that is not in the queue by then is made to ask again: its event was lost, or a former daemon's.
const STRAY: u64 = 2_000_000_000;
/// How long calls wait whose policy does not say it.
const TIMEOUT: Duration = Duration::from_secs(300);

/// How long nobody can write to a file after its call has taken its approval: by then the kernel runs it, or has started
/// the interpreter that reads it.
const LEASE: u64 = 2_000_000_000;

/// So many numbers are spoken for at a time.
const NUMBERS: u64 = 100;

/// The waiting calls, and the digests that are being made for them.
#[derive(Debug, Default)]
pub(super) struct Holds {
    pub(super) queue: Queue,
    looks: Looks,
    /// Approvals that came before the digest that they are bound to.
    early: Vec<Call>,
    /// A decider's approvals, while the files are looked at again.
    pub(super) decided: HashMap<u64, Given>,
    /// Files of approved calls.
    kept: Vec<Kept>,
    /// Up to which number the next daemon gives none.
    numbered: u64,
}

/// A file to which nobody can write until its call has taken its answer, and some time longer.
#[derive(Debug)]
struct Kept {
    key: RulingKey,
    /// When it is let go if the answer lies there no longer, and when in any case.
    until: u64,
    end: u64,
    _lease: Arc<Leased>,
}

impl Holds {
    /// For calls whose numbers come after this one.
    pub(super) fn after(last: u64) -> Self {
        Self { queue: Queue::after(last), numbered: last, ..Self::default() }
    }

    /// The next digest that is ready.
    pub(super) async fn digested(&mut self) -> Digested {
        self.looks.next().await
    }

    /// Puts a digest beside the call it was made for, unless that is another one by now; gives the call's number.
    pub(super) fn note(&mut self, (id, bound_to, made): Digested) -> Option<u64> {
        let pending = self.queue.get_mut(id).filter(|pending| pending.digest == bound_to)?;
        match made {
            Made::First(Ok((sha256, state))) => {
                pending.request.sha256 = sha256;
                pending.state = Some(state);
            }
            Made::First(Err(why)) => pending.request.sha256 = format!("unknown: {why}"),
            Made::Again(again) => {
                pending.again = again;
                return None;
            }
        }
        Some(id)
    }

    /// Looks at a file once more: its call is approved if it is what was shown.
    fn look_again(&mut self, id: u64) {
        let Some(pending) = self.queue.get_mut(id).filter(|pending| is_to_be_seen(pending)) else { return };
        let Some(shown) = pending.state.filter(|_| matches!(pending.again, Again::Not)) else { return };
        pending.again = Again::Looks;
        let pending = pending.clone();
        let (file, sha256) = (pending.file.clone(), pending.request.sha256.clone());
        self.looks.look(&pending, move |waits| {
            Made::Again(match file.still(&sha256, shown, waits) {
                Ok(lease) => Again::Same(lease.map(Arc::new)),
                Err(why) => Again::Changed(why.to_string()),
            })
        });
    }

    /// Whether an approval has to wait for a digest that is still being made.
    pub(super) fn is_early(&self, request: &control::Request) -> bool {
        let control::Request::Answer { id, approve: true, .. } = request else { return false };
        self.queue.get(*id).is_some_and(|pending| pending.request.sha256.is_empty() || is_to_be_seen(pending))
    }

    /// Keeps an approval until the digest is made.
    pub(super) fn keep(&mut self, call: Call) {
        self.early.push(call);
    }

    /// Those that need not wait any more.
    pub(super) fn ripe(&mut self) -> Vec<Call> {
        let approved = self.early.iter().filter_map(|call| match call.request {
            control::Request::Answer { id, .. } => Some(id),
            _ => None,
        });
        let approved: Vec<u64> = approved.chain(self.decided.keys().copied()).collect();
        for id in approved {
            self.look_again(id);
        }
        let (early, ripe) =
            std::mem::take(&mut self.early).into_iter().partition(|call| self.is_early(&call.request));
        self.early = early;
        ripe
    }
}

pub(super) fn now() -> u64 {
    Clock::boottime().unwrap_or(0)
}

impl Daemon {
    /// Takes in the calls that were held since the last look.
    pub(super) fn take_holds(&mut self, reader: &mut Reader) {
        for call in reader.held() {
            self.take_hold(&call, reader);
        }
    }

    fn take_hold(&mut self, call: &HeldCall, reader: &mut Reader) {
        let event = &call.record.event;
        let bounds = self.bounds(event.domain, event.policy);
        let since = self.kernel.held_since(event.tid, event.start_time).unwrap_or(event.time);
        let arrival = self.holds.queue.arrive(call, since, bounds);
        if let Some((before, why)) = self.holds.queue.replaced() {
            self.void(&before, why, reader);
        }
        match arrival {
            Arrival::New(id) => {
                self.number(id);
                if let Some(pending) = self.holds.queue.get_mut(id) {
                    pending.request.lineage = facts::lineage(pending.request.pid);
                }
                if let Some(pending) = self.holds.queue.get(id).cloned() {
                    self.holds.looks.digest(&pending);
                }
            }
            Arrival::Known(_) => {}
            Arrival::Full => {
                let mut queue = Queue::default();
                let lone = Bounds { pending: 1, pending_per_session: 1, ..bounds };
                if let Arrival::New(id) = queue.arrive(call, since, lone)
                    && let Some(pending) = queue.take(id)
                {
                    self.settle_hold(&pending, &Given::own(Reason::QueueFull), reader);
                }
            }
        }
    }

    /// Before anybody hears of a number: the next daemon will not give it again.
    fn number(&mut self, id: u64) {
        if id <= self.holds.numbered {
            return;
        }
        self.holds.numbered = id.saturating_add(NUMBERS);
        if let Err(error) = super::state::number(&self.config.state, self.holds.numbered) {
            warn!(%error, "the next daemon will give numbers of held calls again");
        }
    }

    fn bounds(&self, domain: u32, policy: u8) -> Bounds {
        let escalation = self.plan.unit(domain, policy).map(|unit| unit.policy.escalation.clone());
        let escalation = escalation.unwrap_or_default();
        Bounds {
            timeout: escalation.timeout.map_or(TIMEOUT, |timeout| timeout.value),
            pending: escalation.max_pending as usize,
            pending_per_session: escalation.max_pending_per_session as usize,
        }
    }

    /// What time brings: calls whose time is up, callers that are gone, threads that were never heard of.
    pub(super) fn tend_holds(&mut self, reader: &mut Reader) {
        let now = now();
        let kernel = &self.kernel;
        self.holds.kept.retain_mut(|kept| {
            if kernel.is_ruled(&kept.key) {
                kept.until = now.saturating_add(LEASE);
            }
            now < kept.until.min(kept.end)
        });
        for pending in self.holds.queue.expire(now) {
            self.settle_hold(&pending, &Given::own(Reason::Timeout), reader);
        }
        let gone: Vec<u64> = self
            .holds
            .queue
            .iter()
            .filter(|pending| !is_thread(pending.request.pid, pending.request.tid))
            .map(|pending| pending.request.id)
            .collect();
        for id in gone {
            if let Some(pending) = self.holds.queue.take(id) {
                self.void(&pending, "its caller is gone", reader);
                reader.why.void(pending.session, (pending.request.tid, pending.start));
            }
        }
        let held = match self.kernel.held() {
            Ok(held) => held,
            Err(error) => {
                warn!(%error, "the held threads cannot be read");
                return;
            }
        };
        for (tid, entry) in held {
            if self.holds.queue.knows(tid, entry.start) || now.saturating_sub(entry.since) < STRAY {
                continue;
            }
            // Continued, it asks again and is heard; and one that is gone needs no place.
            if !go_on(tid)
                && let Err(error) = self.kernel.unhold(tid)
            {
                warn!(%error, tid, "a thread that is gone cannot be forgotten");
            }
        }
    }

    /// A call that nobody can answer any more.
    fn void(&mut self, pending: &Pending, why: &str, reader: &mut Reader) {
        self.deciding.forget(pending.request.id);
        let now = now();
        reader.note("approval-void", fields(pending, why, now));
        reader.tell(Event::Void, &pending.seen(now), None);
    }

    /// After a new generation: everything that waits asks again, under the rules that count now.
    pub(super) fn ask_again(&self) {
        for pending in self.holds.queue.iter() {
            go_on(pending.request.pid);
        }
    }

    /// The daemon ends: nobody will answer, so everything that waits is refused.
    pub(super) fn end_holds(&mut self, reader: &mut Reader) {
        for pending in self.holds.queue.expire(u64::MAX) {
            self.settle_hold(&pending, &Given::own(Reason::NoDaemon), reader);
        }
        self.beat(0);
    }

    /// Gives the kernel the answer, writes it down, and lets the caller go on.
    fn settle_hold(&mut self, pending: &Pending, given: &Given, reader: &mut Reader) {
        let now = now();
        let after = |time: Duration| now.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        let key =
            RulingKey { digest: pending.digest, start: pending.start, tid: pending.request.tid, _pad: 0 };
        let mut ruled = self.kernel.rule(key, given.reason, after(READY));
        if let Some(time) = given.session {
            let all = RulingKey { digest: pending.digest, ..RulingKey::default() };
            ruled = ruled.and_then(|()| self.kernel.rule(all, given.reason, after(time)));
        }
        if let Err(error) = ruled {
            // It stays held, is heard of again as a stray, and gets another chance.
            error!(%error, "an answer cannot be given");
        }
        self.deciding.forget(pending.request.id);
        reader.note("approval", record(pending, given.reason.name(), given));
        if given.reason != Reason::QueueFull {
            reader.tell(Event::Answered, &pending.seen(now), Some(&outcome(given)));
        }
        if let (Reason::Approved, Again::Same(Some(lease))) = (given.reason, &pending.again) {
            let (until, end) = (now.saturating_add(LEASE), after(READY).saturating_add(LEASE));
            self.holds.kept.push(Kept { key, until, end, _lease: Arc::clone(lease) });
        }
        go_on(pending.request.pid);
    }

    /// Ends the calls that a decider has approved and whose files have been looked at again.
    pub(super) fn end_decided(&mut self, reader: &mut Reader) {
        let queue = &self.holds.queue;
        let done = |id: &u64, _: &mut Given| queue.get(*id).is_none_or(|pending| !is_to_be_seen(pending));
        let seen: Vec<(u64, Given)> = self.holds.decided.extract_if(done).collect();
        for (id, mut given) in seen {
            if let Some(Err(why)) = self.holds.queue.get(id).map(unchanged) {
                // It approved what is not there any more.
                (given.reason, given.why) = (Reason::Changed, why);
            }
            self.end_hold(id, &given, reader);
        }
    }

    /// Ends a call that waits.
    pub(super) fn end_hold(&mut self, id: u64, given: &Given, reader: &mut Reader) {
        if let Some(pending) = self.holds.queue.take(id) {
            self.settle_hold(&pending, given, reader);
        }
    }

    /// What is waiting.
    pub(super) fn approvals(&self) -> Vec<Request> {
        self.holds.queue.list(now())
    }

    pub(super) fn approval(&self, id: u64) -> Result<Request, Refusal> {
        self.holds.queue.get(id).map(|pending| pending.seen(now())).ok_or_else(|| unknown(id))
    }

    /// Somebody's answer.
    pub(super) fn answer_hold(
        &mut self,
        id: u64,
        mut given: Given,
        reader: &mut Reader,
    ) -> Result<Request, Refusal> {
        let pending = self.holds.queue.get_mut(id).ok_or_else(|| unknown(id))?;
        if given.reason == Reason::Approved
            && let Err(why) = unchanged(pending)
        {
            // Whoever approves it once more has it looked at once more.
            pending.again = Again::Not;
            return Err(Refusal::Failed(why));
        }
        if let Some(time) = given.session.filter(Duration::is_zero) {
            given.session = Some(SESSION.max(time));
        }
        let pending = self.holds.queue.take(id).ok_or_else(|| unknown(id))?;
        self.settle_hold(&pending, &given, reader);
        Ok(pending.seen(now()))
    }

    /// A sign of life for the programs, which hold nothing without one.
    pub(super) fn beat(&self, now: u64) {
        let control = guard_common::abi::Control { daemon: std::process::id(), complete: 1, beat: now };
        if let Err(error) = self.kernel.set_control(&control) {
            error!(%error, "the programs cannot be told that the daemon lives");
        }
    }
}

fn unknown(id: u64) -> Refusal {
    Refusal::Unknown(format!(
        "no call waits under number {id}, or not any more as it was shown: `guard approvals list` shows those that do"
    ))
}
