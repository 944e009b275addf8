//! Paths that are hard to spell: odd bytes, great length, great depth.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::super::ground::At;
use super::super::row::Row;
use super::super::sys::{Arg, c, call, call_fd};
use super::open::{open, put};

/// Creates a file of that name.
fn create(at: &At, name: &[u8]) -> io::Result<()> {
    File::create(at.d.join(OsStr::from_bytes(name)))?.write_all(b"x")
}

/// Goes down `depth` directories with names of `length` bytes, making them, and makes a file at the end. No path
/// is ever written out, so that it may be longer than the kernel lets a path be.
fn deep(at: &At, depth: usize, length: usize) -> io::Result<()> {
    let name = c("n".repeat(length));
    let mut here: OwnedFd = open(&at.on("dir"), libc::O_PATH)?;
    for _ in 0..depth {
        call(libc::SYS_mkdirat, &mut [(&here).into(), (&name).into(), 0o755.into()])?;
        here = call_fd(libc::SYS_openat, &mut [(&here).into(), (&name).into(), libc::O_PATH.into()])?;
    }
    Ok(())
}

/// Makes the directories outside, hands in the last one.
fn deep_outside(at: &At, depth: usize, length: usize) -> io::Result<Vec<OwnedFd>> {
    let name = c("n".repeat(length));
    let mut here: OwnedFd = open(&at.on("dir"), libc::O_PATH)?;
    for _ in 0..depth {
        call(libc::SYS_mkdirat, &mut [(&here).into(), (&name).into(), 0o755.into()])?;
        here = call_fd(libc::SYS_openat, &mut [(&here).into(), (&name).into(), libc::O_PATH.into()])?;
    }
    Ok(vec![here])
}

fn create_below(directory: impl AsFd) -> io::Result<()> {
    let flags = libc::O_CREAT | libc::O_WRONLY;
    put(call_fd(
        libc::SYS_openat,
        &mut [directory.as_fd().into(), c"x".into(), flags.into(), Arg::Num(0o600)],
    )?)
}

pub(super) const STRANGE: &[Row] = &[
    Row::write("a name with a newline", |at, _| create(at, b"a\nb")),
    Row::write("a name that is not UTF-8", |at, _| create(at, b"\xff\xfe\x80")),
    Row::write("a name with escapes and braces", |at, _| create(at, b"\x1b[2J\"{}\\,")),
    Row::write("a name that says it is deleted", |at, _| create(at, b"file (deleted)")),
    Row::write("a name of 255 bytes", |at, _| create(at, &[b'n'; 255])),
    Row::write("a name that looks like an allowed path", |at, _| create(at, b"t\\open\\x")),
    Row::write("the last file of 100 directories", |at, _| deep(at, 100, 1)),
    Row::call("a file below 100 directories made outside", |_, fds| create_below(&fds[0]))
        .before(|at| deep_outside(at, 100, 1)),
    Row::call("a path of 4,000 bytes", |_, fds| create_below(&fds[0])).before(|at| deep_outside(at, 16, 249)),
    Row::call("a path longer than 4,096 bytes", |_, fds| create_below(&fds[0]))
        .before(|at| deep_outside(at, 40, 250))
        .never(),
    Row::write("a working directory that was removed", |at, _| {
        // Nothing can be made there; that must hold for an agent's eyes as well.
        std::env::set_current_dir(at.on("dir"))?;
        fs::remove_dir(at.on("dir"))
    }),
    Row::write("a doubled and dotted spelling", |at, _| {
        let path = format!("{}//./dir/../file", at.d.display());
        put(open(Path::new(&path), libc::O_WRONLY)?)
    }),
];
