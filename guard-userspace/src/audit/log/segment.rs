//! One file of the log.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::super::{Hash, files, hash};
use super::{LogError, failed};

/// A segment open for writing.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    path: PathBuf,
}

impl Segment {
    /// Makes a segment with its first line. On failure there is no such file.
    pub(super) fn create(directory: &Path, number: u64, header: &[u8]) -> Result<Self, LogError> {
        let path = files::segment(directory, number);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(files::PRIVATE)
            .open(&path)
            .map_err(failed("create", &path))?;
        let segment = Self { file, path };
        let begun = segment.put(0, header).and_then(|()| segment.sync());
        if let Err(error) = begun {
            // Gone, or empty and found by the next start: either way there is nothing in it.
            let _ = fs::remove_file(&segment.path);
            return Err(error);
        }
        files::sync_directory(&segment.path).map_err(failed("sync the directory of", &segment.path))?;
        Ok(segment)
    }

    /// Goes on in a segment; `length` bytes of it are whole lines, and the rest is cut off.
    pub(super) fn resume(path: PathBuf, length: u64) -> Result<Self, LogError> {
        let file = OpenOptions::new().write(true).open(&path).map_err(failed("open", &path))?;
        file.set_len(length).map_err(failed("cut the torn end of", &path))?;
        Ok(Self { file, path })
    }

    /// Writes at `end`. If not all can be written, none of it stays.
    pub(super) fn put(&self, end: u64, bytes: &[u8]) -> Result<(), LogError> {
        self.file.write_all_at(bytes, end).map_err(|error| {
            // If even this fails, the next start finds the torn end; until then each write begins at `end` again.
            let _ = self.file.set_len(end);
            failed("write", &self.path)(error)
        })
    }

    pub(super) fn sync(&self) -> Result<(), LogError> {
        self.file.sync_data().map_err(failed("sync", &self.path))
    }
}

/// The oldest segments that must go so that no more than `keep` bytes stay; never the one that is open.
pub(super) fn beyond(directory: &Path, open: u64, keep: u64) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut segments = Vec::new();
    for (number, path) in files::segments(directory)? {
        segments.push((number, fs::metadata(&path)?.len(), path));
    }
    let mut total: u64 = segments.iter().map(|(_, bytes, _)| bytes).sum();
    let mut doomed = Vec::new();
    for (number, bytes, path) in segments {
        if total <= keep || number >= open {
            break;
        }
        total -= bytes;
        doomed.push((number, path));
    }
    Ok(doomed)
}

/// The hash of each segment's last line.
pub(super) fn last_hashes(segments: &[(u64, PathBuf)]) -> Result<Vec<(u64, Hash)>, LogError> {
    let mut hashes = Vec::new();
    for (number, path) in segments {
        let bytes = files::contents(path).map_err(failed("read", path))?;
        let lines = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let last = lines.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        hashes.push((*number, hash(last)));
    }
    Ok(hashes)
}
