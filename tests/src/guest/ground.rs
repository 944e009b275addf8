//! The ground on which attempts are made: three directories with the same things in them, one that the policy
//! opens, one that it shuts for writing and running, one that it shuts for reading too. What an attempt did is
//! seen from outside, by comparing everything in the directory with what was there before.

use std::ffi::{CStr, CString};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::agent::Who;
use super::sys::{self, Arg, c};

pub(super) const GROUND: &str = "/t";
pub(super) const CONTENT: &str = "before\n";

/// Which of the directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Open,
    Shut,
    Blind,
}

/// A fresh directory, and another one where everything is allowed.
#[derive(Debug, Clone)]
pub(super) struct At {
    pub(super) d: PathBuf,
    pub(super) work: PathBuf,
}

/// An access list that lets user 65533 read and write: version 2, entries of tag, permissions, id.
#[rustfmt::skip]
pub(super) const ACL: &[u8] = &[
    2, 0, 0, 0,
    1, 0, 6, 0, 255, 255, 255, 255,
    2, 0, 6, 0, 0xfd, 0xff, 0, 0,
    4, 0, 6, 0, 255, 255, 255, 255,
    16, 0, 6, 0, 255, 255, 255, 255,
    32, 0, 6, 0, 255, 255, 255, 255,
];

pub(super) fn set_attribute(path: &Path, name: &CStr, value: &[u8]) -> io::Result<()> {
    sys::call(
        libc::SYS_setxattr,
        &mut [(&c(path)).into(), name.into(), value.into(), value.len().into(), 0.into()],
    )
    .map(drop)
}

/// A whole program: exits with status 7.
const PROGRAM: &[u8] = &[0xbf, 7, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
pub(super) const RAN: i32 = 7;

impl At {
    pub(super) fn fresh(kind: Kind, who: Who) -> Result<Self> {
        let name = match kind {
            Kind::Open => "open",
            Kind::Shut => "shut",
            Kind::Blind => "blind",
        };
        let at =
            Self { d: Path::new(GROUND).join(name).join("d"), work: Path::new(GROUND).join("open/work") };
        for directory in [&at.d, &at.work] {
            if directory.exists() {
                fs::remove_dir_all(directory).with_context(|| format!("clear {}", directory.display()))?;
            }
            fs::create_dir_all(directory)?;
        }
        at.furnish().with_context(|| format!("furnish {}", at.d.display()))?;
        for directory in [&at.d, &at.work] {
            own(directory, who.uid())?;
        }
        Ok(at)
    }

    fn furnish(&self) -> io::Result<()> {
        for directory in ["dir", "full", "full/deep"] {
            fs::create_dir(self.d.join(directory))?;
        }
        for (file, content) in [
            ("file", CONTENT),
            ("file2", "second\n"),
            ("full/inner", "inner\n"),
            ("full/deep/er", "deeper\n"),
        ] {
            fs::write(self.d.join(file), content)?;
        }
        symlink("file", self.d.join("link"))?;
        program(&self.d.join("prog"), None)?;
        program(&self.work.join("prog"), None)?;
        for (script, interpreter) in
            [(self.d.join("script"), self.work.join("prog")), (self.work.join("script"), self.d.join("prog"))]
        {
            executable(&script, format!("#!{}\n", interpreter.display()).as_bytes())?;
        }
        program(&self.work.join("loaded"), Some(&self.d.join("prog")))?;
        set_attribute(&self.d.join("file2"), c"system.posix_acl_access", ACL)?;
        // Such attributes came to tmpfs with 6.6.
        let _ = set_attribute(&self.d.join("prog"), c"user.was", b"1");
        fs::write(self.work.join("mine"), "mine\n")?;
        fs::create_dir(self.work.join("mydir"))
    }

    pub(super) fn file(&self) -> PathBuf {
        self.d.join("file")
    }

    pub(super) fn on(&self, name: &str) -> PathBuf {
        self.d.join(name)
    }

    pub(super) fn at_work(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }

    /// Everything that is in the directory, one line each.
    pub(super) fn snapshot(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        look(&self.d, &mut lines).with_context(|| format!("look at {}", self.d.display()))?;
        lines.sort();
        Ok(lines)
    }
}

/// Writes a program, with a loader if one is named.
pub(super) fn program(path: &Path, loader: Option<&Path>) -> io::Result<()> {
    executable(path, &elf(loader, PROGRAM))
}

/// Writes a program of this code in the place of what is there.
pub(super) fn program_of(path: &Path, code: &[u8]) -> io::Result<()> {
    fs::remove_file(path)?;
    executable(path, &elf(None, code))
}

fn elf(loader: Option<&Path>, code: &[u8]) -> Vec<u8> {
    const HEADERS: usize = 64 + 2 * 56;
    let loader = loader.map(c).map_or(Vec::new(), CString::into_bytes_with_nul);
    let code_at = HEADERS + loader.len();
    let size = (code_at + code.len()) as u64;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    elf.extend([3, 0, 62, 0, 1, 0, 0, 0]);
    elf.extend(sys::words(&[code_at as u64, 64, 0]));
    elf.extend([0, 0, 0, 0, 64, 0, 56, 0, if loader.is_empty() { 1 } else { 2 }, 0, 0, 0, 0, 0, 0, 0]);
    let segment = |kind: u64, flags: u64, at: u64, size: u64, align: u64| {
        sys::words(&[kind | flags << 32, at, at, at, size, size, align])
    };
    // Writable too: old kernels zero the rest of a loader's last page.
    if loader.is_empty() {
        elf.extend(segment(1, 7, 0, size, 0x1000));
        elf.extend([0; 56]);
    } else {
        elf.extend(segment(3, 4, HEADERS as u64, loader.len() as u64, 1));
        elf.extend(segment(1, 7, 0, size, 0x1000));
    }
    elf.extend(&loader);
    elf.extend(code);
    elf
}

fn executable(path: &Path, content: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o755).open(path)?.write_all(content)?;
    fs::set_permissions(path, PermissionsExt::from_mode(0o755))
}

