//! What the daemon says to those who ask over the control socket.

use super::{Daemon, Reader};
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
            self.reply(&call.request)
        };
        call.answer(reply);
    }

    /// The kernel lets no task of a domain connect; this is the second lock, and the first where no LSM program is
    /// called: there labels are not inherited either.
    fn is_governed(&self, peer: &Peer) -> bool {
        let cgroup = std::fs::read_to_string(format!("/proc/{}/cgroup", peer.pid)).unwrap_or_default();
        let path = cgroup.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
        self.kernel.label(peer.pid).is_some() || self.plan.domain_of(path.as_bytes()) != 0
    }

    fn reply(&mut self, request: &Request) -> Reply {
        match request {
            Request::Hello => Reply::ok(&self.greeting()),
            Request::Reload => {
                self.reload();
                match &self.refused {
                    None => Reply::ok(&self.greeting()),
                    Some(why) => Reply::Error(Refusal::Failed(why.clone())),
                }
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
