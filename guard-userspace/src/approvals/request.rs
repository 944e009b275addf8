//! What an approver sees: facts of the kernel.

use guard_common::abi::EventFlags;
use serde::{Deserialize, Serialize};

use crate::audit::{HeldCall, escape};
use crate::events::{Event, Peer};

/// One held call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// By which it is answered. It is this call's alone: one that changes while it waits gets another, and a daemon counts on
    /// from what the one before may have given.
    pub id: u64,
    pub session: String,
    pub principal: String,
    pub policy: String,
    pub rule: String,
    pub reason: String,
    pub action: String,
    pub op: String,
    /// The resolved path, the real address, the socket's name.
    pub object: String,
    /// Of an exec: the words after the first, as the caller's memory holds them. What is run is compared with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argv: Option<Vec<String>>,
    pub pid: u32,
    pub tid: u32,
    pub uid: u32,
    pub comm: String,
    /// The program that makes the call.
    pub exe: String,
    pub cgroup: String,
    /// The processes above it, nearest first: id and program.
    pub lineage: Vec<String>,
    /// SHA-256 of the file that is to be run, or of the program that makes the call; empty while it is being computed,
    /// or the reason why it cannot be.
    pub sha256: String,
    pub generation: u64,
    /// What the answer will be bound to.
    pub digest: String,
    pub waited_ms: u64,
    pub left_ms: u64,
}

impl Request {
    /// The facts that the event itself holds.
    pub(super) fn of(call: &HeldCall) -> Self {
        let record = &call.record;
        let event = &record.event;
        Self {
            id: 0,
            session: record.who.session.clone(),
            principal: record.who.principal.clone(),
            policy: record.decided.policy.clone(),
            rule: record.decided.rule.clone(),
            reason: record.decided.reason.clone(),
            action: event.action.name().to_owned(),
            op: event.op.name().to_owned(),
            object: object(event),
            argv: call.argv.as_ref().map(|argv| argv.iter().map(|word| escape(word)).collect()),
            pid: event.pid,
            tid: event.tid,
            uid: event.uid,
            comm: escape(event.comm()),
            exe: escape(&record.exe),
            cgroup: escape(&record.who.cgroup),
            lineage: Vec::new(),
            sha256: String::new(),
            generation: event.generation,
            digest: format!("{:016x}", event.detail),
            waited_ms: 0,
            left_ms: 0,
        }
    }
}

/// The object, for people.
pub(crate) fn object(event: &Event) -> String {
    match Peer::from_key(&event.object) {
        Some(peer) if event.flags.has(EventFlags::ADDRESS) => peer.to_string(),
        _ => escape(&event.object),
    }
}