fn own(path: &Path, uid: u32) -> Result<()> {
    let facts = path.symlink_metadata()?;
    if facts.is_symlink() {
        return Ok(lchown(path, Some(uid), Some(uid))?);
    }
    chown(path, Some(uid), Some(uid))?;
    if facts.is_dir() {
        for entry in fs::read_dir(path)? {
            own(&entry?.path(), uid)?;
        }
    }
    Ok(())
}

fn look(path: &Path, lines: &mut Vec<String>) -> io::Result<()> {
    let facts = path.symlink_metadata()?;
    let mut line = format!(
        "{:?} mode {:o} owner {}:{} mtime {}.{} links {}",
        path.as_os_str().as_bytes().escape_ascii().to_string(),
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
    } else if facts.is_symlink() {
        line.push_str(&format!(" -> {:?}", fs::read_link(path)?));
    } else if facts.rdev() != 0 {
        line.push_str(&format!(" device {:x}", facts.rdev()));
    }
    for name in attributes(path) {
        let mut value = vec![0u8; 256];
        let got = sys::call(
            libc::SYS_lgetxattr,
            &mut [(&c(path)).into(), (&name).into(), value.as_mut_slice().into(), Arg::Num(256)],
        );
        value.truncate(got.unwrap_or(0) as usize);
        line.push_str(&format!(" {name:?}={}", value.escape_ascii()));
    }
    lines.push(line);
    // What lies deeper than a path can say is looked after by the test that puts it there.
    if facts.is_dir() && path.components().count() < 12 {
        for entry in fs::read_dir(path)? {
            look(&entry?.path(), lines)?;
        }
    }
    Ok(())
}

fn attributes(path: &Path) -> Vec<CString> {
    let mut list = vec![0u8; 1024];
    let got =
        sys::call(libc::SYS_llistxattr, &mut [(&c(path)).into(), list.as_mut_slice().into(), Arg::Num(1024)]);
    list.truncate(got.unwrap_or(0) as usize);
    list.split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .filter_map(|name| CString::new(name).ok())
        .collect()
}
