//! Running what the rules do not let run: by spelling, by descriptor, by helper.

pub(crate) mod load;

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

use crate::scene::Scene;
use crate::sys::{Arg, c, call, call_fd, words};
use crate::table::{Attempt, handed, plain};

/// Becomes the program, or says why not.
pub(crate) fn execute(path: &Path) -> io::Result<()> {
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

/// Becomes the program, with these words.
fn execute_with(path: &Path, arguments: &[&str]) -> io::Result<()> {
    execute_list(path, &arguments.iter().map(c).collect::<Vec<_>>())
}

/// The same with words that need not be text; the first is the program's own name.
pub(crate) fn execute_bytes(path: &Path, arguments: &[Vec<u8>]) -> io::Result<()> {
    let texts = arguments.iter().map(|argument| CString::new(argument.as_slice()).unwrap_or_default());
    execute_list(path, &std::iter::once(c(path)).chain(texts).collect::<Vec<_>>())
}

fn execute_list(path: &Path, texts: &[CString]) -> io::Result<()> {
    let path = c(path);
    let mut list: Vec<u64> = texts.iter().map(|text| text.as_ptr() as u64).collect();
    list.push(0);
    let list = words(&list);
    let none = [0u8; 8];
    call(libc::SYS_execve, &mut [(&path).into(), list.as_slice().into(), none.as_slice().into()]).map(drop)
}

fn execute_fd(fd: &OwnedFd) -> io::Result<()> {
    execute_at(fd.into(), Path::new(""), libc::AT_EMPTY_PATH)
}

fn o_path(path: &Path) -> io::Result<OwnedFd> {
    Ok(OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?.into())
}

fn by_number(fd: &OwnedFd) -> io::Result<()> {
    execute(Path::new(&format!("/proc/self/fd/{}", fd.as_raw_fd())))
}

fn memfd(at: &Scene) -> io::Result<OwnedFd> {
    let program = fs::read(at.at_work("prog"))?;
    let fd = call_fd(libc::SYS_memfd_create, &mut [c"innocent".into(), 1.into()])?;
    let mut file = File::from(fd);
    file.write_all(&program)?;
    // A file that is open for writing is not run.
    Ok(File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?.into())
}

pub(crate) const TRIES: &[Attempt] = &[
    plain("execve", |at, _| execute(&at.on("prog"))),
    plain("execve-symlink", |at, _| {
        symlink(at.on("prog"), at.at_work("alias"))?;
        execute(&at.at_work("alias"))
    }),
    plain("execve-dotted", |at, _| execute(&at.on("dir/..//./prog"))),
    plain("execve-proc-self-root", |at, _| {
        execute(Path::new(&format!("/proc/self/root{}", at.on("prog").display())))
    }),
    plain("execve-relative", |at, _| {
        std::env::set_current_dir(&at.d)?;
        execute(Path::new("prog"))
    }),
    plain("execve-proc-self-cwd", |at, _| {
        std::env::set_current_dir(&at.d)?;
        execute(Path::new("/proc/self/cwd/prog"))
    }),
    plain("execveat", |at, _| execute_at((&o_path(&at.d)?).into(), Path::new("prog"), 0)),
    plain("fexecve", |at, _| execute_fd(&File::open(at.on("prog"))?.into())),
    plain("execveat-o-path", |at, _| execute_fd(&o_path(&at.on("prog"))?)),
    plain("execve-proc-self-fd", |at, _| by_number(&o_path(&at.on("prog"))?)),
    handed(
        "fexecve-inherited",
        |at| Ok(vec![File::open(at.on("prog"))?.into()]),
        |_, fds| execute_fd(&fds[0]),
    ),
    handed(
        "execveat-below-inherited",
        |at| Ok(vec![o_path(&at.d)?]),
        |_, fds| execute_at((&fds[0]).into(), Path::new("prog"), 0),
    ),
    handed(
        "fexecve-deleted",
        |at| {
            let fd = File::open(at.on("prog"))?.into();
            fs::remove_file(at.on("prog"))?;
            Ok(vec![fd])
        },
        |_, fds| execute_fd(&fds[0]),
    ),
    plain("fexecve-memfd", |at, _| execute_fd(&memfd(at)?)),
    plain("execve-memfd-by-number", |at, _| by_number(&memfd(at)?)),
    handed("fexecve-memfd-inherited", |at| Ok(vec![memfd(at)?]), |_, fds| execute_fd(&fds[0])),
    plain("script-forbidden", |at, _| execute(&at.on("script"))),
    plain("script-of-forbidden-interpreter", |at, _| execute(&at.at_work("script"))),
    plain("elf-forbidden-loader", |at, _| execute(&at.at_work("loaded"))),
    plain("exec-moved", |at, _| {
        fs::rename(at.on("prog"), at.at_work("moved"))?;
        execute(&at.at_work("moved"))
    }),
    plain("exec-hard-linked", |at, _| {
        fs::hard_link(at.on("prog"), at.at_work("linked"))?;
        execute(&at.at_work("linked"))
    }),
    plain("exec-by-arguments", |at, _| execute_with(&at.at_work("prog"), &["prog", "forbidden"])),
    plain("exec-by-arguments-after-options", |at, _| {
        execute_with(&at.at_work("prog"), &["prog", "-q", "--", "forbidden"])
    }),
    plain("exec-copied-to-fresh", |at, _| {
        // The place for fresh binaries is not one from which anything runs.
        let fresh = at.work.with_file_name("fresh").join("copy");
        fs::copy(at.at_work("prog"), &fresh)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
        execute(&fresh)
    }),
    plain("execve-by-thread-of-another-directory", |at, _| {
        // A thread with a working directory of its own.
        call(libc::SYS_unshare, &mut [libc::CLONE_FS.into()])?;
        std::env::set_current_dir(&at.d)?;
        execute(Path::new("./prog"))
    }),
];
