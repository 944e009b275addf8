//! The ground on which attempts are made: a directory with the same things in it each time.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use super::{On, Tier};

/// A fresh directory, and another one where everything is allowed; both go when this does.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) d: PathBuf,
    pub(super) work: PathBuf,
    fresh: PathBuf,
    outer: [PathBuf; 2],
}

/// A whole program: exits with status 7.
const PROGRAM: &[u8] = &[0xbf, 7, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
pub(super) const RAN: i32 = 7;

/// An access list that lets user 65533 read and write: version 2, entries of tag, permissions, id.
#[rustfmt::skip]
const ACL: &[u8] = &[
    2, 0, 0, 0,
    1, 0, 6, 0, 255, 255, 255, 255,
    2, 0, 6, 0, 0xfd, 0xff, 0, 0,
    4, 0, 6, 0, 255, 255, 255, 255,
    16, 0, 6, 0, 255, 255, 255, 255,
    32, 0, 6, 0, 255, 255, 255, 255,
];

impl Ground {
    /// Makes it below the drill's tree, for the tier to own.
    pub(super) fn fresh(tree: &Path, number: u32, on: On, tier: Tier) -> io::Result<Self> {
        let name = match on {
            On::Open => "open",
            On::Shut => "shut",
            On::Blind => "blind",
        };
        let outer =
            [tree.join(name).join(number.to_string()), tree.join("open").join(format!("{number}-work"))];
        let ground =
            Self { d: outer[0].join("d"), work: outer[1].join("work"), fresh: outer[1].join("fresh"), outer };
        for directory in [&ground.d, &ground.work, &ground.fresh] {
            fs::create_dir_all(directory)?;
        }
        ground.furnish()?;
        for directory in &ground.outer {
            own(directory, tier.uid())?;
        }
        Ok(ground)
    }

    fn furnish(&self) -> io::Result<()> {
        for directory in ["dir", "full", "full/deep"] {
            fs::create_dir(self.d.join(directory))?;
        }
        for (file, content) in [
            ("file", "before\n"),
            ("file2", "second\n"),
            ("full/inner", "inner\n"),
            ("full/deep/er", "deeper\n"),
        ] {
            fs::write(self.d.join(file), content)?;
        }
        symlink("file", self.d.join("link"))?;
        program(&self.d.join("prog"), None)?;
        program(&self.work.join("prog"), None)?;
        for (script, interpreter) in [
            (self.d.join("script"), self.work.join("prog")),
            (self.work.join("script"), self.d.join("prog")),
            (self.work.join("tool"), self.work.join("prog")),
        ] {
            executable(&script, format!("#!{}\n", interpreter.display()).as_bytes())?;
        }
        program(&self.work.join("loaded"), Some(&self.d.join("prog")))?;
        // Not every file system has these.
        let _ = set_attribute(&self.d.join("file2"), "system.posix_acl_access", ACL);
        let _ = set_attribute(&self.d.join("prog"), "user.was", b"1");
        fs::write(self.work.join("mine"), "mine\n")?;
        fs::create_dir(self.work.join("mydir"))
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for directory in &self.outer {
            let _ = super::stage::remove_tree(directory);
        }
    }
}

fn set_attribute(path: &Path, name: &str, value: &[u8]) -> io::Result<()> {
    crate::sys::set_attribute(path, name, value)
}

/// Writes a program, with a loader if one is named.
pub(super) fn program(path: &Path, loader: Option<&Path>) -> io::Result<()> {
    const HEADERS: usize = 64 + 2 * 56;
    let mut loader = loader.map(|path| path.as_os_str().as_bytes().to_vec()).unwrap_or_default();
    if !loader.is_empty() {
        loader.push(0);
    }
    let code_at = HEADERS + loader.len();
    let size = (code_at + PROGRAM.len()) as u64;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    elf.extend([3, 0, 62, 0, 1, 0, 0, 0]);
    elf.extend(words(&[code_at as u64, 64, 0]));
    elf.extend([0, 0, 0, 0, 64, 0, 56, 0, if loader.is_empty() { 1 } else { 2 }, 0, 0, 0, 0, 0, 0, 0]);
    let segment = |kind: u64, flags: u64, at: u64, size: u64, align: u64| {
        words(&[kind | flags << 32, at, at, at, size, size, align])
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
    elf.extend(PROGRAM);
    executable(path, &elf)
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn executable(path: &Path, content: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o755).open(path)?.write_all(content)
}

/// Gives a tree to a user.
fn own(path: &Path, uid: u32) -> io::Result<()> {
    let facts = path.symlink_metadata()?;
    if facts.is_symlink() {
        return lchown(path, Some(uid), Some(uid));
    }
    chown(path, Some(uid), Some(uid))?;
    if facts.is_dir() {
        for entry in fs::read_dir(path)? {
            own(&entry?.path(), uid)?;
        }
    }
    Ok(())
}
