//! The same by io_uring, which no system-call filter sees.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use super::open::open;
use crate::scene::Scene;
use crate::sys::uring::{
    ASYNC, OP_FALLOCATE, OP_FSETXATTR, OP_LINKAT, OP_MKDIRAT, OP_OPENAT, OP_OPENAT2, OP_RENAMEAT,
    OP_SYMLINKAT, OP_UNLINKAT, OP_WRITE, Request, Ring,
};
use crate::sys::{c, call, words};
use crate::table::{Attempt, handed, plain};

const AT: i32 = libc::AT_FDCWD;
const EXCHANGE: u32 = libc::RENAME_EXCHANGE;

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
        first: Some(first.as_bytes_with_nul()),
        second: second.as_deref().map(std::ffi::CStr::to_bytes_with_nul),
        len,
        op_flags: op_flags.cast_unsigned(),
        ..Request::default()
    })
}

fn create(at: &Scene, flags: i32, how: u8) -> io::Result<()> {
    let fd = request(OP_OPENAT, &at.on("new"), None, 0o600, flags | libc::O_CREAT, how)?;
    call(libc::SYS_ftruncate, &mut [fd.into(), 10.into()]).map(drop)
}

pub(crate) const TRIES: &[Attempt] = &[
    plain("uring-create", |at, _| create(at, libc::O_WRONLY, 0)),
    plain("uring-create-by-worker", |at, _| create(at, libc::O_WRONLY, ASYNC)),
    plain("uring-truncate-by-worker", |at, _| {
        request(OP_OPENAT, &at.file(), None, 0, libc::O_RDONLY | libc::O_TRUNC, ASYNC).map(drop)
    }),
    plain("uring-openat2", |at, _| {
        let (path, how) = (c(at.file()), words(&[libc::O_WRONLY as u64 | libc::O_TRUNC as u64, 0, 0]));
        Ring::new(0)?
            .run(&Request {
                opcode: OP_OPENAT2,
                fd: AT,
                first: Some(path.as_bytes_with_nul()),
                second: Some(&how),
                len: 24,
                ..Request::default()
            })
            .map(drop)
    }),
    plain("uring-unlink", |at, _| request(OP_UNLINKAT, &at.file(), None, 0, 0, 0).map(drop)),
    plain("uring-rmdir", |at, _| {
        request(OP_UNLINKAT, &at.on("dir"), None, 0, libc::AT_REMOVEDIR, 0).map(drop)
    }),
    plain("uring-rename", |at, _| {
        request(OP_RENAMEAT, &at.file(), Some(&at.at_work("new")), AT as u32, 0, 0).map(drop)
    }),
    plain("uring-exchange-by-worker", |at, _| {
        request(OP_RENAMEAT, &at.at_work("mine"), Some(&at.file()), AT as u32, EXCHANGE as i32, ASYNC)
            .map(drop)
    }),
    plain("uring-mkdir", |at, _| request(OP_MKDIRAT, &at.on("new"), None, 0o700, 0, 0).map(drop)),
    plain("uring-symlink", |at, _| {
        request(OP_SYMLINKAT, Path::new("/etc/passwd"), Some(&at.on("new")), 0, 0, 0).map(drop)
    }),
    plain("uring-link", |at, _| {
        request(OP_LINKAT, &at.file(), Some(&at.at_work("new")), AT as u32, 0, 0).map(drop)
    }),
    plain("uring-setxattr", |at, _| {
        let file = open(&at.file(), libc::O_RDONLY)?;
        let name = c"user.x";
        Ring::new(0)?
            .run(&Request {
                opcode: OP_FSETXATTR,
                fd: file.as_raw_fd(),
                first: Some(name.to_bytes_with_nul()),
                second: Some(b"1"),
                len: 1,
                ..Request::default()
            })
            .map(drop)
    }),
    handed(
        "uring-write-inherited",
        |at| Ok(vec![open(&at.file(), libc::O_RDWR)?]),
        |_, fds| {
            Ring::new(0)?
                .run(&Request {
                    opcode: OP_WRITE,
                    fd: fds[0].as_raw_fd(),
                    first: Some(b"after"),
                    len: 5,
                    ..Request::default()
                })
                .map(drop)
        },
    ),
    handed(
        "uring-fallocate-inherited",
        |at| Ok(vec![open(&at.file(), libc::O_RDWR)?]),
        |_, fds| {
            // The length lies where the address does.
            Ring::new(0)?.run_numbers(OP_FALLOCATE, fds[0].as_raw_fd(), 9000).map(drop)
        },
    ),
];
