//! Break glass: a session is stopped, let go on or killed, a policy is put into another mode. Each is one act of a
//! person, recorded with who and why.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::answer::asked;
use super::{Daemon, Reader, policies};
use crate::audit::Value;
use crate::control::{Act, Acted, Greeting, Peer, Refusal};
use crate::policy::mode::{self, Wanted};

/// How long the kernel may take to stop or end everything.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at who is left of a killed session.
const LONGEST_PAUSE: Duration = Duration::from_millis(32);
/// Longer notes say nothing more.
const LONGEST_NOTE: usize = 1024;

impl Daemon {
    /// Does one act to a session.
    pub(super) fn act(
        &mut self,
        session: &str,
        act: Act,
        note: &str,
        peer: &Peer,
        reader: &mut Reader,
    ) -> Result<Acted, Refusal> {
        check_note(note)?;
        self.look_at_sessions(reader);
        let Some((id, cgroup)) = self.sessions.find(session) else {
            let text = format!("no session is called {session:?}: `guard ps` shows those that live");
            return Err(Refusal::Unknown(text));
        };
        let begun = Instant::now();
        let processes = match act {
            Act::Freeze => self.freeze(id, true),
            Act::Thaw => self.freeze(id, false),
            Act::Kill => Ok(self.kill_session(id)),
        };
        let mut facts = asked(peer);
        facts.extend([
            ("session", Value::Text(session.to_owned())),
            ("cgroup", Value::Name(cgroup.clone().into_bytes())),
            ("act", Value::Text(act.name().to_owned())),
            ("note", Value::Name(note.as_bytes().to_vec())),
            ("processes", Value::Number(*processes.as_ref().unwrap_or(&0) as u64)),
            ("failed", Value::Text(processes.as_ref().err().cloned().unwrap_or_default())),
        ]);
        reader.note("session-act", facts);
        let processes = processes.map_err(Refusal::Failed)?;
        let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Acted { session: session.to_owned(), cgroup, processes, milliseconds })
    }

    /// Stops everything in a session, or lets it go on; gives back how many processes it has.
    fn freeze(&self, id: u64, frozen: bool) -> Result<usize, String> {
        let directory = self.directory(id);
        // Those who have left come back first: a cgroup stops them and what they fork in one step.
        let tasks = self.tasks_of(id);
        self.bring_back(&tasks, &directory);
        let file = directory.join("cgroup.freeze");
        let failed = |error| format!("write {}: {error}", file.display());
        fs::write(&file, if frozen { "1" } else { "0" }).map_err(failed)?;
        let deadline = Instant::now() + PATIENCE;
        let wanted = if frozen { "frozen 1" } else { "frozen 0" };
        while !events(&directory).lines().any(|line| line == wanted) {
            if Instant::now() >= deadline {
                return Err(format!(
                    "not everything in {} is {} within {} s",
                    directory.display(),
                    if frozen { "stopped" } else { "going on" },
                    PATIENCE.as_secs()
                ));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(tasks.len().max(processes_in(&directory)))
    }

    /// Kills every process of a session, those that have left its cgroup too, until nobody is left; gives back how many
    /// there were at least.
    pub(super) fn kill_session(&self, id: u64) -> usize {
        let directory = self.directory(id);
        let mut killed = processes_in(&directory);
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(1);
        loop {
            // At once, whoever is elsewhere: looking for those takes a while, and most are here.
            let _ = fs::write(directory.join("cgroup.kill"), "1");
            let left = self.tasks_of(id);
            let populated = events(&directory).lines().any(|line| line == "populated 1");
            if left.is_empty() && !populated || Instant::now() >= deadline {
                return killed;
            }
            killed = killed.max(left.len());
            self.bring_back(&left, &directory);
            for pid in left {
                // Where there is no cgroup any more to bring it back to.
                let _ = i32::try_from(pid).map(|pid| kill(Pid::from_raw(pid), Signal::SIGKILL));
            }
            // They need the processors to die, and a look at every process of the host takes one from them.
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The processes with a session's label, but for those that only wait for their parent to notice their end.
    fn tasks_of(&self, id: u64) -> Vec<u32> {
        let labels = self.kernel.labels().unwrap_or_default();
        let of_session = labels.into_iter().filter(|(_, label)| label.session == id).map(|(pid, _)| pid);
        of_session.filter(|pid| lives(*pid)).collect()
    }

    /// Moves those of a session's processes that are elsewhere into its cgroup.
    fn bring_back(&self, tasks: &[u32], directory: &Path) {
        let home = directory.strip_prefix(&self.config.cgroups).unwrap_or(directory);
        for pid in tasks {
            let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            let path = cgroup.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
            if !Path::new(path).starts_with(home) {
                let _ = fs::write(directory.join("cgroup.procs"), pid.to_string());
            }
        }
    }

    /// Puts a policy into another mode, by its file, and makes that the live generation.
    pub(super) fn flip(
        &mut self,
        policy: &str,
        wanted: Wanted,
        note: &str,
        peer: &Peer,
        reader: &mut Reader,
    ) -> Result<Greeting, Refusal> {
        check_note(note)?;
        let path = self.file_of(policy)?;
        let failed = |error: mode::ModeError| Refusal::Failed(super::chain(&error));
        let before = mode::set(&path, policy, wanted).map_err(failed)?;
        self.reload();
        let refused = self.refused.clone();
        if refused.is_some() {
            // Nothing half-done stays.
            mode::put_back(&path, &before).map_err(failed)?;
            self.reload();
        }
        let mut facts = asked(peer);
        facts.extend([
            ("policy", Value::Text(policy.to_owned())),
            ("mode", Value::Text(wanted.name().to_owned())),
            ("note", Value::Name(note.as_bytes().to_vec())),
            ("failed", Value::Text(refused.clone().unwrap_or_default())),
        ]);
        reader.note("mode", facts);
        match refused {
            Some(why) => Err(Refusal::Failed(why)),
            None => Ok(self.greeting()),
        }
    }

    /// The file that a policy is in.
    fn file_of(&self, policy: &str) -> Result<PathBuf, Refusal> {
        let found = self.loaded.policies.iter().find(|known| known.name.value == policy);
        let path = found.map(|policy| policy.source.path.clone());
        let in_directory =
            |path: &PathBuf| policies::files(&self.config.policies).is_ok_and(|files| files.contains(path));
        path.filter(in_directory).ok_or_else(|| {
            let names: Vec<&str> =
                self.loaded.policies.iter().map(|known| known.name.value.as_str()).collect();
            Refusal::Unknown(format!("no policy is called {policy:?}; write one of {}", names.join(", ")))
        })
    }
}

fn check_note(note: &str) -> Result<(), Refusal> {
    if note.len() <= LONGEST_NOTE {
        return Ok(());
    }
    Err(Refusal::Malformed(format!("the note has more than {LONGEST_NOTE} bytes")))
}

/// Whether a process is more than its entry in the parent's list.
fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Its name is in brackets, and may hold anything.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

/// How many processes are in a cgroup and below it.
fn processes_in(directory: &Path) -> usize {
    let own = fs::read_to_string(directory.join("cgroup.procs")).map_or(0, |list| list.lines().count());
    let below = fs::read_dir(directory).into_iter().flatten().flatten();
    let below = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    own + below.map(|entry| processes_in(&entry.path())).sum::<usize>()
}

fn events(directory: &Path) -> String {
    fs::read_to_string(directory.join("cgroup.events")).unwrap_or_default()
}
