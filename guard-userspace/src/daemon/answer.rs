//! What the daemon says to those who ask over the control socket.

use std::time::Duration;

use guard_common::abi::Reason;

use super::holds::Given;
use super::{Daemon, Reader, chain};
use crate::audit::Value;
use crate::control::{Act, Call, Greeting, Peer, Refusal, Reply, Request};
use crate::policy::mode::Wanted;

impl Daemon {
    /// Answers one call.
    pub(super) fn answer(&mut self, call: Call, reader: &mut Reader) {
        let reply = if self.is_governed(&call.peer) {
            reader.note("control-refused", asked(&call.peer));
            Reply::Error(Refusal::Forbidden(
                "a task inside a domain may not speak with the daemon".to_owned(),
            ))
        } else if call.peer.cgroups().is_none() {
            // The socket may be another process's by now, and nobody says where that is.
            reader.note("control-refused", asked(&call.peer));
            Reply::Error(Refusal::Forbidden(
                "the process that connected is gone: ask from one that waits for the answer".to_owned(),
            ))
        } else if let Some(refusal) = self.unrecorded(&call.request, reader) {
            Reply::Error(refusal)
        } else if self.holds.is_early(&call.request) {
            return self.holds.keep(call);
        } else {
            self.reply(&call.request, &call.peer, reader)
        };
        call.answer(reply);
    }

    /// The kernel lets no task of a domain connect; this is the second lock, and the first where no LSM program is
    /// called: there labels are not inherited either.
    pub(super) fn is_governed(&self, peer: &Peer) -> bool {
        let is_governed = |path: &String| self.plan.domain_of(path.as_bytes()) != 0;
        self.kernel.label(peer.pid).is_some() || peer.cgroups().iter().flatten().any(is_governed)
    }

    /// What lets more through is done only where it can be written down. To refuse, to stop, to enforce and to look can
    /// wait for no disk.
    fn unrecorded(&self, request: &Request, reader: &Reader) -> Option<Refusal> {
        let loosens = match request {
            Request::Run(_) => true,
            Request::Mode { mode, .. } => *mode == Wanted::Shadow,
            Request::Answer { approve, .. } => *approve,
            Request::Act { act, .. } => *act == Act::Thaw,
            _ => false,
        };
        let why = reader.refused().filter(|_| loosens)?;
        Some(Refusal::Failed(format!(
            "the audit log cannot be written, so nobody would know of this: {why}; make room, and ask again"
        )))
    }

    fn reply(&mut self, request: &Request, peer: &Peer, reader: &mut Reader) -> Reply {
        match request {
            Request::Approvals => Reply::ok(&self.approvals()),
            Request::Approval { id } => Reply::from(self.approval(*id)),
            Request::Answer { id, approve, note, session_seconds } => {
                let given = Given {
                    reason: if *approve { Reason::Approved } else { Reason::Denied },
                    note: note.clone(),
                    session: session_seconds.map(Duration::from_secs),
                    by: asked(peer),
                    why: String::new(),
                };
                Reply::from(self.answer_hold(*id, given, reader))
            }
            Request::Hello => Reply::ok(&self.greeting()),
            Request::Reload => {
                self.reload();
                match &self.refused {
                    None => Reply::ok(&self.greeting()),
                    Some(why) => Reply::Error(Refusal::Failed(why.clone())),
                }
            }
            Request::Run(run) => match self.start_session(run, peer, reader) {
                Ok(started) => Reply::ok(&started),
                Err(refusal) => Reply::Error(refusal),
            },
            Request::End { session } => match self.end_session(session, reader) {
                Ok(killed) => Reply::ok(&killed),
                Err(refusal) => Reply::Error(refusal),
            },
            Request::Act { session, act, note } => Reply::from(self.act(session, *act, note, peer, reader)),
            Request::Mode { policy, mode, note } => Reply::from(self.flip(policy, *mode, note, peer, reader)),
            Request::Sessions => Reply::ok(&self.overview(reader)),
            Request::Drill => {
                let taken = self.take_drills();
                match taken.and_then(|()| self.tell()) {
                    Ok(()) => Reply::ok(&self.greeting()),
                    Err(refused) => Reply::Error(Refusal::Failed(chain(&refused))),
                }
            }
            Request::DrillResult(result) => {
                let mut fields = asked(peer);
                fields.extend([
                    ("green", Value::Number(result.green)),
                    ("gap", Value::Number(result.gap)),
                    ("skipped", Value::Number(result.skipped)),
                    ("not_covered", Value::Number(result.not_covered)),
                    ("gaps", Value::Name(result.gaps.join(" ").into_bytes())),
                    ("profile", Value::Name(result.profile.clone().into_bytes())),
                    ("report_sha256", Value::Name(result.report_sha256.clone().into_bytes())),
                ]);
                reader.note("drill", fields);
                Reply::ok(&self.greeting())
            }
        }
    }

    pub(super) fn greeting(&self) -> Greeting {
        Greeting {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            generation: self.plan.generation,
        }
    }
}

/// Who asked, for a record.
pub(super) fn asked(peer: &Peer) -> Vec<(&'static str, Value)> {
    vec![
        ("by", Value::Name(peer.user.clone().into_bytes())),
        ("by_uid", Value::Number(u64::from(peer.uid))),
        ("by_pid", Value::Number(u64::from(peer.pid))),
    ]
}
