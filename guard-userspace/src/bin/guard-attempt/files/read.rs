//! Reading what the rules do not give.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use libc::{MAP_SHARED, PROT_READ};

use super::open::{by_handle, open, reopen};
use crate::scene::CONTENT;
use crate::sys::{self, Arg, call};
use crate::table::{Attempt, plain};

fn got(content: &[u8]) -> io::Result<()> {
    if content.starts_with(CONTENT) { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn take(fd: OwnedFd) -> io::Result<()> {
    let mut content = Vec::new();
    File::from(fd).read_to_end(&mut content)?;
    got(&content)
}

pub(crate) const TRIES: &[Attempt] = &[
    plain("read-open", |at, _| take(open(&at.file(), libc::O_RDONLY)?)),
    plain("read-open-read-write", |at, _| take(open(&at.file(), libc::O_RDWR)?)),
    plain("read-reopen-o-path", |at, _| take(reopen(&open(&at.file(), libc::O_PATH)?, libc::O_RDONLY)?)),
    plain("read-through-own-symlink", |at, _| {
        std::os::unix::fs::symlink(at.file(), at.at_work("alias"))?;
        take(open(&at.at_work("alias"), libc::O_RDONLY)?)
    }),
    plain("read-through-hard-link", |at, _| {
        fs::hard_link(at.file(), at.at_work("alias"))?;
        take(open(&at.at_work("alias"), libc::O_RDONLY)?)
    }),
    plain("read-after-moving-it", |at, _| {
        fs::rename(at.file(), at.at_work("alias"))?;
        take(open(&at.at_work("alias"), libc::O_RDONLY)?)
    }),
    plain("read-after-moving-its-directory", |at, _| {
        fs::rename(at.on("full"), at.at_work("alias"))?;
        let content = fs::read(at.at_work("alias/inner"))?;
        if content == b"inner\n" { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }),
    plain("read-map", |at, _| {
        let fd = open(&at.file(), libc::O_RDONLY)?;
        sys::map(fd.as_fd(), PROT_READ, MAP_SHARED, |_| Ok(()))
    }),
    plain("read-by-handle", |at, _| take(by_handle(&at.file(), libc::O_RDONLY)?)),
    plain("list-directory", |at, _| fs::read_dir(&at.d).map(drop)),
    plain("read-by-sendfile", |at, _| {
        let from = open(&at.file(), libc::O_RDONLY)?;
        let to = OpenOptions::new()
            .write(true)
            .create(true)
            .mode(0o600)
            .truncate(true)
            .open(at.at_work("copy"))?;
        call(libc::SYS_sendfile, &mut [to.as_fd().into(), (&from).into(), Arg::Num(0), 100.into()])?;
        got(&fs::read(at.at_work("copy"))?)
    }),
];
