//! Which cgroups are governed, and which tasks are inside already.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use guard_common::abi::{CgroupEntry, InodeKey, Label, LabelFlags};
use guard_common::limits::{CGROUP_FILTER_BITS, LAUNCHERS as LAUNCHERS_KNOWN};
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use zerocopy::{FromBytes, IntoBytes};

use super::Kernel;
use crate::sys::bpf;

/// Programs that prepare a service inside its cgroup before they hand over to it.
const LAUNCHERS: &[&str] = &[
    "/usr/lib/systemd/systemd",
    "/lib/systemd/systemd",
    "/usr/lib/systemd/systemd-executor",
    "/lib/systemd/systemd-executor",
    "/usr/bin/runc",
    "/usr/sbin/runc",
    "/usr/bin/crun",
    "/usr/bin/conmon",
    "/usr/libexec/podman/conmon",
];

/// A cgroup that is governed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Governed {
    /// As `/proc/PID/cgroup` spells it.
    pub path: Vec<u8>,
    pub id: u64,
    pub domain: u32,
    pub session: u64,
}

impl Governed {
    fn entry(&self) -> CgroupEntry {
        CgroupEntry { domain: self.domain, _pad: 0, session: self.session }
    }
}

impl Kernel {
    /// Before policies change: what programs have kept of either holds no longer, and nothing is kept until
    /// [`settle`](Self::settle). Whoever dies in between leaves programs that look everything up.
    pub fn unsettle(&self) -> io::Result<()> {
        self.set_settled(0, 0)
    }

    /// After policies have changed and cgroups have followed: programs may keep what they look up, for this generation.
    pub fn settle(&self, generation: u64) -> io::Result<()> {
        self.set_settled(generation, now()?)
    }

    /// Have cgroups followed the policies that are installed?
    pub fn is_settled(&self) -> bool {
        let mut epoch = 0u64;
        let read = self.map("EPOCH").and_then(|map| bpf::lookup(map, 0u32.as_bytes(), epoch.as_mut_bytes()));
        matches!(read, Ok(true)) && epoch != 0
    }

    fn set_settled(&self, generation: u64, epoch: u64) -> io::Result<()> {
        for (name, word) in [("GENERATION", generation), ("EPOCH", epoch)] {
            bpf::update(self.map(name)?, 0u32.as_bytes(), word.as_bytes())?;
        }
        Ok(())
    }

    /// Makes the kernel govern the cgroups that exist now: `domain_of` gives a path's domain. Later ones the
    /// kernel finds by itself as they are made. Programs must not keep what they look up meanwhile, see
    /// [`unsettle`](Self::unsettle).
    ///
    /// A cgroup's entry is written before its children are looked at, so one that is made later has it from the kernel. One
    /// whose making has met the old entry and is not to be seen yet is met by the second walk. Not until nothing is new:
    /// somebody who goes on making cgroups would keep the daemon from everything else.
    pub fn govern(&self, root: &Path, domain_of: impl Fn(&[u8]) -> u32) -> io::Result<Vec<Governed>> {
        // Taken before the first look at the tree: what is in it and still there, the last look will find.
        let before = self.governed_ids()?;
        let map = self.map("CGROUPS")?;
        let known = collect(root, &domain_of, &mut |_| Ok(()))?;
        self.filter(known.iter().map(|cgroup| &cgroup.id))?;
        self.open_accounts(known.iter().map(|cgroup| cgroup.session))?;
        let known: BTreeSet<u64> = known.iter().map(|cgroup| cgroup.id).collect();
        let mut enter = |cgroup: &Governed| {
            let (wanted, mut entry) = (cgroup.entry(), CgroupEntry::default());
            if bpf::lookup(map, cgroup.id.as_bytes(), entry.as_mut_bytes())? && entry == wanted {
                return Ok(());
            }
            if !known.contains(&cgroup.id) {
                self.filter(std::iter::once(&cgroup.id))?;
                self.open_accounts(std::iter::once(cgroup.session))?;
            }
            bpf::update(map, cgroup.id.as_bytes(), wanted.as_bytes())
        };
        collect(root, &domain_of, &mut enter)?;
        let found = collect(root, &domain_of, &mut enter)?;
        let here: BTreeSet<u64> = found.iter().map(|cgroup| cgroup.id).collect();
        let gone: Vec<u64> = before.into_iter().filter(|id| !here.contains(id)).collect();
        for id in &gone {
            bpf::delete(map, id.as_bytes())?;
        }
        self.close_accounts(gone.into_iter())?;
        // Tasks that run ask what their cgroup's domain is now. Only this process writes the word.
        let (map, mut changes) = (self.map("CHANGES")?, 0u64);
        bpf::lookup(map, 0u32.as_bytes(), changes.as_mut_bytes())?;
        let changes = changes % u64::from(u16::MAX) + 1;
        bpf::update(map, 0u32.as_bytes(), changes.as_bytes())?;
        Ok(found)
    }

