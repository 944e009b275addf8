//! Names: making, removing, moving, by call and by io_uring request.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, mknod};

use super::super::ground::At;
use super::super::row::Row;
use super::super::sys::uring::{
    ASYNC, OP_LINKAT, OP_MKDIRAT, OP_OPENAT, OP_RENAMEAT, OP_SYMLINKAT, OP_UNLINKAT, Request, Ring,
};
use super::super::sys::{c, call};
use super::open::{open, put};

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

fn link(from: &Path, to: &Path, flags: i32) -> io::Result<()> {
    call(libc::SYS_linkat, &mut [AT.into(), (&c(from)).into(), AT.into(), (&c(to)).into(), flags.into()])
        .map(drop)
}

fn rename(from: PathBuf, to: PathBuf, flags: u32) -> io::Result<()> {
    let flags = flags as i32;
    call(libc::SYS_renameat2, &mut [AT.into(), (&c(from)).into(), AT.into(), (&c(to)).into(), flags.into()])
        .map(drop)
}

pub(super) const MAKES: &[Row] = &[
    Row::write("create a file", |at, _| put(open(&at.on("new"), libc::O_WRONLY | libc::O_CREAT)?)),
    Row::write("create a file for reading", |at, _| {
        open(&at.on("new"), libc::O_RDONLY | libc::O_CREAT).map(drop)
    }),
    Row::write("create a file exclusively", |at, _| {
        open(&at.on("new"), libc::O_RDWR | libc::O_CREAT | libc::O_EXCL).map(drop)
    }),
    Row::write("give a nameless file of an allowed directory a name", |at, _| {
        unnamed(&at.work, &at.on("new"))
    }),
    Row::write("give a nameless file of its directory a name", |at, _| unnamed(&at.d, &at.on("new"))),
    Row::write("link an allowed file there", |at, _| fs::hard_link(at.at_work("mine"), at.on("new"))),
    Row::write("link a file of it elsewhere", |at, _| fs::hard_link(at.file(), at.at_work("alias"))),
    Row::write("link a file of it elsewhere, by a symbolic link", |at, _| {
        link(&at.on("link"), &at.at_work("alias"), libc::AT_SYMLINK_FOLLOW)
    }),
    Row::write("make a symbolic link", |_at, _| symlink("/etc/passwd", _at.on("new"))),
    Row::write("make a directory", |at, _| fs::create_dir(at.on("new"))),
    Row::write("make a directory and remove it", |at, _| fs::create_dir(at.on("dir/new"))),
    Row::write("make a fifo", |at, _| make_node(&at.on("new"), SFlag::S_IFIFO, 0)),
    Row::write("make a regular file with mknod", |at, _| make_node(&at.on("new"), SFlag::S_IFREG, 0)),
    Row::write("make a whiteout", |at, _| make_node(&at.on("new"), SFlag::S_IFCHR, 0)),
    Row::write("make a block device", |at, _| make_node(&at.on("new"), SFlag::S_IFBLK, 0x700))
        .as_root()
        .never(),
    Row::write("make a character device", |at, _| make_node(&at.on("new"), SFlag::S_IFCHR, 0x101))
        .as_root()
        .never(),
    Row::write("bind a socket", |at, _| UnixListener::bind(at.on("new")).map(drop)),
];

const EXCHANGE: u32 = libc::RENAME_EXCHANGE;
const NOREPLACE: u32 = libc::RENAME_NOREPLACE;
const WHITEOUT: u32 = libc::RENAME_WHITEOUT;

