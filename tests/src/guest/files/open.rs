//! Opening: modes, flags, and the calls that open.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use libc::{MAP_SHARED, PROT_READ, PROT_WRITE};

use super::super::ground::{At, CONTENT};
use super::super::row::Row;
use super::super::sys::{self, Arg, c, call, call_fd, words};

pub(in super::super) fn open(path: &Path, flags: i32) -> io::Result<OwnedFd> {
    call_fd(libc::SYS_openat, &mut [libc::AT_FDCWD.into(), (&c(path)).into(), flags.into(), 0o644.into()])
}

pub(super) fn put(fd: OwnedFd) -> io::Result<()> {
    File::from(fd).write_all(b"after\n")
}

fn reopen(fd: &OwnedFd, flags: i32) -> io::Result<OwnedFd> {
    open(Path::new(&format!("/proc/self/fd/{}", fd.as_raw_fd())), flags)
}

fn open_how(path: &Path, flags: i32, resolve: u64) -> io::Result<OwnedFd> {
    let how = words(&[flags as u64, 0, resolve]);
    call_fd(
        libc::SYS_openat2,
        &mut [libc::AT_FDCWD.into(), (&c(path)).into(), how.as_slice().into(), how.len().into()],
    )
}

/// A file handle and the descriptor of a mount to open it on.
fn by_handle(path: &Path, flags: i32) -> io::Result<OwnedFd> {
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

pub(super) const WRITES: &[Row] = &[
    Row::write("open for writing", |at, _| put(open(&at.file(), libc::O_WRONLY)?)),
    Row::write("open for reading and writing", |at, _| put(open(&at.file(), libc::O_RDWR)?)),
    Row::write("open for appending", |at, _| put(open(&at.file(), libc::O_WRONLY | libc::O_APPEND)?)),
    Row::write("creat", |at, _| {
        call_fd(libc::SYS_creat, &mut [(&c(at.file())).into(), 0o600.into()]).map(drop)
    }),
    Row::write("open for reading with O_TRUNC", |at, _| {
        open(&at.file(), libc::O_RDONLY | libc::O_TRUNC).map(drop)
    }),
    Row::write("open with access mode 3 and O_TRUNC", |at, _| open(&at.file(), 3 | libc::O_TRUNC).map(drop)),
    Row::write("open with the flag by which the kernel itself opens programs", |at, _| {
        const FMODE_EXEC: i32 = 0x20;
        put(open(&at.file(), libc::O_WRONLY | FMODE_EXEC)?)
    }),
    Row::write("dump core", |at, _| {
        let child = sys::spawn(|| {
            let _ =
                nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 1 << 30, 1 << 30);
            let _ = std::env::set_current_dir(&at.d);
            let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGQUIT);
            0
        })?;
        nix::sys::wait::waitpid(child, None)?;
        let dumped = fs::read_dir(&at.d)?
            .flatten()
            .any(|entry| entry.file_name().as_encoded_bytes().starts_with(b"core"));
        // Nobody tells the process why there is none.
        if dumped { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EPERM)) }
    }),
    Row::write("openat2", |at, _| put(open_how(&at.file(), libc::O_WRONLY, 0)?)),
    Row::write("openat2 that treats a directory as the root", |at, _| {
        let directory = open(&at.d, libc::O_PATH)?;
        let how = words(&[libc::O_WRONLY as u64, 0, libc::RESOLVE_IN_ROOT]);
        put(call_fd(
            libc::SYS_openat2,
            &mut [(&directory).into(), c"/file".into(), how.as_slice().into(), how.len().into()],
        )?)
    }),
    Row::write("truncate", |at, _| {
        call(libc::SYS_truncate, &mut [(&c(at.file())).into(), 3.into()]).map(drop)
    }),
    Row::write("truncate to a greater length", |at, _| {
        call(libc::SYS_truncate, &mut [(&c(at.file())).into(), 30.into()]).map(drop)
    }),
    Row::write("open through a symbolic link made by the agent", |at, _| {
        std::os::unix::fs::symlink(at.file(), at.at_work("alias"))?;
        put(open(&at.at_work("alias"), libc::O_WRONLY)?)
    }),
    Row::write("open through a symbolic link that was there", |at, _| {
        put(open(&at.on("link"), libc::O_WRONLY)?)
    }),
    Row::write("create through a dangling symbolic link", |at, _| {
        std::os::unix::fs::symlink(at.on("new"), at.at_work("dangling"))?;
        put(open(&at.at_work("dangling"), libc::O_WRONLY | libc::O_CREAT)?)
    }),
    Row::write("O_PATH, then open again for writing", |at, _| {
        put(reopen(&open(&at.file(), libc::O_PATH)?, libc::O_WRONLY)?)
    }),
    Row::write("open for reading, then again for writing", |at, _| {
        put(reopen(&open(&at.file(), libc::O_RDONLY)?, libc::O_WRONLY)?)
    }),
    Row::write("open below /proc/self/root", |at, _| {
        put(open(Path::new(&format!("/proc/self/root{}", at.file().display())), libc::O_WRONLY)?)
    }),
    Row::write("open through /proc/self/cwd", |at, _| {
        std::env::set_current_dir(&at.d)?;
        put(open(Path::new("/proc/self/cwd/file"), libc::O_WRONLY)?)
    }),
    Row::write("open by handle", |at, _| put(by_handle(&at.file(), libc::O_WRONLY)?)).as_root().never(),
    Row::write("map shared and write", |at, _| {
        let fd = open(&at.file(), libc::O_RDWR)?;
        sys::map(fd.as_fd(), PROT_READ | PROT_WRITE, MAP_SHARED, |page| {
            page.write(b"after");
            Ok(())
        })
    }),
    Row::write("fallocate", |at, _| {
        let fd = open(&at.file(), libc::O_WRONLY)?;
        call(libc::SYS_fallocate, &mut [(&fd).into(), 0.into(), 0.into(), 9000.into()]).map(drop)
    }),
    Row::write("copy_file_range", |at, _| {
        let (from, to) = (open(&at.at_work("mine"), libc::O_RDONLY)?, open(&at.file(), libc::O_WRONLY)?);
        let nowhere = || Arg::Num(0);
        call(
            libc::SYS_copy_file_range,
            &mut [(&from).into(), nowhere(), (&to).into(), nowhere(), 5.into(), 0.into()],
        )
        .map(drop)
    }),
];

