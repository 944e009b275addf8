//! Running files and loading code: every road to a program that the policy does not give.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::Path;

use libc::{MAP_PRIVATE, MAP_SHARED, PROT_EXEC, PROT_READ, PROT_WRITE};

use super::Test;
use super::agent::End;
use super::ground::At;
use super::row::{Row, try_all};
use super::sys::{self, Arg, c, call, call_fd};

pub(super) const TESTS: &[Test] = &[
    Test::new("no spelling of its path runs a forbidden program", || try_all(PATHS)).within(200),
    Test::new("no descriptor runs a forbidden program", || try_all(FDS)).within(200),
    Test::new("no script, interpreter or loader runs a forbidden program", || try_all(HELPERS)).within(200),
    Test::new("no mapping makes forbidden code executable", || try_all(MAPS)).within(200),
];

/// Becomes the program, or says why not.
pub(super) fn execute(path: &Path) -> io::Result<()> {
    execute_at(libc::AT_FDCWD.into(), path, 0)
}

fn execute_at(directory: Arg<'_>, path: &Path, flags: i32) -> io::Result<()> {
    // One argument, the empty string, lies right behind the list that points to it; an empty list will do too.
    let empty = [0u8; 16];
    call(
        libc::SYS_execveat,
        &mut [directory, (&c(path)).into(), empty.as_slice().into(), empty.as_slice().into(), flags.into()],
    )
    .map(drop)
}

fn execute_fd(fd: &OwnedFd) -> io::Result<()> {
    execute_at(fd.into(), Path::new(""), libc::AT_EMPTY_PATH)
}

fn open_path(path: &Path) -> io::Result<OwnedFd> {
    Ok(OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?.into())
}

const PATHS: &[Row] = &[
    Row::run("execve", |at, _| execute(&at.on("prog"))),
    Row::run("execve through a symbolic link", |at, _| {
        symlink(at.on("prog"), at.at_work("alias"))?;
        execute(&at.at_work("alias"))
    }),
    Row::run("execve by a path with dots and slashes", |at, _| execute(&at.on("dir/..//./prog"))),
    Row::run("execve through /proc/self/root", |at, _| {
        execute(Path::new(&format!("/proc/self/root{}", at.on("prog").display())))
    }),
    Row::run("execve by a relative path", |at, _| {
        std::env::set_current_dir(&at.d)?;
        execute(Path::new("prog"))
    }),
    Row::run("execve through /proc/self/cwd", |at, _| {
        std::env::set_current_dir(&at.d)?;
        execute(Path::new("/proc/self/cwd/prog"))
    }),
    Row::run("execveat with a directory", |at, _| {
        execute_at((&open_path(&at.d)?).into(), Path::new("prog"), 0)
    }),
];

const FDS: &[Row] = &[
    Row::run("fexecve", |at, _| execute_fd(&File::open(at.on("prog"))?.into())),
    Row::run("execveat of an O_PATH descriptor", |at, _| execute_fd(&open_path(&at.on("prog"))?)),
    Row::run("execve of /proc/self/fd", |at, _| {
        // It stays open across exec, or a script's interpreter would find nothing.
        let fd = open_path(&at.on("prog"))?;
        execute(Path::new(&format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd))))
    }),
    Row::run("fexecve of a descriptor opened outside", |_, fds| execute_fd(&fds[0]))
        .before(|at| Ok(vec![File::open(at.on("prog"))?.into()])),
    Row::run("execveat below a directory opened outside", |_, fds| {
        execute_at((&fds[0]).into(), Path::new("prog"), 0)
    })
    .before(|at| Ok(vec![open_path(&at.d)?])),
    Row::run("fexecve of a deleted file", |_, fds| execute_fd(&fds[0])).before(|at| {
        let fd = File::open(at.on("prog"))?.into();
        fs::remove_file(at.on("prog"))?;
        Ok(vec![fd])
    }),
    Row::run("fexecve of a memfd", |at, _| execute_fd(&memfd(at)?)).never(),
    Row::run("execve of a memfd through /proc", |at, _| {
        let fd = memfd(at)?;
        execute(Path::new(&format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd))))
    })
    .never(),
    Row::run("fexecve of a memfd made outside", |_, fds| execute_fd(&fds[0]))
        .before(|at| Ok(vec![memfd(at)?]))
        .never(),
];

fn memfd(at: &At) -> io::Result<OwnedFd> {
    let program = fs::read(at.at_work("prog"))?;
    let fd = call_fd(libc::SYS_memfd_create, &mut [c"innocent".into(), 1.into()])?;
    let mut file = File::from(fd);
    file.write_all(&program)?;
    // A file that is open for writing is not run.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    Ok(File::open(path)?.into())
}

const HELPERS: &[Row] = &[
    Row::run("a forbidden script for an allowed interpreter", |at, _| execute(&at.on("script"))),
    Row::run("an allowed script for a forbidden interpreter", |at, _| execute(&at.at_work("script"))),
    Row::run("an allowed program with a forbidden loader", |at, _| execute(&at.at_work("loaded")))
        // The refusal comes when there is no way back to the caller.
        .ends(End::Killed(libc::SIGSEGV)),
];

fn map_exec(file: impl AsFd, flags: i32) -> io::Result<()> {
    sys::map(file.as_fd(), PROT_READ | PROT_EXEC, flags, |_| Ok(()))
}

fn map_then_protect(file: impl AsFd, flags: i32) -> io::Result<()> {
    sys::map(file.as_fd(), PROT_READ, flags, |page| page.protect(PROT_READ | PROT_EXEC))
}

const MAPS: &[Row] = &[
    Row::load("mmap for execution, private", |at, _| map_exec(File::open(at.on("prog"))?, MAP_PRIVATE)),
    Row::load("mmap for execution, shared", |at, _| map_exec(File::open(at.on("prog"))?, MAP_SHARED)),
    Row::load("mmap for reading, then mprotect", |at, _| {
        map_then_protect(File::open(at.on("prog"))?, MAP_PRIVATE)
    }),
    Row::load("mmap with a personality that makes readable executable", |at, _| {
        const READ_IMPLIES_EXEC: i32 = 0x40_0000;
        call(libc::SYS_personality, &mut [READ_IMPLIES_EXEC.into()])?;
        sys::map(File::open(at.on("prog"))?.as_fd(), PROT_READ, MAP_PRIVATE, |_| Ok(()))
    }),
    Row::load("mmap of a descriptor opened outside", |_, fds| map_exec(&fds[0], MAP_PRIVATE))
        .before(|at| Ok(vec![File::open(at.on("prog"))?.into()])),
    Row::load("mmap for writing, private, then mprotect", |at, _| {
        sys::map(File::open(at.on("prog"))?.as_fd(), PROT_READ | PROT_WRITE, MAP_PRIVATE, |page| {
            page.protect(PROT_READ | PROT_EXEC)
        })
    }),
];
