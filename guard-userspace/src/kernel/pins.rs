//! Pins: what keeps deciding when no daemon runs.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::error::{LoadError, pin_error};

/// In the name of a set of links that is being made.
const UNFINISHED: &str = "+";

/// Where guard pins.
#[derive(Clone, Debug)]
pub struct Pins {
    root: PathBuf,
}

impl Default for Pins {
    fn default() -> Self {
        Self::at("/sys/fs/bpf/guard")
    }
}

impl Pins {
    /// Pins below another directory of a bpf file system, for tests.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a map is pinned.
    pub fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    /// Where the maps are pinned.
    pub fn maps(&self) -> PathBuf {
        self.root.join("maps")
    }

    /// Where the links of one build of the programs are pinned.
    pub fn links(&self, build: &str) -> PathBuf {
        self.root.join("links").join(build)
    }

    /// The builds whose links are pinned.
    pub fn builds(&self) -> Vec<String> {
        let mut builds = self.sets();
        builds.retain(|name| !name.contains(UNFINISHED));
        builds
    }

    /// The sets of links that are pinned, those of interrupted starts included.
    pub fn sets(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.root.join("links")) else { return Vec::new() };
        let mut sets: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        sets.sort();
        sets
    }

    /// The name of a set that is not there yet, for a build whose links are being made.
    pub fn unfinished(&self, build: &str) -> String {
        let taken = self.sets();
        let name = |n: u32| format!("{build}{UNFINISHED}{n}");
        (0..).map(name).find(|name| !taken.contains(name)).unwrap_or_default()
    }

    /// Puts a set of links in the place of what a build has. Each link takes the place of the one of its name in one
    /// step, so that there is never less than before.
    pub fn finish(&self, unfinished: &str, build: &str) -> io::Result<()> {
        self.prepare(build)?;
        for entry in fs::read_dir(self.links(unfinished))? {
            let entry = entry?;
            fs::rename(entry.path(), self.links(build).join(entry.file_name()))?;
        }
        fs::remove_dir(self.links(unfinished))
    }

    /// Makes the directories, for root alone.
    pub fn prepare(&self, build: &str) -> io::Result<()> {
        for directory in [self.root.clone(), self.maps(), self.root.join("links"), self.links(build)] {
            make(&directory)?;
        }
        Ok(())
    }

    /// Keeps a second daemon away from these programs for as long as the process lives: each would change what the other
    /// has the programs keep.
    pub fn claim(&self) -> Result<Flock<File>, LoadError> {
        let failed = |what| move |source| pin_error(what, &self.root, source);
        make(&self.root).map_err(failed("make"))?;
        let root = File::open(&self.root).map_err(failed("open"))?;
        Flock::lock(root, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
            Errno::EWOULDBLOCK => LoadError::Busy(self.root.clone()),
            other => failed("lock")(other.into()),
        })
    }

    /// Takes one build's links away; the programs stop deciding once nothing else holds them.
    pub fn drop_links(&self, build: &str) -> io::Result<()> {
        let directory = self.links(build);
        for entry in fs::read_dir(&directory)? {
            fs::remove_file(entry?.path())?;
        }
        fs::remove_dir(&directory)
    }

    /// Takes everything away.
    pub fn remove(&self) -> io::Result<()> {
        for set in self.sets() {
            self.drop_links(&set)?;
        }
        if let Ok(maps) = fs::read_dir(self.maps()) {
            for entry in maps {
                fs::remove_file(entry?.path())?;
            }
            fs::remove_dir(self.maps())?;
        }
        let _ = fs::remove_dir(self.root.join("links"));
        match fs::remove_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

/// Makes a directory for root alone, unless it is there.
fn make(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.and_then(|()| fs::set_permissions(directory, Permissions::from_mode(0o700))),
    }
}