    /// Sets the bits that spare outsiders a look-up. Never clears one: a set bit costs a look-up, a missing
    /// one a boundary. The kernel sets bits too, for cgroups that are made meanwhile, and a bit that it sets between
    /// the look and the writing is written over: so it looks again, until all are there.
    fn filter<'a>(&self, wanted: impl Iterator<Item = &'a u64> + Clone) -> io::Result<()> {
        let map = self.map("CGROUP_FILTER")?;
        let mut words = vec![0u64; CGROUP_FILTER_BITS as usize / 64];
        loop {
            let known = self.governed_ids()?;
            bpf::lookup(map, 0u32.as_bytes(), words.as_mut_slice().as_mut_bytes())?;
            let mut complete = true;
            for id in wanted.clone().copied().chain(known) {
                let bit = id % u64::from(CGROUP_FILTER_BITS);
                let (at, bit) = ((bit / 64) as usize, 1 << (bit % 64));
                complete &= words[at] & bit != 0;
                words[at] |= bit;
            }
            if complete {
                return Ok(());
            }
            bpf::update(map, 0u32.as_bytes(), words.as_bytes())?;
        }
    }

    /// Makes the filter spare outsiders again, after programs of another build were loaded under one that spares nobody.
    pub(super) fn narrow_filter(&self, before: &[u64]) -> io::Result<()> {
        bpf::update(self.map("CGROUP_FILTER")?, 0u32.as_bytes(), before.as_bytes())?;
        self.filter(std::iter::empty())
    }

    /// The ids of the governed cgroups, as the kernel holds them.
    pub fn governed_ids(&self) -> io::Result<Vec<u64>> {
        let map = self.map("CGROUPS")?;
        let (mut ids, mut key) = (Vec::new(), None::<u64>);
        let mut next = 0u64;
        while bpf::next_key(map, key.as_ref().map(IntoBytes::as_bytes), next.as_mut_bytes())? {
            ids.push(next);
            key = Some(next);
        }
        Ok(ids)
    }

    /// The sessions of the governed cgroups, as the kernel holds them.
    pub fn sessions(&self) -> io::Result<Vec<u64>> {
        let map = self.map("CGROUPS")?;
        let mut sessions = Vec::new();
        for id in self.governed_ids()? {
            let mut entry = CgroupEntry::default();
            if bpf::lookup(map, id.as_bytes(), entry.as_mut_bytes())? {
                sessions.push(entry.session);
            }
        }
        Ok(sessions)
    }

    /// The session of a governed cgroup, as the kernel holds it.
    pub fn session_of(&self, cgroup: u64) -> Option<u64> {
        let mut entry = CgroupEntry::default();
        let found = bpf::lookup(self.map("CGROUPS").ok()?, cgroup.as_bytes(), entry.as_mut_bytes()).ok()?;
        (found && entry.session != 0).then_some(entry.session)
    }

    /// The top cgroups of all sessions, as the kernel holds them: id and domain.
    pub fn session_roots(&self) -> io::Result<Vec<(u64, u32)>> {
        let map = self.map("CGROUPS")?;
        let mut found = Vec::new();
        for id in self.governed_ids()? {
            let mut bytes = [0u8; size_of::<CgroupEntry>()];
            if bpf::lookup(map, id.as_bytes(), &mut bytes)?
                && let Ok(entry) = CgroupEntry::read_from_bytes(&bytes)
                && entry.session == id
            {
                found.push((id, entry.domain));
            }
        }
        Ok(found)
    }

    /// Labels the processes that are in governed cgroups already, the daemon's own excepted. Their other
    /// threads take the label from the process at their next call.
    pub fn label_present(&self, root: &Path, governed: &[Governed]) -> io::Result<usize> {
        let map = self.map("LABELS")?;
        let mut labelled = 0;
        for cgroup in governed {
            let label = Label { domain: cgroup.domain, flags: 0, session: cgroup.session };
            for pid in processes(&directory(root, &cgroup.path)) {
                // A process that has gone meanwhile needs no label.
                let Ok(process) = bpf::process(pid) else { continue };
                let key = process.as_fd().as_raw_fd();
                if pid != std::process::id()
                    && bpf::insert(map, key.as_bytes(), label.as_bytes()).unwrap_or(false)
                {
                    labelled += 1;
                }
            }
        }
        Ok(labelled)
    }

    /// Labelled processes as the kernel holds them: process id and label.
    pub fn labels(&self) -> io::Result<Vec<(u32, Label)>> {
        let map = self.map("LABELS")?;
        let mut labels = Vec::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            labels.extend(read_label(map, pid).map(|label| (pid, label)));
        }
        Ok(labels)
    }

    /// The label of one process, none if it is outside every domain.
    pub fn label(&self, pid: u32) -> Option<Label> {
        read_label(self.map("LABELS").ok()?, pid)
    }

    /// Tells the programs which files are launchers: those of the list, and `own`, that belong to root and
    /// that nobody else can write. Again from time to time: an upgrade of a runtime is another file.
    pub fn register_launchers(&self, own: Option<&Path>) -> io::Result<usize> {
        let map = self.map("LAUNCHERS")?;
        let mut wanted = BTreeSet::new();
        for path in LAUNCHERS.iter().map(Path::new).chain(own) {
            let Ok(facts) = fs::metadata(path) else { continue };
            if facts.uid() != 0 || facts.mode() & 0o022 != 0 {
                continue;
            }
            wanted.insert((kernel_device(facts.dev()), facts.ino()));
            // Container runtimes run from a copy of themselves, so that no container writes to the file.
            wanted.insert((InodeKey::COPY, facts.len()));
        }
        for (dev, ino) in &wanted {
            let key = InodeKey { ino: *ino, dev: *dev, _pad: 0 };
            bpf::update(map, key.as_bytes(), 1u32.as_bytes())?;
        }
        let (mut known, mut key) = (Vec::new(), None::<InodeKey>);
        let mut next = InodeKey::default();
        while known.len() < LAUNCHERS_KNOWN as usize
            && bpf::next_key(map, key.as_ref().map(IntoBytes::as_bytes), next.as_mut_bytes())?
        {
            known.push(next);
            key = Some(next);
        }
        for gone in known.iter().filter(|key| !wanted.contains(&(key.dev, key.ino))) {
            bpf::delete(map, gone.as_bytes())?;
        }
        Ok(wanted.len())
    }
}

