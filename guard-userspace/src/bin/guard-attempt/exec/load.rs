//! Mapping code that the rules do not let be loaded.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use libc::{MAP_PRIVATE, MAP_SHARED, PROT_EXEC, PROT_READ, PROT_WRITE};

use crate::sys::{self, call};
use crate::table::{Attempt, handed, plain};

fn map(file: impl AsFd, flags: i32) -> io::Result<()> {
    sys::map(file.as_fd(), PROT_READ | PROT_EXEC, flags, |_| Ok(()))
}

fn map_then_protect(file: impl AsFd, flags: i32) -> io::Result<()> {
    sys::map(file.as_fd(), PROT_READ, flags, |page| page.protect(PROT_READ | PROT_EXEC))
}

pub(crate) const TRIES: &[Attempt] = &[
    plain("map-code-private", |at, _| map(File::open(at.on("prog"))?, MAP_PRIVATE)),
    plain("map-code-shared", |at, _| map(File::open(at.on("prog"))?, MAP_SHARED)),
    plain("map-then-mprotect", |at, _| map_then_protect(File::open(at.on("prog"))?, MAP_PRIVATE)),
    plain("map-shared-then-mprotect", |at, _| map_then_protect(File::open(at.on("prog"))?, MAP_SHARED)),
    plain("map-read-implies-exec", |at, _| {
        const READ_IMPLIES_EXEC: i32 = 0x40_0000;
        call(libc::SYS_personality, &mut [READ_IMPLIES_EXEC.into()])?;
        sys::map(File::open(at.on("prog"))?.as_fd(), PROT_READ, MAP_PRIVATE, |_| Ok(()))
    }),
    plain("map-writable-then-mprotect", |at, _| {
        sys::map(File::open(at.on("prog"))?.as_fd(), PROT_READ | PROT_WRITE, MAP_PRIVATE, |page| {
            page.protect(PROT_READ | PROT_EXEC)
        })
    }),
    plain("pkey-mprotect", |at, _| {
        sys::map(File::open(at.on("prog"))?.as_fd(), PROT_READ, MAP_PRIVATE, |page| {
            page.protect_with_key(PROT_READ | PROT_EXEC)
        })
    }),
    handed(
        "map-code-inherited",
        |at| Ok::<Vec<OwnedFd>, io::Error>(vec![File::open(at.on("prog"))?.into()]),
        |_, fds| map(&fds[0], MAP_PRIVATE),
    ),
];
