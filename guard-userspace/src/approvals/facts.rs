//! Facts about a held call that are not in its event: the digest of a file, the processes above.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

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

/// The largest file that is read for a digest: an agent can make one of any length out of nothing.
const LARGEST: u64 = 1 << 30;
/// After so many bytes it is asked whether anybody still waits.
const STRETCH: usize = 1 << 20;

/// A file's digest, and the state it belongs to. Slow: not for the daemon's loop; it ends early once nobody `waits`. Never
/// remembered: on a tmpfs a shared mapping changes a file without a trace in its times.
pub fn digest(path: &Path, waits: impl Fn() -> bool) -> io::Result<(String, FileState)> {
    // Whatever lies there by now must not keep the reader.
    let mut file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let before = of(&facts);
    let (mut hash, mut block, mut all) = (Sha256::new(), vec![0; STRETCH], 0);
    loop {
        if all > LARGEST || facts.len() > LARGEST {
            return Err(io::Error::other(format!("the file is larger than {LARGEST} bytes")));
        }
        if !waits() {
            return Err(io::Error::other("nobody waits for it any more"));
        }
        match file.read(&mut block)? {
            0 => break,
            read => {
                hash.update(&block[..read]);
                all += read as u64;
            }
        }
    }
    if of(&file.metadata()?) != before {
        return Err(io::Error::other("the file changes while it is read"));
    }
    Ok((hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect(), before))
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
    fn a_files_digest_belongs_to_one_state_of_it() {
        let path = std::env::temp_dir().join(format!("guard-facts-{}", std::process::id()));
        fs::write(&path, "abc").unwrap();
        let (digest, before) = digest(&path, || true).unwrap();
        assert_eq!(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(state(&path).unwrap(), before);
        fs::write(&path, "abcd").unwrap();
        assert_ne!(state(&path).unwrap(), before);
        assert!(super::digest(&path, || false).is_err(), "nobody waits");
        // Four terabytes of nothing.
        File::options().write(true).open(&path).and_then(|file| file.set_len(1 << 42)).unwrap();
        assert!(super::digest(&path, || true).unwrap_err().to_string().contains("larger"));
        fs::remove_file(&path).unwrap();
        assert!(super::digest(Path::new("/proc/self"), || true).is_err());
    }

    #[test]
    fn a_process_has_processes_above() {
        let lines = lineage(std::process::id());
        assert!(!lines.is_empty() && lines.len() <= ABOVE, "{lines:?}");
    }
}