/// CLOCK_BOOTTIME in nanoseconds: an epoch that has never been.
fn now() -> io::Result<u64> {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)?;
    Ok(now.tv_sec().cast_unsigned() * 1_000_000_000 + now.tv_nsec().cast_unsigned())
}

fn read_label(map: BorrowedFd<'_>, pid: u32) -> Option<Label> {
    let process = bpf::process(pid).ok()?;
    let mut bytes = [0u8; size_of::<Label>()];
    let key = process.as_fd().as_raw_fd();
    let found = bpf::lookup(map, key.as_bytes(), &mut bytes).unwrap_or(false);
    let label = Label::read_from_bytes(&bytes).ok().filter(|_| found)?;
    (label.domain != 0 && label.flags & LabelFlags::PENDING == 0).then_some(label)
}

/// A device number as the kernel keeps it, from what stat(2) says.
fn kernel_device(dev: u64) -> u32 {
    let (major, minor) = (nix::sys::stat::major(dev), nix::sys::stat::minor(dev));
    (major as u32) << 20 | (minor as u32 & 0xf_ffff)
}

struct Above<'a> {
    path: &'a [u8],
    domain: u32,
    session: u64,
}

/// The governed cgroups below `root`; each is shown to `enter` before what is below it is looked at.
fn collect(
    root: &Path,
    domain_of: &impl Fn(&[u8]) -> u32,
    enter: &mut impl FnMut(&Governed) -> io::Result<()>,
) -> io::Result<Vec<Governed>> {
    let mut found = Vec::new();
    let directory = Dir::open(root, LOOK, Mode::empty())?;
    let top = Above { path: b"", domain: 0, session: 0 };
    collect_below(directory, &top, domain_of, enter, &mut found)?;
    Ok(found)
}

const LOOK: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_CLOEXEC).union(OFlag::O_NOFOLLOW);

/// Walks the tree below `directory`; a cgroup that no policy names has the domain above it. By descriptors: a tree can be
/// deeper than a path is long.
fn collect_below(
    mut directory: Dir,
    above: &Above<'_>,
    domain_of: &impl Fn(&[u8]) -> u32,
    enter: &mut impl FnMut(&Governed) -> io::Result<()>,
    found: &mut Vec<Governed>,
) -> io::Result<()> {
    let mut below = Vec::new();
    for entry in directory.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() == Some(Type::Directory) && !matches!(name.to_bytes(), b"." | b"..") {
            below.push((name.to_owned(), entry.ino()));
        }
    }
    for (name, id) in below {
        let path = [above.path, b"/", name.to_bytes()].concat();
        let domain = match domain_of(&path) {
            0 => above.domain,
            domain => domain,
        };
        let session = if above.session == 0 && domain != 0 { id } else { above.session };
        let place = found.len();
        if domain != 0 {
            let cgroup = Governed { path: path.clone(), id, domain, session };
            enter(&cgroup)?;
            found.push(cgroup);
        }
        match Dir::openat(&directory, name.as_c_str(), LOOK, Mode::empty()) {
            Ok(child) => {
                collect_below(child, &Above { path: &path, domain, session }, domain_of, enter, found)?
            }
            // A cgroup that is removed under our eyes is no error.
            Err(Errno::ENOENT) => found.truncate(place),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn processes(directory: &Path) -> Vec<u32> {
    let list = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    list.lines().filter_map(|line| line.parse().ok()).collect()
}

fn directory(root: &Path, path: &[u8]) -> PathBuf {
    root.join(std::ffi::OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(path)))
}
