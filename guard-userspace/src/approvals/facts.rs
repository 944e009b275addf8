//! Facts about a held call that are not in its event: the digest of a file, the processes above.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use guard_common::abi::{Action, Asked};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{major, minor};
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, fstatfs};
use sha2::{Digest as _, Sha256};

use crate::audit::escape;
use crate::events::Event;
use crate::sys::{self, Leased};

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

/// The file whose digest an approver wants, seen through the process, which may be in another mount namespace.
#[derive(Clone, Debug)]
pub struct Wanted {
    pid: u32,
    file: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// The program that makes the call: a link that only the kernel turns.
    Caller,
    /// What is to be run, as a path below the process's root, and which file the kernel holds the call for. What lies under
    /// its name by now may be another.
    Run(PathBuf, Option<Asked>),
}

impl Wanted {
    pub(super) fn of(event: &Event) -> Self {
        let path = event.object.split(|byte| *byte == 0).next().unwrap_or_default();
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let path = || PathBuf::from(std::ffi::OsStr::from_bytes(path));
        let file = if event.action == Action::Exec { Kind::Run(path(), event.asked) } else { Kind::Caller };
        Self { pid: event.pid, file }
    }

    /// The program that a process runs.
    #[cfg(test)]
    pub fn caller(pid: u32) -> Self {
        Self { pid, file: Kind::Caller }
    }

    /// The file, not open for anything, and its state.
    fn find(&self) -> io::Result<(File, FileState)> {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let open = |name: &str| {
            let path = format!("/proc/{}/{name}", self.pid);
            File::options().read(true).custom_flags(flags.bits()).open(path)
        };
        let (file, asked) = match &self.file {
            Kind::Caller => (open("exe")?, None),
            Kind::Run(_, None) => {
                return Err(io::Error::other("it is not known which file the call is held for"));
            }
            // A path that the kernel has resolved has no links: one that lies there by now leads to what the caller may
            // not open, and would have opened for it.
            Kind::Run(path, asked) => {
                let how = OpenHow::new().flags(flags);
                let links = ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
                (File::from(openat2(open("root")?, path, how.resolve(links))?), asked.as_ref())
            }
        };
        let facts = file.metadata()?;
        if !facts.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        match asked {
            Some(asked) if !is(&file, &facts, asked)? => {
                Err(io::Error::other("another file, or another state of it, is there by now"))
            }
            Some(_) | None => Ok((file, of(&facts))),
        }
    }

    /// Opened for reading: the file that was found, whatever lies under its name by now.
    fn open(&self) -> io::Result<(File, FileState)> {
        let (found, state) = self.find()?;
        let path = format!("/proc/self/fd/{}", found.as_raw_fd());
        let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        Ok((File::options().read(true).custom_flags(flags.bits()).open(path)?, state))
    }

    /// The file's state now.
    pub fn state(&self) -> io::Result<FileState> {
        Ok(self.find()?.1)
    }

    /// The file's digest, and the state it belongs to. Slow: not for the daemon's loop; it ends early once nobody
    /// `waits`. Not to be remembered for calls that come later: on a tmpfs a shared mapping changes a file without a trace in
    /// its times.
    pub fn digest(&self, waits: impl Fn() -> bool) -> io::Result<(String, FileState)> {
        let (mut file, state) = self.open()?;
        Ok((sum(&mut file, state, waits)?, state))
    }

    /// Whether the file is still what it was when its digest was made. As slow. As long as what it gives is kept, nobody
    /// can open the file for writing; nothing where the file system has no leases.
    pub fn still(
        &self,
        sha256: &str,
        shown: FileState,
        waits: impl Fn() -> bool,
    ) -> io::Result<Option<Leased>> {
        let (file, state) = self.open()?;
        if state != shown {
            return Err(io::Error::other(CHANGED));
        }
        let lease = sys::lease(file.try_clone()?).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::other("somebody has the file open for writing"),
            _ => error,
        })?;
        let mut file = file;
        if sum(&mut file, state, waits)? == sha256 { Ok(lease) } else { Err(io::Error::other(CHANGED)) }
    }
}

