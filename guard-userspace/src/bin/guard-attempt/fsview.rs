//! Other views of the same tree: roots, mounts, mount namespaces that were made outside.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::exec::execute;
use crate::files::open::{open, put};
use crate::kernel::own_mounts;
use crate::scene::Scene;
use crate::sys::{call, call_fd};
use crate::table::{Attempt, handed};

const NONE: Option<&str> = None;

/// As a container: another root.
fn contained(at: &Scene) -> io::Result<Vec<OwnedFd>> {
    let directory = open(&at.d, libc::O_PATH)?;
    own_mounts(at)?;
    nix::unistd::chroot(at.d.parent().unwrap_or(Path::new("/")))?;
    std::env::set_current_dir("/")?;
    Ok(vec![directory])
}

/// The forbidden directory under an allowed name.
fn aliased(at: &Scene) -> io::Result<Vec<OwnedFd>> {
    own_mounts(at)?;
    mount(Some(&at.d), &at.at_work("mydir"), NONE, MsFlags::MS_BIND, NONE)?;
    Ok(Vec::new())
}

/// A directory of a mount that hangs nowhere any more.
fn detached(at: &Scene) -> io::Result<Vec<OwnedFd>> {
    own_mounts(at)?;
    mount(Some(&at.on("full")), &at.on("dir"), NONE, MsFlags::MS_BIND, NONE)?;
    let directory = open(&at.on("dir"), libc::O_PATH)?;
    umount2(&at.on("dir"), MntFlags::MNT_DETACH)?;
    Ok(vec![directory])
}

/// A directory as another mount namespace sees it.
fn foreign(at: &Scene) -> io::Result<Vec<OwnedFd>> {
    let directory = open(&at.d, libc::O_PATH)?;
    own_mounts(at)?;
    Ok(vec![directory])
}

fn below(directory: &OwnedFd, name: &std::ffi::CStr) -> io::Result<()> {
    put(call_fd(libc::SYS_openat, &mut [directory.into(), name.into(), libc::O_WRONLY.into()])?)
}

pub(crate) const TRIES: &[Attempt] = &[
    handed("write-other-root", contained, |_, _| put(open(Path::new("/d/file"), libc::O_WRONLY)?)),
    handed("unlink-other-root", contained, |_, _| fs::remove_file("/d/file")),
    handed("exec-other-root", contained, |_, _| execute(Path::new("/d/prog"))),
    handed("write-own-mount-namespace", own_mounts, |at, _| put(open(&at.file(), libc::O_WRONLY)?)),
    handed("write-detached-mount", detached, |_, fds| below(&fds[0], c"inner")),
    handed("unlink-detached-mount", detached, |_, fds| {
        call(libc::SYS_unlinkat, &mut [(&fds[0]).into(), c"inner".into(), 0.into()]).map(drop)
    }),
    handed("write-foreign-mount", foreign, |_, fds| below(&fds[0], c"file")),
    handed("set-times-of-bind-mounted", aliased, |at, _| {
        // The times' hook does not know the mount: every name of the file counts.
        let times = crate::sys::words(&[1000, 0, 1000, 0]);
        let path = crate::sys::c(at.at_work("mydir").join("file"));
        call(
            libc::SYS_utimensat,
            &mut [libc::AT_FDCWD.into(), (&path).into(), times.as_slice().into(), 0.into()],
        )
        .map(drop)
    }),
];
