//! Names: making, removing, moving.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, mknod};

use super::open::{open, put};
use crate::sys::{c, call};
use crate::table::{Attempt, plain};

const AT: i32 = libc::AT_FDCWD;

fn make_node(path: &Path, kind: SFlag, device: u64) -> io::Result<()> {
    Ok(mknod(path, kind, Mode::from_bits_truncate(0o600), device)?)
}

/// A file without a name, given one.
fn unnamed(directory: &Path, name: &Path) -> io::Result<()> {
    let fd = open(directory, libc::O_TMPFILE | libc::O_WRONLY)?;
    put(fd.try_clone()?)?;
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    link(Path::new(&path), name, libc::AT_SYMLINK_FOLLOW)
}

pub(crate) fn link(from: &Path, to: &Path, flags: i32) -> io::Result<()> {
    call(libc::SYS_linkat, &mut [AT.into(), (&c(from)).into(), AT.into(), (&c(to)).into(), flags.into()])
        .map(drop)
}

fn rename(from: PathBuf, to: PathBuf, flags: u32) -> io::Result<()> {
    let flags = flags as i32;
    call(libc::SYS_renameat2, &mut [AT.into(), (&c(from)).into(), AT.into(), (&c(to)).into(), flags.into()])
        .map(drop)
}

const EXCHANGE: u32 = libc::RENAME_EXCHANGE;
const NOREPLACE: u32 = libc::RENAME_NOREPLACE;
const WHITEOUT: u32 = libc::RENAME_WHITEOUT;

/// The loop device's driver, and the null device's.
const LOOP: u64 = 7 << 8;
const NULL: u64 = 1 << 8 | 3;

pub(crate) const TRIES: &[Attempt] = &[
    plain("create", |at, _| put(open(&at.on("new"), libc::O_WRONLY | libc::O_CREAT)?)),
    plain("create-read-only", |at, _| open(&at.on("new"), libc::O_RDONLY | libc::O_CREAT).map(drop)),
    plain("create-exclusive", |at, _| {
        open(&at.on("new"), libc::O_RDWR | libc::O_CREAT | libc::O_EXCL).map(drop)
    }),
    plain("link-nameless-file-in", |at, _| unnamed(&at.work, &at.on("new"))),
    plain("link-nameless-file-of-it", |at, _| unnamed(&at.d, &at.on("new"))),
    plain("hard-link-in", |at, _| fs::hard_link(at.at_work("mine"), at.on("new"))),
    plain("hard-link-out", |at, _| fs::hard_link(at.file(), at.at_work("alias"))),
    plain("hard-link-out-by-symlink", |at, _| {
        link(&at.on("link"), &at.at_work("alias"), libc::AT_SYMLINK_FOLLOW)
    }),
    plain("symlink", |at, _| symlink("/etc/passwd", at.on("new"))),
    plain("mkdir", |at, _| fs::create_dir(at.on("new"))),
    plain("mkfifo", |at, _| make_node(&at.on("new"), SFlag::S_IFIFO, 0)),
    plain("mknod-regular", |at, _| make_node(&at.on("new"), SFlag::S_IFREG, 0)),
    plain("mknod-whiteout", |at, _| make_node(&at.on("new"), SFlag::S_IFCHR, 0)),
    plain("mknod-block", |at, _| make_node(&at.on("new"), SFlag::S_IFBLK, LOOP)),
    plain("mknod-character", |at, _| make_node(&at.on("new"), SFlag::S_IFCHR, NULL)),
    plain("bind-socket-file", |at, _| UnixListener::bind(at.on("new")).map(drop)),
    plain("unlink", |at, _| fs::remove_file(at.file())),
    plain("unlink-symlink", |at, _| fs::remove_file(at.on("link"))),
    plain("unlink-below-o-path", |at, _| {
        let directory = open(&at.d, libc::O_PATH)?;
        call(libc::SYS_unlinkat, &mut [(&directory).into(), c"file".into(), 0.into()]).map(drop)
    }),
    plain("rmdir", |at, _| fs::remove_dir(at.on("dir"))),
    plain("rename-inside", |at, _| fs::rename(at.file(), at.on("new"))),
    plain("rename-over-another", |at, _| fs::rename(at.file(), at.on("file2"))),
    plain("rename-out", |at, _| fs::rename(at.file(), at.at_work("new"))),
    plain("rename-in", |at, _| fs::rename(at.at_work("mine"), at.on("new"))),
    plain("rename-over", |at, _| fs::rename(at.at_work("mine"), at.file())),
    plain("rename-noreplace", |at, _| rename(at.at_work("mine"), at.on("new"), NOREPLACE)),
    plain("rename-exchange", |at, _| rename(at.at_work("mine"), at.file(), EXCHANGE)),
    plain("rename-exchange-reversed", |at, _| rename(at.file(), at.at_work("mine"), EXCHANGE)),
    plain("rename-exchange-directory", |at, _| rename(at.at_work("mydir"), at.on("full"), EXCHANGE)),
    plain("rename-whiteout", |at, _| rename(at.file(), at.at_work("new"), WHITEOUT)),
    plain("rename-directory-out", |at, _| fs::rename(at.on("full"), at.at_work("new"))),
    plain("rename-directory-in", |at, _| fs::rename(at.at_work("mydir"), at.on("new"))),
];
