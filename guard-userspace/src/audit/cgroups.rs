//! Where cgroups lie, by their numbers.

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// So many paths are known before all are forgotten: they are found again.
const KEPT: usize = 65_536;

/// Paths of cgroups by id, which is the inode number of their directory.
#[derive(Debug)]
pub(super) struct Cgroups {
    pub(super) root: PathBuf,
    paths: HashMap<u64, Vec<u8>>,
}

impl Cgroups {
    pub(super) fn of(root: &Path) -> Self {
        Self { root: root.to_owned(), paths: HashMap::new() }
    }

    /// What was found of one was too early.
    pub(super) fn forget(&mut self, id: u64) {
        self.paths.remove(&id);
    }

    /// The path, or nothing for a cgroup that is gone without having been seen. No id is ever used again, so what
    /// is known stays true.
    pub(super) fn path(&mut self, id: u64) -> Vec<u8> {
        if let Some(path) = self.paths.get(&id) {
            return path.clone();
        }
        if self.paths.len() >= KEPT {
            self.paths.clear();
        }
        let root = self.root.clone();
        self.scan(&root);
        self.paths.entry(id).or_default().clone()
    }

    fn scan(&mut self, directory: &Path) {
        let Ok(facts) = fs::metadata(directory) else { return };
        let below = directory.strip_prefix(&self.root).unwrap_or(Path::new(""));
        let path = [b"/", below.as_os_str().as_bytes()].concat();
        self.paths.insert(facts.ino(), path);
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.scan(&entry.path());
            }
        }
    }
}
