//! The decider in the daemon's loop: each call that waits is asked about, and its answer comes back as an event.

use std::collections::HashMap;
use std::sync::Arc;

use guard_common::abi::Reason;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tracing::{info, warn};

use super::holds::Given;
use super::{Daemon, Reader};
use crate::approvals::decider::{self, Said, Word};
use crate::approvals::{Event, Outcome, Pending, question};
use crate::audit::{Value, escape};
use crate::config;

/// What was said of the call that had this number and this digest.
#[derive(Debug)]
pub(super) struct Answered {
    id: u64,
    digest: u64,
    said: Result<Said, String>,
}

/// How often a decider said what, for metrics: each word, and no answer.
pub(super) type Counts = [u64; Word::ALL.len() + 1];

/// The counts, each with its name.
pub(super) fn named(counts: Counts) -> Vec<(&'static str, u64)> {
    Word::ALL.map(Word::name).into_iter().chain(["none"]).zip(counts).collect()
}

/// The questions that are on their way.
#[derive(Debug)]
pub(super) struct Deciding {
    decider: Option<Arc<config::Decider>>,
    /// So many are asked at once; the others wait for their turn, each until its call is answered otherwise.
    room: Arc<Semaphore>,
    asked: HashMap<u64, AbortHandle>,
    done: mpsc::UnboundedSender<Answered>,
    answers: mpsc::UnboundedReceiver<Answered>,
    counts: Counts,
    /// Said of a decider that fails, until it answers again.
    told: bool,
}

impl Deciding {
    pub(super) fn new(decider: Option<config::Decider>) -> Self {
        let (done, answers) = mpsc::unbounded_channel();
        let room = decider.as_ref().map_or(0, |decider| decider.at_once);
        Self {
            decider: decider.map(Arc::new),
            room: Arc::new(Semaphore::new(room)),
            asked: HashMap::new(),
            done,
            answers,
            counts: Counts::default(),
            told: false,
        }
    }

    /// The next answer.
    pub(super) async fn answered(&mut self) -> Answered {
        match self.answers.recv().await {
            Some(answered) => answered,
            // The other end is ours and lives as long.
            None => std::future::pending().await,
        }
    }

    /// Asks about a call, in the place of what was asked under its number before.
    fn ask(&mut self, pending: &Pending, question: impl FnOnce(&config::Decider) -> Vec<u8>) {
        let Some(decider) = self.decider.clone() else { return };
        let (id, digest, bound_to) = (pending.request.id, pending.digest, pending.request.digest.clone());
        let (question, room, done) = (question(&decider), Arc::clone(&self.room), self.done.clone());
        let task = tokio::spawn(async move {
            let Ok(_turn) = room.acquire_owned().await else { return };
            let said = decider::ask(&decider, &bound_to, &question).await;
            // Nobody listens when the daemon ends.
            let _ = done.send(Answered { id, digest, said });
        });
        if let Some(before) = self.asked.insert(id, task.abort_handle()) {
            before.abort();
        }
    }

    /// A call is over: whatever is said of it does not count any more.
    pub(super) fn forget(&mut self, id: u64) {
        if let Some(task) = self.asked.remove(&id) {
            task.abort();
        }
    }

    /// How often what was said.
    pub(super) fn counts(&self) -> Option<Counts> {
        self.decider.is_some().then_some(self.counts)
    }

    fn count(&mut self, said: &Result<Said, String>) {
        let at = said.as_ref().map_or(Word::ALL.len(), |said| said.word as usize);
        self.counts[at] += 1;
        match said {
            Err(why) if !self.told => {
                warn!(why, "the decider does not answer: what it is asked about is refused")
            }
            Ok(_) if self.told => info!("the decider answers again"),
            _ => {}
        }
        self.told = said.is_err();
    }
}

impl Daemon {
    /// The facts about a call are complete: whoever is to know of it hears of it.
    pub(super) fn announce(&mut self, id: u64, reader: &mut Reader) {
        let Some(pending) = self.holds.queue.get(id) else { return };
        let call = pending.seen(super::holds::now());
        reader.tell(Event::Held, &call, None);
        let host = reader.host().clone();
        self.deciding.ask(pending, |decider| question(&host, &call, decider.deadline));
    }

    /// Takes a decider's answer, if the call it is to still waits, and is still the same.
    pub(super) fn decide(&mut self, answered: Answered, reader: &mut Reader) {
        let Answered { id, digest, said } = answered;
        let Some(pending) = self.holds.queue.get(id).filter(|pending| pending.digest == digest) else {
            return;
        };
        self.deciding.asked.remove(&id);
        let said = said.and_then(|said| match &said.peer {
            Some(peer) if self.is_governed(peer) => {
                Err(format!("process {} answered, which is inside a domain", peer.pid))
            }
            _ => Ok(said),
        });
        self.deciding.count(&said);
        let name = self.deciding.decider.as_ref().map(|decider| decider.ask.to_string()).unwrap_or_default();
        let by_name = ("by", Value::Name(format!("decider {name}").into_bytes()));
        let given = match said {
            Ok(Said { word, note, peer }) => {
                let mut by = vec![by_name];
                if let Some(peer) = peer {
                    by.push(("by_uid", Value::Number(peer.uid.into())));
                    by.push(("by_pid", Value::Number(peer.pid.into())));
                }
                let given = |reason, why| Given { reason, note, session: None, by, why };
                match word {
                    Word::Approve if super::holds::is_to_be_seen(pending) => {
                        let given = given(Reason::Approved, String::new());
                        self.holds.decided.insert(id, given);
                        return;
                    }
                    Word::Approve => match super::holds::unchanged(pending) {
                        Ok(()) => given(Reason::Approved, String::new()),
                        // It approved what is not there any more.
                        Err(why) => given(Reason::Changed, why),
                    },
                    Word::Deny => given(Reason::Denied, String::new()),
                    Word::Pass => {
                        let passed = given(Reason::Held, String::new());
                        let record = super::holds::record(pending, "passed", &passed);
                        reader.note("approval-passed", record);
                        return;
                    }
                }
            }
            Err(why) => {
                let mut given = Given { why, ..Given::own(Reason::Timeout) };
                given.by.push(("decider", Value::Name(name.into_bytes())));
                given
            }
        };
        self.end_hold(id, &given, reader);
    }
}

/// What a message says of an answer.
pub(super) fn outcome(given: &Given) -> Outcome {
    let by = given.by.iter().find_map(|(name, value)| match value {
        Value::Text(text) if *name == "by" => Some(text.clone()),
        Value::Name(bytes) if *name == "by" => Some(escape(bytes)),
        _ => None,
    });
    Outcome {
        outcome: given.reason.name().to_owned(),
        by: by.unwrap_or_default(),
        note: given.note.clone(),
        why: given.why.clone(),
        for_session_seconds: given.session.map(|time| time.as_secs()),
    }
}
