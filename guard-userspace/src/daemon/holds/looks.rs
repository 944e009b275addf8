//! Looks at the files that held calls would run: for the first digest, and again before an approved call goes on.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::{Semaphore, mpsc};

use crate::approvals::{Again, Pending, facts};

/// Files that are read at a time, each for one digest, and those of one session: it never keeps all readers from others.
const READERS: usize = 3;
const READERS_OF_SESSION: usize = 2;

/// What a look at a file came to, for the call with this number and this digest.
pub(in crate::daemon) type Digested = (u64, u64, Made);

/// Its first digest, or whether it still has it.
#[derive(Debug)]
pub(in crate::daemon) enum Made {
    First(Result<(String, facts::FileState), String>),
    Again(Again),
}

/// The looks that are under way.
#[derive(Debug)]
pub(super) struct Looks {
    done: mpsc::UnboundedSender<Digested>,
    digests: mpsc::UnboundedReceiver<Digested>,
    /// Few files are read at a time: the daemon's loop has to go on beside them.
    readers: Arc<Semaphore>,
    /// Sessions for which files are read, or wait to be.
    turns: HashMap<u64, Weak<Semaphore>>,
    recent: Arc<Recent>,
}

/// Digests that were made last. One serves each call that was held already when it was begun: it is no older than what a
/// look of the call's own would have come to if it had been its turn. Of many calls by one program a few read it.
#[derive(Debug, Default)]
struct Recent(Mutex<VecDeque<(Instant, facts::FileState, String)>>);

/// So many of them are kept.
const RECENT: usize = 8;

impl Recent {
    /// The digest of a file for a call that was held at that time, and the state it belongs to.
    fn digest(
        &self,
        file: &facts::Wanted,
        held: Instant,
        waits: impl Fn() -> bool,
    ) -> io::Result<(String, facts::FileState)> {
        let state = file.state()?;
        if let Some(sha256) = self.find(state, held) {
            return Ok((sha256, state));
        }
        let began = Instant::now();
        let (sha256, state) = file.digest(waits)?;
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.truncate(RECENT - 1);
        recent.push_front((began, state, sha256.clone()));
        Ok((sha256, state))
    }

    fn find(&self, state: facts::FileState, held: Instant) -> Option<String> {
        let recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |(began, of, _): &&(Instant, facts::FileState, String)| *of == state && *began > held;
        recent.iter().find(fits).map(|(.., sha256)| sha256.clone())
    }
}

impl Default for Looks {
    fn default() -> Self {
        let (done, digests) = mpsc::unbounded_channel();
        Self {
            done,
            digests,
            readers: Arc::new(Semaphore::new(READERS)),
            turns: HashMap::new(),
            recent: Arc::default(),
        }
    }
}

impl Looks {
    /// What the next look to be done came to.
    pub(super) async fn next(&mut self) -> Digested {
        match self.digests.recv().await {
            Some(digested) => digested,
            // The other end is ours and lives as long.
            None => std::future::pending().await,
        }
    }

    /// Has the first digest made of the file that a call, which has just been heard of, is about.
    pub(super) fn digest(&mut self, pending: &Pending) {
        let (file, recent, held) = (pending.file.clone(), Arc::clone(&self.recent), Instant::now());
        self.look(pending, move |waits| {
            Made::First(recent.digest(&file, held, waits).map_err(|error| error.to_string()))
        });
    }

    pub(super) fn look(
        &mut self,
        pending: &Pending,
        look: impl FnOnce(&dyn Fn() -> bool) -> Made + Send + 'static,
    ) {
        let (id, digest, done) = (pending.request.id, pending.digest, self.done.clone());
        let (pid, tid) = (pending.request.pid, pending.request.tid);
        let (turn, readers) = (self.turn(pending.session), Arc::clone(&self.readers));
        tokio::spawn(async move {
            // Never closed.
            let Ok(turn) = turn.acquire_owned().await else { return };
            let Ok(permit) = readers.acquire_owned().await else { return };
            tokio::task::spawn_blocking(move || {
                // Nobody waits for it any more once the daemon ends.
                let _ = done.send((id, digest, look(&|| is_thread(pid, tid))));
                drop((permit, turn));
            });
        });
    }

    /// What a session may have read at a time.
    fn turn(&mut self, session: u64) -> Arc<Semaphore> {
        self.turns.retain(|_, turn| turn.strong_count() != 0);
        if let Some(turn) = self.turns.get(&session).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(Semaphore::new(READERS_OF_SESSION));
        self.turns.insert(session, Arc::downgrade(&turn));
        turn
    }
}

/// Whether the file is to be looked at again before the call goes on: of an exec, it is what goes on.
pub(in crate::daemon) fn is_to_be_seen(pending: &Pending) -> bool {
    pending.request.action == "exec"
        && pending.state.is_some()
        && matches!(pending.again, Again::Not | Again::Looks)
}

/// The file that was shown must be the one that is there: a digest of another says nothing.
pub(in crate::daemon) fn unchanged(pending: &Pending) -> Result<(), String> {
    let Some(shown) = pending.state else {
        let sha256 = &pending.request.sha256;
        return if sha256.is_empty() {
            Err("the file's digest is still being made: ask again".to_owned())
        } else if pending.request.action == "exec" {
            Err(format!("the file's digest is {sha256}: deny it"))
        } else {
            Ok(())
        };
    };
    match &pending.again {
        Again::Same(_) => return Ok(()),
        Again::Changed(why) => return Err(format!("{why}: deny it")),
        Again::Not | Again::Looks => {}
    }
    match pending.file.state() {
        Ok(state) if state == shown => Ok(()),
        _ => Err(format!("{}: deny it", facts::CHANGED)),
    }
}

pub(super) fn is_thread(pid: u32, tid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}/task/{tid}")).exists()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_digest_serves_who_was_held_when_it_was_begun() {
        let recent = Recent::default();
        let file = facts::Wanted::caller(std::process::id());
        let before = Instant::now();
        let own = recent.digest(&file, before, || true).expect("the program can be read");
        // Nobody waits: whoever has to read fails.
        assert_eq!(recent.digest(&file, before, || false).expect("it is known"), own);
        assert!(recent.digest(&file, Instant::now(), || false).is_err(), "an older digest served");
        // A file in another state is another.
        let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().expect("start a program");
        while fs::read_link(format!("/proc/{}/exe", child.id())).ok() == fs::read_link("/proc/self/exe").ok()
        {
        }
        let other = recent.digest(&facts::Wanted::caller(child.id()), before, || false);
        child.kill().and_then(|()| child.wait()).expect("end it");
        assert!(other.is_err(), "{other:?}");
    }
}
