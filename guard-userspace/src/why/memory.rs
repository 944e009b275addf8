//! The last refusals of each session: bounded for each and in all, in memory alone.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use guard_common::abi::{EventKind, Reason, Verdict};

use super::{Account, Outcome, Refused};
use crate::approvals::object;
use crate::audit::{Body, Cause, EventRecord, Record, timestamp};
use crate::events::Event;

/// Of one session. The same call that is refused again takes no more room.
const KEPT: usize = 32;
/// Sessions with refusals; beyond, the one that was refused something longest ago is forgotten.
const SESSIONS: usize = 256;
/// Characters of an object that are kept.
const OBJECT: usize = 1024;

/// A thread: its id and its process's start.
type Thread = (u32, u64);

#[derive(Debug)]
struct Entry {
    /// Wall clock, in nanoseconds since 1970.
    time: u64,
    times: u64,
    outcome: Outcome,
    thread: Thread,
    pid: u32,
    action: &'static str,
    object: String,
    cause: Arc<Cause>,
    reason: Reason,
    errno: u32,
    /// CLOCK_BOOTTIME in nanoseconds: when a call that was over its budget fits in.
    retry: Option<u64>,
}

#[derive(Debug, Default)]
struct Ring {
    /// The newest last.
    entries: VecDeque<Entry>,
    forgotten: u64,
    /// CLOCK_BOOTTIME of the newest.
    last: u64,
}

/// What is remembered, by session.
#[derive(Debug)]
pub(crate) struct Memory {
    /// Wall clock, in nanoseconds since 1970.
    since: u64,
    sessions: HashMap<u64, Ring>,
}

impl Memory {
    /// Empty from `now` on, nanoseconds since 1970.
    pub(crate) fn new(now: u64) -> Self {
        Self { since: now, sessions: HashMap::new() }
    }

    /// Remembers what an agent would ask about.
    pub(crate) fn note(&mut self, record: &Record) {
        let Body::Event(event) = &record.body else { return };
        let Some(outcome) = outcome(&event.event) else { return };
        let session = event.event.session;
        if !self.sessions.contains_key(&session) {
            if outcome == Outcome::Approved {
                return;
            }
            self.make_room();
        }
        let ring = self.sessions.entry(session).or_default();
        ring.last = record.boottime;
        ring.note(Entry::of(event, record.time, outcome));
    }

    fn make_room(&mut self) {
        if self.sessions.len() >= SESSIONS
            && let Some(oldest) = self.sessions.iter().min_by_key(|(_, ring)| ring.last).map(|(id, _)| *id)
        {
            self.sessions.remove(&oldest);
        }
    }

    /// A held call whose process has gone.
    pub(crate) fn void(&mut self, session: u64, thread: Thread) {
        let entries = self.sessions.get_mut(&session).into_iter().flat_map(|ring| &mut ring.entries);
        entries
            .filter(|entry| entry.outcome == Outcome::Waiting && entry.thread == thread)
            .for_each(|entry| entry.outcome = Outcome::Void);
    }

    /// The session is over and its cgroup gone: nobody will ask.
    pub(crate) fn forget(&mut self, session: u64) {
        self.sessions.remove(&session);
    }

    /// What a session is told. `now` is CLOCK_BOOTTIME.
    pub(crate) fn account(&self, session: u64, name: String, now: u64) -> Account {
        let ring = self.sessions.get(&session);
        Account {
            session: name,
            since: timestamp(self.since),
            forgotten: ring.map_or(0, |ring| ring.forgotten),
            refusals: ring
                .into_iter()
                .flat_map(|ring| ring.entries.iter().rev())
                .map(|e| e.told(now))
                .collect(),
        }
    }
}

/// How a call ended that an agent may ask about; `None` for all others.
fn outcome(event: &Event) -> Option<Outcome> {
    if event.kind != EventKind::Decision || event.session == 0 {
        return None;
    }
    match event.reason {
        Reason::Held => Some(Outcome::Waiting),
        Reason::Approved if event.verdict == Verdict::Escalate => Some(Outcome::Approved),
        _ => (event.errno != 0).then_some(Outcome::Refused),
    }
}

impl Ring {
    fn note(&mut self, mut entry: Entry) {
        // A thread makes one call at a time: whatever it is heard of next ends what it was held in.
        let held = self.place(|known| known.outcome == Outcome::Waiting && known.thread == entry.thread);
        let held = held.and_then(|at| self.entries.remove(at));
        if entry.outcome == Outcome::Approved && held.is_none() {
            return;
        }
        if let Some(same) = self.place(|known| known.is_like(&entry)) {
            entry.times += self.entries.remove(same).map_or(0, |known| known.times);
        }
        self.entries.push_back(entry);
        if self.entries.len() > KEPT {
            self.entries.pop_front();
            self.forgotten += 1;
        }
    }

    fn place(&self, is: impl Fn(&Entry) -> bool) -> Option<usize> {
        self.entries.iter().rposition(is)
    }
}

impl Entry {
    fn of(record: &EventRecord, time: u64, outcome: Outcome) -> Self {
        let event = &record.event;
        let wait = event.retry_after().map(|wait| u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX));
        Self {
            time,
            times: 1,
            outcome,
            thread: (event.tid, event.start_time),
            pid: event.pid,
            action: event.action.name(),
            object: named(event),
            cause: Arc::clone(&record.decided),
            reason: event.reason,
            errno: event.errno,
            retry: wait.map(|wait| event.time.saturating_add(wait)),
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        let waits = self.outcome == Outcome::Waiting && self.thread != other.thread;
        self.outcome == other.outcome
            && !waits
            && self.reason == other.reason
            && self.action == other.action
            && self.object == other.object
            && (Arc::ptr_eq(&self.cause, &other.cause) || self.cause == other.cause)
    }

    fn told(&self, now: u64) -> Refused {
        Refused {
            time: timestamp(self.time),
            times: self.times,
            outcome: self.outcome,
            verdict: self.cause.verdict.name().to_owned(),
            action: self.action.to_owned(),
            object: self.object.clone(),
            pid: self.pid,
            policy: self.cause.policy.clone(),
            rule: self.cause.rule.clone(),
            reason_code: self.reason.name().to_owned(),
            reason: self.cause.reason.clone(),
            remedy: self.cause.remedy.clone(),
            errno: self.errno,
            retry_after_ms: self.retry.map(|retry| retry.saturating_sub(now).div_ceil(1_000_000)),
        }
    }
}

/// What was acted on, for people.
fn named(event: &Event) -> String {
    let item = event.item().map(|item| item.name());
    if let Some(item) = item.or_else(|| event.capability().map(|capability| capability.name())) {
        return item.to_owned();
    }
    let mut text = object(event);
    if let Some((end, _)) = text.char_indices().nth(OBJECT) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
#[path = "memory/tests.rs"]
mod tests;
