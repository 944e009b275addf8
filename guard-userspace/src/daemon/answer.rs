//! What the daemon says to those who ask over the control socket.

use super::{Daemon, Reader, chain};
use crate::audit::Value;
use crate::control::{Call, Greeting, Peer, Refusal, Reply, Request};

impl Daemon {
    /// Answers one call.
    pub(super) fn answer(&mut self, call: Call, reader: &mut Reader) {
        let reply = if self.is_governed(&call.peer) {
            reader.note("control-refused", asked(&call.peer));
            Reply::Error(Refusal::Forbidden(
                "a task inside a domain may not speak with the daemon".to_owned(),
            ))
        } else {
            self.reply(&call, reader)
        };
        call.answer(reply);
    }

    /// The kernel lets no task of a domain connect; this is the second lock.
    fn is_governed(&self, peer: &Peer) -> bool {
        self.kernel.label(peer.pid).is_some()
    }

    fn reply(&mut self, call: &Call, reader: &mut Reader) -> Reply {
        match &call.request {
            Request::Hello => Reply::ok(&self.greeting()),
            Request::Reload => {
                self.reload();
                match &self.refused {
                    None => Reply::ok(&self.greeting()),
                    Some(why) => Reply::Error(Refusal::Failed(why.clone())),
                }
            }
            Request::Drill => {
                let taken = self.take_drills();
                match taken.and_then(|()| self.tell()) {
                    Ok(()) => Reply::ok(&self.greeting()),
                    Err(refused) => Reply::Error(Refusal::Failed(chain(&refused))),
                }
            }
            Request::DrillResult(result) => {
                let mut fields = asked(&call.peer);
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

    fn greeting(&self) -> Greeting {
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
