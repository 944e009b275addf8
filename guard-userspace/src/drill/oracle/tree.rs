//! Everything in a directory, one line each: names, kinds, modes, owners, times, content, attributes.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What is deeper than this was made outside by a drill on long paths, and is told by its number alone.
const DEPTH: usize = 4;

pub(crate) fn snapshot(directory: &Path) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    look(directory, 0, &mut lines)?;
    lines.sort();
    Ok(lines)
}

fn look(path: &Path, depth: usize, lines: &mut Vec<String>) -> io::Result<()> {
    let facts = path.symlink_metadata()?;
    let mut line = format!(
        "{} mode {:o} owner {}:{} mtime {}.{} links {}",
        path.as_os_str().as_bytes().escape_ascii(),
        facts.mode(),
        facts.uid(),
        facts.gid(),
        facts.mtime(),
        facts.mtime_nsec(),
        if facts.is_dir() { 0 } else { facts.nlink() },
    );
    if facts.is_file() {
        let content = fs::read(path)?;
        let start = &content[..content.len().min(200)];
        line.push_str(&format!(" size {} holds {}", content.len(), start.escape_ascii()));
        line.push_str(
            &crate::sys::file_flags(path).map(|flags| format!(" flags {flags:x}")).unwrap_or_default(),
        );
    } else if facts.is_symlink() {
        line.push_str(&format!(" -> {:?}", fs::read_link(path)?));
    } else if facts.rdev() != 0 {
        line.push_str(&format!(" device {:x}", facts.rdev()));
    }
    for (name, value) in crate::sys::attributes(path) {
        line.push_str(&format!(" {}={}", name.escape_ascii(), value.escape_ascii()));
    }
    lines.push(line);
    if facts.is_dir() && depth < DEPTH {
        for entry in fs::read_dir(path)? {
            look(&entry?.path(), depth + 1, lines)?;
        }
    }
    Ok(())
}
