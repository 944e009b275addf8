//! Paths that are hard to spell: odd bytes, great length, great depth.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use super::open::{open, put};
use crate::scene::Scene;
use crate::sys::{Arg, c, call, call_fd};
use crate::table::{Attempt, handed, plain};

fn create(at: &Scene, name: &[u8]) -> io::Result<()> {
    File::create(at.d.join(OsStr::from_bytes(name)))?.write_all(b"x")
}

/// Goes down, making directories. No path is ever written out, so that it may be longer than the kernel lets a
/// path be.
fn deep(at: &Scene, depth: usize, length: usize) -> io::Result<Vec<OwnedFd>> {
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

pub(crate) const TRIES: &[Attempt] = &[
    plain("name-newline", |at, _| create(at, b"a\nb")),
    plain("name-not-utf8", |at, _| create(at, b"\xff\xfe\x80")),
    plain("name-escapes", |at, _| create(at, b"\x1b[2J\"{}\\,")),
    plain("name-deleted", |at, _| create(at, b"file (deleted)")),
    plain("name-255-bytes", |at, _| create(at, &[b'n'; 255])),
    plain("name-json", |at, _| create(at, b"\",\"verdict\":\"allow")),
    handed("path-100-deep", |at| deep(at, 100, 1), |_, fds| create_below(&fds[0])),
    handed("path-near-limit", |at| deep(at, 14, 249), |_, fds| create_below(&fds[0])),
    handed("path-over-limit", |at| deep(at, 40, 250), |_, fds| create_below(&fds[0])),
    plain("removed-cwd", |at, _| {
        std::env::set_current_dir(at.on("dir"))?;
        fs::remove_dir(at.on("dir"))
    }),
];
