//! Files that are whole or not there, and readable by nobody else.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// For the owner alone.
pub(super) const PRIVATE: u32 = 0o600;
/// For everyone to read.
pub(super) const PUBLIC: u32 = 0o644;

/// Makes a directory, and those above it, that only its owner can enter.
pub(super) fn private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Replaces a file by one rename, after its bytes have reached the disk.
pub(super) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let staged = beside(path, ".new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&staged)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&staged, path)?;
    sync_directory(path)
}

/// Makes the names in a file's directory durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The whole file, or nothing if there is none.
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Name of a segment: its number, so that names sort as the segments do.
pub(super) fn segment(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:010}.{EXTENSION}"))
}

const EXTENSION: &str = "ndjson";
/// Name of the signed word about how far the log has got.
pub(super) const HEAD: &str = "head";

/// The segments in a directory, in ascending order.
pub(super) fn segments(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()).filter(|stem| stem.len() == 10);
        if path.extension().is_some_and(|extension| extension == EXTENSION)
            && let Some(number) = number.and_then(|stem| stem.parse().ok())
        {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}
