//! Opening for writing: modes, flags, and the calls that open.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use libc::{MAP_SHARED, PROT_READ, PROT_WRITE};

use crate::sys::{self, Arg, c, call, call_fd, words};
use crate::table::{Attempt, plain};

pub(crate) fn open(path: &Path, flags: i32) -> io::Result<OwnedFd> {
    call_fd(libc::SYS_openat, &mut [libc::AT_FDCWD.into(), (&c(path)).into(), flags.into(), 0o644.into()])
}

pub(crate) fn put(fd: OwnedFd) -> io::Result<()> {
    File::from(fd).write_all(b"after\n")
}

pub(crate) fn reopen(fd: &OwnedFd, flags: i32) -> io::Result<OwnedFd> {
    open(Path::new(&format!("/proc/self/fd/{}", fd.as_raw_fd())), flags)
}

fn open_how(path: &Path, flags: i32, resolve: u64) -> io::Result<OwnedFd> {
    let how = words(&[flags as u64, 0, resolve]);
    call_fd(
        libc::SYS_openat2,
        &mut [libc::AT_FDCWD.into(), (&c(path)).into(), how.as_slice().into(), how.len().into()],
    )
}

/// A file's handle, opened by it.
pub(crate) fn by_handle(path: &Path, flags: i32) -> io::Result<OwnedFd> {
    let mut handle = [0u8; 136];
    handle[..4].copy_from_slice(&128u32.to_ne_bytes());
    let mut mount = [0u8; 4];
    call(
        libc::SYS_name_to_handle_at,
        &mut [
            libc::AT_FDCWD.into(),
            (&c(path)).into(),
            handle.as_mut_slice().into(),
            mount.as_mut_slice().into(),
            0.into(),
        ],
    )?;
    let on = open(path.parent().unwrap_or(path), libc::O_RDONLY)?;
    call_fd(libc::SYS_open_by_handle_at, &mut [(&on).into(), handle.as_slice().into(), flags.into()])
}

pub(crate) const TRIES: &[Attempt] = &[
    plain("open-write", |at, _| put(open(&at.file(), libc::O_WRONLY)?)),
    plain("open-read-write", |at, _| put(open(&at.file(), libc::O_RDWR)?)),
    plain("open-append", |at, _| put(open(&at.file(), libc::O_WRONLY | libc::O_APPEND)?)),
    plain("creat", |at, _| call_fd(libc::SYS_creat, &mut [(&c(at.file())).into(), 0o600.into()]).map(drop)),
    plain("open-truncate-read-only", |at, _| open(&at.file(), libc::O_RDONLY | libc::O_TRUNC).map(drop)),
    plain("open-truncate-mode-3", |at, _| open(&at.file(), 3 | libc::O_TRUNC).map(drop)),
    plain("openat2", |at, _| put(open_how(&at.file(), libc::O_WRONLY, 0)?)),
    plain("openat2-in-root", |at, _| {
        let directory = open(&at.d, libc::O_PATH)?;
        let how = words(&[libc::O_WRONLY as u64, 0, libc::RESOLVE_IN_ROOT]);
        put(call_fd(
            libc::SYS_openat2,
            &mut [(&directory).into(), c"/file".into(), how.as_slice().into(), how.len().into()],
        )?)
    }),
    plain("truncate", |at, _| call(libc::SYS_truncate, &mut [(&c(at.file())).into(), 3.into()]).map(drop)),
    plain("truncate-longer", |at, _| {
        call(libc::SYS_truncate, &mut [(&c(at.file())).into(), 30.into()]).map(drop)
    }),
    plain("write-through-own-symlink", |at, _| {
        std::os::unix::fs::symlink(at.file(), at.at_work("alias"))?;
        put(open(&at.at_work("alias"), libc::O_WRONLY)?)
    }),
    plain("write-through-symlink", |at, _| put(open(&at.on("link"), libc::O_WRONLY)?)),
    plain("create-through-dangling-symlink", |at, _| {
        std::os::unix::fs::symlink(at.on("new"), at.at_work("dangling"))?;
        put(open(&at.at_work("dangling"), libc::O_WRONLY | libc::O_CREAT)?)
    }),
    plain("reopen-o-path", |at, _| put(reopen(&open(&at.file(), libc::O_PATH)?, libc::O_WRONLY)?)),
    plain("reopen-read-only", |at, _| put(reopen(&open(&at.file(), libc::O_RDONLY)?, libc::O_WRONLY)?)),
    plain("write-below-proc-self-root", |at, _| {
        put(open(Path::new(&format!("/proc/self/root{}", at.file().display())), libc::O_WRONLY)?)
    }),
    plain("write-through-proc-self-cwd", |at, _| {
        std::env::set_current_dir(&at.d)?;
        put(open(Path::new("/proc/self/cwd/file"), libc::O_WRONLY)?)
    }),
    plain("write-dotted-path", |at, _| {
        let path = format!("{}//./dir/../file", at.d.display());
        put(open(Path::new(&path), libc::O_WRONLY)?)
    }),
    plain("write-by-handle", |at, _| put(by_handle(&at.file(), libc::O_WRONLY)?)),
    plain("write-shared-map", |at, _| {
        let fd = open(&at.file(), libc::O_RDWR)?;
        sys::map(fd.as_fd(), PROT_READ | PROT_WRITE, MAP_SHARED, |page| {
            page.write(b"after");
            Ok(())
        })
    }),
    plain("fallocate", |at, _| {
        let fd = open(&at.file(), libc::O_WRONLY)?;
        call(libc::SYS_fallocate, &mut [(&fd).into(), 0.into(), 0.into(), 9000.into()]).map(drop)
    }),
    plain("copy-file-range", |at, _| {
        let (from, to) = (open(&at.at_work("mine"), libc::O_RDONLY)?, open(&at.file(), libc::O_WRONLY)?);
        let nowhere = || Arg::Num(0);
        call(
            libc::SYS_copy_file_range,
            &mut [(&from).into(), nowhere(), (&to).into(), nowhere(), 5.into(), 0.into()],
        )
        .map(drop)
    }),
    plain("race-symlink-swap", |at, _| {
        // A link that changes between an allowed file and a forbidden one while it is opened.
        let (link, fresh) = (at.at_work("swap"), at.at_work("swap-next"));
        let mut last = Ok(());
        for turn in 0..40 {
            let target = if turn % 2 == 0 { at.at_work("mine") } else { at.file() };
            std::os::unix::fs::symlink(target, &fresh)?;
            std::fs::rename(&fresh, &link)?;
            let outcome = open(&link, libc::O_WRONLY).and_then(put);
            if turn % 2 == 1 {
                last = outcome;
            }
        }
        last
    }),
    plain("write-workspace-deferred-exec", |at, _| {
        // What a person's shell, editor or git would run later.
        std::fs::create_dir_all(at.on("hooks"))
            .and_then(|()| std::fs::write(at.on("hooks/pre-commit"), "#!/bin/sh\n"))
    }),
];
