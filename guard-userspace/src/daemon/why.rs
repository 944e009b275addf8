//! What the daemon says to agents that ask why.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use super::{Daemon, DaemonError, Reader, doing};
use crate::audit::Clock;
use crate::kernel::Tier;
use crate::why::{Answer, Question, Server, listen};

const OUTSIDE: &str = "this process is in no domain: guard refuses it nothing, and tells it of nobody else";

impl Daemon {
    /// Listens for agents.
    pub(super) fn open_why(&self) -> Result<Server, DaemonError> {
        let open = || -> io::Result<Server> {
            let marks = self.kernel.why_marks()?;
            let listener = listen(&self.config.run, |socket| marks.mark(socket))?;
            Server::start(listener, move |socket| marks.session(socket))
        };
        open().map_err(doing("listen on the socket for asking why"))
    }

    /// Answers one question, once everything is known that happened before it was asked.
    pub(super) fn tell_why(&mut self, question: Question, reader: &mut Reader) -> Result<(), DaemonError> {
        reader.drain_whole(&self.plan)?;
        let session = question.session.or_else(|| self.by_cgroup(question.pid));
        let answer = match session {
            Some(session) => {
                let name = self.sessions.name(session).unwrap_or_else(|| reader.scribe.uuid(session));
                Answer::Ok(reader.why.account(session, name, Clock::boottime().unwrap_or(0)))
            }
            None => Answer::Error(OUTSIDE.to_owned()),
        };
        question.answer(answer);
        Ok(())
    }

    /// Where no LSM program is called, nothing is written onto sockets: there a task's cgroup is all that says whose it
    /// is, as it is for everything else that is enforced there.
    fn by_cgroup(&self, pid: Option<u32>) -> Option<u64> {
        if self.kernel.tier != Tier::Partial {
            return None;
        }
        let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", pid?)).ok()?;
        let path = cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let id = fs::metadata(self.config.cgroups.join(path)).ok()?.ino();
        self.kernel.session_of(id)
    }
}
