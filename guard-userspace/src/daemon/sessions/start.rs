//! `guard run`: a process that waits is put into a cgroup that its policy governs, under a new session.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::super::answer::asked;
use super::super::{Daemon, Reader};
use super::{Session, now, scope};
use crate::compile::RUNS;
use crate::control::{Peer, Refusal, Run, Started, is_uuid};

/// The slice of [`RUNS`].
const SLICE: &str = "guard.slice";

/// Longer names say nothing more, and every record carries them.
const LONGEST: usize = 256;

impl Daemon {
    pub(in super::super) fn start_session(
        &mut self,
        run: &Run,
        peer: &Peer,
        reader: &mut Reader,
    ) -> Result<Started, Refusal> {
        self.check(run, peer)?;
        let session = run.session.clone();
        let cgroup = format!("{RUNS}{}:{session}.scope", run.policy);
        let domain = self.plan.domain_of(cgroup.as_bytes());
        if domain == 0 || self.plan.domain_of(format!("/{SLICE}").as_bytes()) != 0 {
            return Err(Refusal::Failed(format!(
                "a policy governs /{SLICE} itself, so a session of its own cannot begin below it: narrow its `applies_to`"
            )));
        }
        let said = |text: &Option<String>| text.as_deref().unwrap_or_default().to_owned();
        let mut new = Session {
            session: session.clone(),
            cgroup: cgroup.clone(),
            domain,
            principal: said(&run.principal),
            purpose: said(&run.purpose),
            trace: said(&run.trace),
            began: now(),
            run: true,
        };
        if new.principal.is_empty() {
            new.principal.clone_from(&peer.user);
        }
        // Known before it exists, so that its first record has it.
        reader.scribe.expect(cgroup.clone().into_bytes(), new.who());
        let mut facts = self.facts(&new);
        facts.extend(asked(peer));
        reader.note("run", facts);
        // What follows lives on if this daemon does not: first who asked for it.
        if let Err(error) = reader.drain(&self.plan) {
            return Err(Refusal::Failed(format!("write down who asks: {}", super::super::chain(&error))));
        }
        self.sessions.expected.push(new);
        self.sessions.write();
        self.place(run, &cgroup).map_err(|error| {
            self.sessions.expected.retain(|known| known.session != session);
            Refusal::Failed(format!("make the cgroup of the session: {error}"))
        })?;
        Ok(Started { session, cgroup })
    }

    fn check(&self, run: &Run, peer: &Peer) -> Result<(), Refusal> {
        let mut names = self.loaded.policies.iter().map(|policy| policy.name.value.as_str());
        if !names.any(|name| name == run.policy) {
            let known: Vec<&str> =
                self.loaded.policies.iter().map(|policy| policy.name.value.as_str()).collect();
            let text = format!("no policy is called {:?}; write one of {}", run.policy, known.join(", "));
            return Err(Refusal::Unknown(text));
        }
        let known = self.sessions.live.values().chain(&self.sessions.expected);
        if !is_uuid(&run.session) || known.into_iter().any(|known| known.session == run.session) {
            return Err(Refusal::Malformed("the session is not named by a new UUID".to_owned()));
        }
        for (what, text) in [("principal", &run.principal), ("purpose", &run.purpose)] {
            if text.as_ref().is_some_and(|text| text.len() > LONGEST) {
                return Err(Refusal::Malformed(format!("the {what} has more than {LONGEST} bytes")));
            }
        }
        let hex = |trace: &String| trace.len() == 32 && trace.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !run.trace.as_ref().is_none_or(hex) {
            return Err(Refusal::Malformed("the trace is not 32 hexadecimal digits".to_owned()));
        }
        // Nobody moves another's process.
        let status = i32::try_from(run.pid)
            .ok()
            .and_then(|pid| procfs::process::Process::new(pid).ok()?.status().ok())
            .ok_or_else(|| Refusal::Unknown(format!("there is no process {}", run.pid)))?;
        if u32::try_from(status.ppid).ok() != Some(peer.pid) || status.euid != peer.uid {
            return Err(Refusal::Forbidden(format!("process {} is not a child of yours", run.pid)));
        }
        if self.kernel.label(run.pid).is_some() {
            return Err(Refusal::Forbidden(format!("process {} is inside a domain already", run.pid)));
        }
        Ok(())
    }

    /// Makes the cgroup and puts the process there: by systemd where it runs the system, else by hand.
    fn place(&self, run: &Run, cgroup: &str) -> io::Result<()> {
        let limits = self.limits_of(self.plan.domain_of(cgroup.as_bytes()));
        if scope::is_there() {
            let name = cgroup.rsplit('/').next().unwrap_or_default();
            let purpose = run.purpose.as_deref().unwrap_or("a session of guard");
            return scope::make(name, SLICE, run.pid, purpose, &limits);
        }
        let slice = self.config.cgroups.join(SLICE);
        let directory = self.mounted(cgroup);
        fs::create_dir_all(&slice)?;
        for above in [&self.config.cgroups, &slice] {
            for controller in ["+memory", "+pids"] {
                let _ = fs::write(above.join("cgroup.subtree_control"), controller);
            }
        }
        fs::create_dir(&directory)?;
        limits.apply(&directory);
        if let Some(missing) = [(limits.tasks, "pids"), (limits.memory, "memory")]
            .iter()
            .find(|(limit, name)| limit.is_some() && !directory.join(format!("{name}.max")).exists())
        {
            let _ = fs::remove_dir(&directory);
            return Err(io::Error::other(format!(
                "the policy has a limit that needs the cgroup controller {}, which {} does not have",
                missing.1,
                self.config.cgroups.display()
            )));
        }
        fs::write(directory.join("cgroup.procs"), run.pid.to_string())
    }

    fn mounted(&self, cgroup: &str) -> PathBuf {
        self.config.cgroups.join(cgroup.trim_start_matches('/'))
    }

    /// Ends a session: kills what is left of it and removes the cgroup if it is ours.
    pub(in super::super) fn end_session(
        &mut self,
        session: &str,
        reader: &mut Reader,
    ) -> Result<usize, Refusal> {
        self.look_at_sessions(reader);
        let live = self.sessions.live.iter().find(|(_, known)| known.session == session);
        let Some((id, known)) = live.map(|(id, known)| (*id, known.clone())) else {
            self.sessions.expected.retain(|known| known.session != session);
            return Ok(0);
        };
        let killed = self.kill_session(id);
        if known.run {
            remove(&self.mounted(&known.cgroup));
        }
        self.look_at_sessions(reader);
        Ok(killed)
    }
}

/// Removes a cgroup and those below it, as soon as the kernel lets go of the dead in it.
fn remove(directory: &Path) {
    let deadline = Instant::now() + Duration::from_millis(500);
    while directory.exists() && Instant::now() < deadline {
        let _ = clear(directory);
        if fs::remove_dir(directory).is_ok() {
            return;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn clear(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            clear(&entry.path())?;
            let _ = fs::remove_dir(entry.path());
        }
    }
    Ok(())
}
