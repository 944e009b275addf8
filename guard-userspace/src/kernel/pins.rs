//! Pins: what keeps deciding when no daemon runs.

use std::path::{Path, PathBuf};
use std::{fs, io};

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
        let Ok(entries) = fs::read_dir(self.root.join("links")) else { return Vec::new() };
        let mut builds: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        builds.sort();
        builds
    }

    /// Makes the directories, for root alone.
    pub fn prepare(&self, build: &str) -> io::Result<()> {
        for directory in [self.root.clone(), self.maps(), self.root.join("links"), self.links(build)] {
            match fs::create_dir(&directory) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o700))?
                }
            }
        }
        Ok(())
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
        for build in self.builds() {
            self.drop_links(&build)?;
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
