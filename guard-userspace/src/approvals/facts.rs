//! Facts about a held call that are not in its event: the digest of a file, the processes above.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use guard_common::abi::Action;
use sha2::{Digest as _, Sha256};

use crate::audit::escape;
use crate::events::Event;

/// How many processes above are shown.
const ABOVE: usize = 8;

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileState {
    dev: u64,
    ino: u64,
    size: u64,
    changed: (i64, i64),
}

/// The file whose digest an approver wants: what is to be run, or the program that makes the call. Seen through the
/// process, which may be in another mount namespace.
pub(super) fn file_of(event: &Event) -> PathBuf {
    let process = PathBuf::from(format!("/proc/{}", event.pid));
    if event.action != Action::Exec {
        return process.join("exe");
    }
    let path = event.object.split(|byte| *byte == 0).next().unwrap_or_default();
    let path = path.strip_prefix(b"/").unwrap_or(path);
    process.join("root").join(std::ffi::OsStr::from_bytes(path))
}

/// A file's state now.
pub fn state(path: &Path) -> io::Result<FileState> {
    Ok(of(&fs::metadata(path)?))
}

fn of(facts: &fs::Metadata) -> FileState {
    FileState {
        dev: facts.dev(),
        ino: facts.ino(),
        size: facts.size(),
        changed: (facts.ctime(), facts.ctime_nsec()),
    }
}

/// How many digests are remembered.
const REMEMBERED: usize = 64;
/// A file that was changed so lately, in seconds, can be changed again without its times telling.
const SETTLED: i64 = 2;

/// Digests that were made: of many calls by one program, only the first waits for it to be read.
#[derive(Debug, Default)]
pub struct Digests {
    made: Mutex<VecDeque<(FileState, String)>>,
}

impl Digests {
    /// A file's digest, and the state it belongs to. Slow: not for the daemon's loop.
    pub fn of(&self, path: &Path) -> io::Result<(String, FileState)> {
        let file = File::open(path)?;
        let facts = file.metadata()?;
        if !facts.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let state = of(&facts);
        let known = |made: &VecDeque<(FileState, String)>| {
            made.iter().find(|(known, _)| *known == state).map(|(_, digest)| digest.clone())
        };
        if let Some(digest) = known(&self.made.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok((digest, state));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let settled = state.changed.0.saturating_add(SETTLED) < i64::try_from(now).unwrap_or(i64::MAX);
        let digest = read(file, state)?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if settled && known(&made).is_none() {
            made.truncate(REMEMBERED - 1);
            made.push_front((state, digest.clone()));
        }
        Ok((digest, state))
    }
}

/// The digest of an open file that is in the state `before`, and stays in it.
fn read(mut file: File, before: FileState) -> io::Result<String> {
    let (mut hash, mut block) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut block)? {
            0 => break,
            read => hash.update(&block[..read]),
        }
    }
    if of(&file.metadata()?) != before {
        return Err(io::Error::other("the file changes while it is read"));
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The processes above one, nearest first.
pub fn lineage(pid: u32) -> Vec<String> {
    let (mut lines, mut at) = (Vec::new(), pid);
    while lines.len() < ABOVE {
        let Some(parent) = parent(at).filter(|parent| *parent != 0) else { break };
        let exe = fs::read_link(format!("/proc/{parent}/exe")).unwrap_or_default();
        lines.push(format!("{parent} {}", escape(exe.as_os_str().as_bytes())));
        at = parent;
    }
    lines
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it is in parentheses and may hold anything, parentheses included.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_remembered_only_while_the_file_stays_as_it_is() {
        let path = std::env::temp_dir().join(format!("guard-facts-{}", std::process::id()));
        let digests = Digests::default();
        fs::write(&path, "abc").unwrap();
        let (digest, before) = digests.of(&path).unwrap();
        assert_eq!(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(state(&path).unwrap(), before);
        assert!(digests.made.lock().unwrap().is_empty(), "it was changed only now");
        // As if it had been read a while after the change.
        digests.made.lock().unwrap().push_front((before, digest.clone()));
        assert_eq!(digests.of(&path).unwrap(), (digest.clone(), before));
        fs::write(&path, "abcd").unwrap();
        let (other, after) = digests.of(&path).unwrap();
        assert!(other != digest && after != before);
        fs::remove_file(&path).unwrap();
        assert!(digests.of(Path::new("/proc/self")).is_err());
        assert!(digests.of(&path).is_err());
    }

    #[test]
    fn a_process_has_processes_above() {
        let lines = lineage(std::process::id());
        assert!(!lines.is_empty() && lines.len() <= ABOVE, "{lines:?}");
    }
}