pub(super) const MOVES: &[Row] = &[
    Row::write("unlink", |at, _| fs::remove_file(at.file())),
    Row::write("unlink a symbolic link", |at, _| fs::remove_file(at.on("link"))),
    Row::write("unlink below a directory's descriptor", |at, _| {
        let directory = open(&at.d, libc::O_PATH)?;
        call(libc::SYS_unlinkat, &mut [(&directory).into(), c"file".into(), 0.into()]).map(drop)
    }),
    Row::write("rmdir", |at, _| fs::remove_dir(at.on("dir"))),
    Row::write("rename inside", |at, _| fs::rename(at.file(), at.on("new"))),
    Row::write("rename over another", |at, _| fs::rename(at.file(), at.on("file2"))),
    Row::write("rename out of it", |at, _| fs::rename(at.file(), at.at_work("new"))),
    Row::write("rename into it", |at, _| fs::rename(at.at_work("mine"), at.on("new"))),
    Row::write("rename over a file of it", |at, _| fs::rename(at.at_work("mine"), at.file())),
    Row::write("rename without replacing", |at, _| rename(at.at_work("mine"), at.on("new"), NOREPLACE)),
    Row::write("exchange with an allowed file", |at, _| rename(at.at_work("mine"), at.file(), EXCHANGE)),
    Row::write("exchange the other way round", |at, _| rename(at.file(), at.at_work("mine"), EXCHANGE)),
    Row::write("exchange a directory with an allowed one", |at, _| {
        rename(at.at_work("mydir"), at.on("full"), EXCHANGE)
    }),
    Row::write("rename and leave a whiteout", |at, _| rename(at.file(), at.at_work("new"), WHITEOUT)),
    Row::write("rename a directory out of it", |at, _| fs::rename(at.on("full"), at.at_work("new"))),
    Row::write("rename a directory into it", |at, _| fs::rename(at.at_work("mydir"), at.on("new"))),
    Row::write("rename the directory itself", |at, _| {
        fs::rename(&at.d, at.d.with_file_name("e"))?;
        fs::rename(at.d.with_file_name("e"), &at.d)?;
        fs::remove_file(at.file())
    })
    .as_root(),
];

/// One request with the two paths as they come.
fn request(
    opcode: u8,
    first: &Path,
    second: Option<&Path>,
    len: u32,
    op_flags: i32,
    flags: u8,
) -> io::Result<i32> {
    let (first, second) = (c(first), second.map(c));
    Ring::new(0)?.run(&Request {
        opcode,
        flags,
        fd: AT,
        first: Some(&first),
        second: second.as_deref(),
        len,
        op_flags: op_flags.cast_unsigned(),
        ..Request::default()
    })
}

fn uring_open(at: &At, flags: i32, how: u8) -> io::Result<()> {
    let fd = request(OP_OPENAT, &at.on("new"), None, 0o600, flags | libc::O_CREAT, how)?;
    call(libc::SYS_ftruncate, &mut [fd.into(), 10.into()]).map(drop)
}

pub(super) const URING: &[Row] = &[
    Row::write("open and create", |at, _| uring_open(at, libc::O_WRONLY, 0)),
    Row::write("open and create, by a worker", |at, _| uring_open(at, libc::O_WRONLY, ASYNC)),
    Row::write("open with O_TRUNC for reading, by a worker", |at, _| {
        request(OP_OPENAT, &at.file(), None, 0, libc::O_RDONLY | libc::O_TRUNC, ASYNC).map(drop)
    }),
    Row::write("unlink", |at, _| request(OP_UNLINKAT, &at.file(), None, 0, 0, 0).map(drop)),
    Row::write("rmdir", |at, _| {
        request(OP_UNLINKAT, &at.on("dir"), None, 0, libc::AT_REMOVEDIR, 0).map(drop)
    }),
    Row::write("rename", |at, _| {
        request(OP_RENAMEAT, &at.file(), Some(&at.at_work("new")), AT as u32, 0, 0).map(drop)
    }),
    Row::write("exchange", |at, _| {
        request(OP_RENAMEAT, &at.at_work("mine"), Some(&at.file()), AT as u32, EXCHANGE as i32, ASYNC)
            .map(drop)
    }),
    Row::write("mkdir", |at, _| request(OP_MKDIRAT, &at.on("new"), None, 0o700, 0, 0).map(drop)),
    Row::write("symlink", |at, _| {
        request(OP_SYMLINKAT, Path::new("/etc/passwd"), Some(&at.on("new")), 0, 0, 0).map(drop)
    }),
    Row::write("link", |at, _| {
        request(OP_LINKAT, &at.file(), Some(&at.at_work("new")), AT as u32, 0, 0).map(drop)
    }),
    Row::write("open through a ring made outside", |at, fds| {
        // The ring is the parent's to use only through its mappings; what is left is its descriptor.
        let _ = fds;
        uring_open(at, libc::O_RDWR, 0)
    })
    .before(|_| Ok(Vec::<OwnedFd>::new())),
];