fn got(content: &[u8]) -> io::Result<()> {
    if content.starts_with(CONTENT.as_bytes()) { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn take(fd: OwnedFd) -> io::Result<()> {
    let mut content = Vec::new();
    File::from(fd).read_to_end(&mut content)?;
    got(&content)
}

fn linked(at: &At) -> io::Result<()> {
    fs::hard_link(at.file(), at.at_work("alias"))
}

pub(super) const READS: &[Row] = &[
    Row::read("open for reading", |at, _| take(open(&at.file(), libc::O_RDONLY)?)),
    Row::read("open for reading and writing", |at, _| take(open(&at.file(), libc::O_RDWR)?)),
    Row::read("O_PATH, then open again", |at, _| {
        take(reopen(&open(&at.file(), libc::O_PATH)?, libc::O_RDONLY)?)
    }),
    Row::read("open through a symbolic link made by the agent", |at, _| {
        std::os::unix::fs::symlink(at.file(), at.at_work("alias"))?;
        take(open(&at.at_work("alias"), libc::O_RDONLY)?)
    }),
    Row::read("a hard link to it, then open that", |at, _| {
        linked(at)?;
        take(open(&at.at_work("alias"), libc::O_RDONLY)?)
    }),
    Row::read("move it to where reading is allowed", |at, _| {
        fs::rename(at.file(), at.at_work("alias"))?;
        take(open(&at.at_work("alias"), libc::O_RDONLY)?)
    }),
    Row::read("move its directory to where reading is allowed", |at, _| {
        fs::rename(at.on("full"), at.at_work("alias"))?;
        let content = fs::read(at.at_work("alias/inner"))?;
        if content == b"inner\n" { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }),
    Row::read("map for reading", |at, _| {
        let fd = open(&at.file(), libc::O_RDONLY)?;
        sys::map(fd.as_fd(), PROT_READ, MAP_SHARED, |_| Ok(()))
    }),
    Row::read("open by handle", |at, _| take(by_handle(&at.file(), libc::O_RDONLY)?)).as_root().never(),
    Row::read("list the directory", |at, _| fs::read_dir(&at.d).map(drop)),
    Row::read("copy through sendfile", |at, _| {
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