/// What is said of a file that is not what was shown.
pub const CHANGED: &str = "the file has changed since it was shown";

/// Is this the file that the kernel holds the call for?
fn is(file: &File, facts: &fs::Metadata, asked: &Asked) -> io::Result<bool> {
    // The number that the kernel goes by; what stat(2) says is another one on some file systems.
    let about = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    let said = about.lines().find_map(|line| line.strip_prefix("ino:")?.trim().parse().ok());
    // Both say a device of their own for each subvolume or layer.
    let kind = fstatfs(file)?.filesystem_type();
    let many = kind == BTRFS_SUPER_MAGIC || kind == OVERLAYFS_SUPER_MAGIC;
    let dev = major(facts.dev()) << 20 | minor(facts.dev());
    let changed = (facts.ctime() as u64, facts.ctime_nsec() as u64);
    Ok(asked.ino != 0
        && asked.ino == said.unwrap_or(facts.ino())
        && (many || u64::from(asked.dev) == dev)
        && asked.size == facts.size()
        && (asked.seconds, u64::from(asked.nanoseconds)) == changed)
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

/// The digest of a file that is in this state before and afterwards.
fn sum(file: &mut File, before: FileState, waits: impl Fn() -> bool) -> io::Result<String> {
    let (mut hash, mut block, mut all) = (Sha256::new(), vec![0; STRETCH], 0);
    loop {
        if all > LARGEST || before.size > LARGEST {
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
    use std::path::Path;

    use super::*;

    /// As the kernel would say that a call of this process is held for the file.
    fn wanted(path: &Path) -> Wanted {
        let facts = fs::metadata(path).unwrap();
        let asked = Asked {
            ino: facts.ino(),
            size: facts.size(),
            seconds: facts.ctime() as u64,
            nanoseconds: facts.ctime_nsec() as u32,
            dev: (major(facts.dev()) << 20 | minor(facts.dev())) as u32,
        };
        let path = path.strip_prefix("/").unwrap().to_owned();
        Wanted { pid: std::process::id(), file: Kind::Run(path, Some(asked)) }
    }

    #[test]
    fn a_files_digest_belongs_to_one_state_of_it() {
        const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let path = std::env::temp_dir().join(format!("guard-facts-{}", std::process::id()));
        fs::write(&path, "abc").unwrap();
        let before = wanted(&path);
        let (digest, state) = before.digest(|| true).unwrap();
        assert_eq!(digest, ABC);
        assert_eq!(before.state().unwrap(), state);
        drop(before.still(ABC, state, || true).unwrap());
        assert!(before.still("00", state, || true).unwrap_err().to_string().contains("has changed"));
        // Whoever has it open for writing can change it at any time.
        let writer = File::options().write(true).open(&path).unwrap();
        let leased = before.still(ABC, state, || true);
        assert!(leased.is_err() || leased.unwrap().is_none());
        drop(writer);
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(&path, "abcd").unwrap();
        assert!(before.state().unwrap_err().to_string().contains("another file"));
        let now = wanted(&path);
        assert_ne!(now.state().unwrap(), state);
        assert!(now.digest(|| false).is_err(), "nobody waits");
        // Another file under the name, or a link to the file itself.
        let aside = path.with_extension("aside");
        fs::rename(&path, &aside).unwrap();
        fs::write(&path, "abcd").unwrap();
        assert!(now.digest(|| true).is_err());
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&aside, &path).unwrap();
        assert!(now.digest(|| true).is_err());
        fs::remove_file(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
        // Four terabytes of nothing.
        File::options().write(true).open(&path).and_then(|file| file.set_len(1 << 42)).unwrap();
        assert!(wanted(&path).digest(|| true).unwrap_err().to_string().contains("larger"));
        fs::remove_file(&path).unwrap();
        assert!(wanted(Path::new("/proc/self")).digest(|| true).is_err());
    }

    #[test]
    fn a_process_has_processes_above() {
        let lines = lineage(std::process::id());
        assert!(!lines.is_empty() && lines.len() <= ABOVE, "{lines:?}");
    }
}
