//! Writes the archive format the kernel unpacks as its first root ("newc" cpio). Archives can be concatenated; what
//! comes later replaces what came before.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// An archive in the making.
#[derive(Debug, Default)]
pub(crate) struct Cpio {
    bytes: Vec<u8>,
    inode: u32,
}

/// Links into `/usr`.
pub(super) const MERGED: &[&str] = &["bin", "lib", "lib64", "sbin"];

const DIR: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHAR: u32 = 0o020_000;

impl Cpio {
    pub(crate) fn dir(&mut self, path: &str, mode: u32) -> Result<()> {
        // Naming a directory again sets its mode: an overlay with something in /tmp must not close it to others.
        let mode = if path.trim_matches('/') == "tmp" { 0o1777 } else { mode };
        self.entry(path, DIR | mode, (0, 0), &[])
    }

    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.entry(path, FILE | mode, (0, 0), content)
    }

    pub(crate) fn link(&mut self, path: &str, target: &Path) -> Result<()> {
        self.entry(path, LINK | 0o777, (0, 0), target.as_os_str().as_bytes())
    }

    pub(crate) fn char_device(&mut self, path: &str, major: u32, minor: u32) -> Result<()> {
        self.entry(path, CHAR | 0o600, (major, minor), &[])
    }

    /// The directories above `path`, which the kernel does not make by itself.
    pub(crate) fn parents(&mut self, path: &str) -> Result<()> {
        for (at, _) in path.match_indices('/').filter(|&(at, _)| at > 0) {
            self.dir(&path[..at], 0o755)?;
        }
        Ok(())
    }

    /// The content of a directory of the host, owned by root, with its modes and links.
    pub(crate) fn tree(&mut self, host: &Path, at: &str) -> Result<()> {
        let mut entries: Vec<_> = fs::read_dir(host)
            .and_then(Iterator::collect)
            .with_context(|| format!("list {}", host.display()))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (path, name) = (entry.path(), entry.file_name());
            let Some(name) = name.to_str() else { bail!("{}: not a UTF-8 name", path.display()) };
            let inside = format!("{at}/{name}");
            let meta = fs::symlink_metadata(&path).with_context(|| format!("look at {}", path.display()))?;
            let mode = meta.permissions().mode() & 0o7777;
            if meta.is_dir() {
                self.dir(&inside, mode)?;
                self.tree(&path, &inside)?;
            } else if meta.is_symlink() {
                let target = fs::read_link(&path).with_context(|| format!("read link {}", path.display()))?;
                self.link(&inside, &target)?;
            } else if meta.is_file() {
                let content = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
                self.file(&inside, mode, &content)?;
            } else {
                bail!("{}: neither file, directory nor link", path.display());
            }
        }
        Ok(())
    }

    /// The finished archive.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        Ok(self.bytes)
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) -> Result<()> {
        let path = &merged(path.trim_start_matches('/'), mode);
        let size = u32::try_from(content.len())
            .with_context(|| format!("{path} is too large for a guest's image"))?;
        self.inode += 1;
        let links = 1 + u32::from(mode & DIR != 0);
        let name_size = u32::try_from(path.len() + 1).with_context(|| format!("{path}: too long a name"))?;
        let fields = [self.inode, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0]
            .map(|field| format!("{field:08x}"));
        self.bytes.extend(b"070701");
        self.bytes.extend(fields.concat().bytes());
        self.bytes.extend(path.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// Guests have the layout of today's distributions, where `/bin` is a link to `/usr/bin`. The kernel would replace
/// that link by a directory of the same name, so what is laid into `/bin` goes where the link points.
fn merged(path: &str, mode: u32) -> String {
    let top = path.split('/').next().unwrap_or_default();
    if MERGED.contains(&top) && (path != top || mode & LINK != LINK) {
        format!("usr/{path}")
    } else {
        path.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::{Cpio, DIR, FILE, LINK, merged};

    #[test]
    fn what_is_laid_into_bin_goes_to_usr() {
        assert_eq!(merged("bin", LINK), "bin");
        assert_eq!(merged("bin", DIR), "usr/bin");
        assert_eq!(merged("bin/x", LINK), "usr/bin/x");
        assert_eq!(merged("lib64/ld.so", FILE), "usr/lib64/ld.so");
        assert_eq!(merged("binary", FILE), "binary");
    }

    #[test]
    fn an_archive_has_the_layout_the_kernel_reads() {
        let mut cpio = Cpio::default();
        cpio.parents("/a/b/c").unwrap();
        cpio.file("/a/b/c", 0o755, b"hello").unwrap();
        let bytes = cpio.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text.matches("070701").count(), 4);
        assert!(text.contains("000081ed") && text.contains("00000005") && text.contains("a/b/c\0"));
        assert!(text.contains("hello\0") && text.contains("TRAILER!!!\0"));
    }
}
