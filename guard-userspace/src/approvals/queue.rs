//! The queue: bounded in all and for each session, every entry with a deadline. Time is handed in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Request;
use super::facts::{FileState, Wanted};
use crate::audit::HeldCall;
use crate::sys::Leased;

/// A thread: its id and its start.
type Thread = (u32, u64);

/// What a policy says of its held calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub timeout: Duration,
    /// Of all calls that wait for this policy.
    pub pending: usize,
    /// Of one session.
    pub pending_per_session: usize,
}

/// One waiting call.
#[derive(Clone, Debug)]
pub struct Pending {
    pub request: Request,
    /// What the answer is bound to.
    pub digest: u64,
    pub start: u64,
    /// CLOCK_BOOTTIME in nanoseconds.
    pub since: u64,
    pub deadline: u64,
    /// The number by which the kernel knows the session.
    pub session: u64,
    /// The file whose digest an approver sees.
    pub file: Wanted,
    /// That file's state when its digest was made.
    pub state: Option<FileState>,
    /// Of an exec that somebody approves: whether the file is still what was shown, or is being looked at.
    pub again: Again,
}

/// A second look at a file, before its call goes on.
#[derive(Clone, Debug, Default)]
pub enum Again {
    #[default]
    Not,
    /// Somebody looks.
    Looks,
    /// It is what was shown, and nobody can write to it while this is kept.
    Same(Option<Arc<Leased>>),
    Changed(String),
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It waits.
    New(u64),
    /// It waited already, and was only continued by somebody else.
    Known(u64),
    /// There is no room.
    Full,
}

/// The waiting calls, by number.
#[derive(Debug, Default)]
pub struct Queue {
    last: u64,
    pending: BTreeMap<u64, Pending>,
    replaced: Option<(Pending, &'static str)>,
}

impl Queue {
    /// A queue whose numbers come after this one.
    pub fn after(last: u64) -> Self {
        Self { last, ..Self::default() }
    }

    /// A call was held. `since` is when it was first, if that is known from before.
    pub fn arrive(&mut self, call: &HeldCall, since: u64, bounds: Bounds) -> Arrival {
        let event = &call.record.event;
        let thread = (event.tid, event.start_time);
        let mut request = Request::of(call);
        if let Some(known) = self.of(thread) {
            let same = known.request.action == request.action && known.request.object == request.object;
            if known.digest == event.detail {
                return Arrival::Known(known.request.id);
            }
            let (before, since, deadline) = (known.request.id, known.since, known.deadline);
            let why = if same {
                "its caller changed the call, or the policies have changed"
            } else {
                "its thread makes another call"
            };
            self.replaced = self.pending.remove(&before).map(|before| (before, why));
            if same {
                // It keeps its place and its time, but not its number: whoever has seen that has not seen this call.
                self.last += 1;
                request.id = self.last;
                let pending = Pending { since, deadline, ..Pending::new(call, request, since, bounds) };
                self.pending.insert(self.last, pending);
                return Arrival::New(self.last);
            }
        }
        let of_policy = self.pending.values().filter(|other| other.request.policy == request.policy).count();
        let of_session = self.pending.values().filter(|other| other.session == event.session).count();
        if of_policy >= bounds.pending || of_session >= bounds.pending_per_session {
            return Arrival::Full;
        }
        self.last += 1;
        request.id = self.last;
        self.pending.insert(self.last, Pending::new(call, request, since, bounds));
        Arrival::New(self.last)
    }

    /// The call, if there was one, that its thread gave up for the last that arrived, and why: a signal's handler makes
    /// another, or what it is made with has changed.
    pub fn replaced(&mut self) -> Option<(Pending, &'static str)> {
        self.replaced.take()
    }

    fn of(&self, thread: Thread) -> Option<&Pending> {
        self.pending.values().find(|pending| (pending.request.tid, pending.start) == thread)
    }

    pub fn get(&self, id: u64) -> Option<&Pending> {
        self.pending.get(&id)
    }

    pub fn get_mut(&mut self, id: u64) -> Option<&mut Pending> {
        self.pending.get_mut(&id)
    }

    /// Takes a call out: it is answered, or gone.
    pub fn take(&mut self, id: u64) -> Option<Pending> {
        self.pending.remove(&id)
    }

    /// Takes out those whose time is up.
    pub fn expire(&mut self, now: u64) -> Vec<Pending> {
        let late: Vec<u64> =
            self.pending.iter().filter(|(_, pending)| pending.deadline <= now).map(|(id, _)| *id).collect();
        late.into_iter().filter_map(|id| self.pending.remove(&id)).collect()
    }

    /// Whether a thread waits here.
    pub fn knows(&self, tid: u32, start: u64) -> bool {
        self.of((tid, start)).is_some()
    }

    /// The waiting calls, oldest first, as they are `now`.
    pub fn list(&self, now: u64) -> Vec<Request> {
        self.pending.values().map(|pending| pending.seen(now)).collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Pending> {
        self.pending.values()
    }

    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}

impl Pending {
    fn new(call: &HeldCall, request: Request, since: u64, bounds: Bounds) -> Self {
        let event = &call.record.event;
        let timeout = u64::try_from(bounds.timeout.as_nanos()).unwrap_or(u64::MAX);
        Self {
            digest: event.detail,
            start: event.start_time,
            since,
            deadline: since.saturating_add(timeout),
            session: event.session,
            file: Wanted::of(event),
            state: None,
            again: Again::Not,
            request,
        }
    }

    /// The request as it is `now`.
    pub fn seen(&self, now: u64) -> Request {
        Request {
            waited_ms: now.saturating_sub(self.since) / 1_000_000,
            left_ms: self.deadline.saturating_sub(now) / 1_000_000,
            ..self.request.clone()
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
