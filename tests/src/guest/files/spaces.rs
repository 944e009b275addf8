//! Other views of the tree: roots, namespaces, mounts that hang nowhere, stacked file systems.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use libc::{MAP_PRIVATE, PROT_EXEC, PROT_READ};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::super::exec::execute;
use super::super::ground::At;
use super::super::row::Row;
use super::super::sys::{self, call, call_fd};
use super::open::{open, put};

const NONE: Option<&str> = None;

/// A mount namespace of its own, whose mounts nobody else sees.
fn own_namespace(_: &At) -> io::Result<Vec<OwnedFd>> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    Ok(Vec::new())
}

/// Puts a stacked file system over the directory: what is there becomes its lower layer.
fn stacked(at: &At) -> io::Result<Vec<OwnedFd>> {
    own_namespace(at)?;
    let (upper, work) = (at.at_work("upper"), at.at_work("over"));
    fs::create_dir(&upper)?;
    fs::create_dir(&work)?;
    let options =
        format!("lowerdir={},upperdir={},workdir={}", at.d.display(), upper.display(), work.display());
    mount(Some("over"), &at.d, Some("overlay"), MsFlags::empty(), Some(options.as_str()))?;
    Ok(Vec::new())
}

/// As a container: the stacked file system becomes the root.
fn contained(at: &At) -> io::Result<Vec<OwnedFd>> {
    let directory = open(&at.d, libc::O_PATH)?;
    own_namespace(at)?;
    nix::unistd::chroot(at.d.parent().unwrap_or(Path::new("/")))?;
    std::env::set_current_dir("/")?;
    Ok(vec![directory])
}

/// A directory of a mount that hangs nowhere any more.
fn detached(at: &At) -> io::Result<Vec<OwnedFd>> {
    own_namespace(at)?;
    mount(Some(&at.on("full")), &at.on("dir"), NONE, MsFlags::MS_BIND, NONE)?;
    let directory = open(&at.on("dir"), libc::O_PATH)?;
    umount2(&at.on("dir"), MntFlags::MNT_DETACH)?;
    Ok(vec![directory])
}

/// A directory as another mount namespace sees it.
fn foreign(at: &At) -> io::Result<Vec<OwnedFd>> {
    let directory = open(&at.d, libc::O_PATH)?;
    own_namespace(at)?;
    Ok(vec![directory])
}

fn rewrite_below(directory: &OwnedFd, name: &std::ffi::CStr) -> io::Result<()> {
    put(call_fd(libc::SYS_openat, &mut [directory.into(), name.into(), libc::O_WRONLY.into()])?)
}

pub(super) const VIEWS: &[Row] = &[
    Row::write("write under another root", |_, _| put(open(Path::new("/d/file"), libc::O_WRONLY)?))
        .before(contained)
        .as_root(),
    Row::write("unlink under another root", |_, _| fs::remove_file("/d/file")).before(contained).as_root(),
    Row::run("run under another root", |_, _| execute(Path::new("/d/prog"))).before(contained).as_root(),
    Row::write("write in a mount namespace of its own", |at, _| put(open(&at.file(), libc::O_WRONLY)?))
        .before(own_namespace)
        .as_root(),
    Row::call("write below a mount that hangs nowhere", |_, fds| rewrite_below(&fds[0], c"inner"))
        .before(detached)
        .as_root()
        .never(),
    Row::call("unlink below a mount that hangs nowhere", |_, fds| {
        call(libc::SYS_unlinkat, &mut [(&fds[0]).into(), c"inner".into(), 0.into()]).map(drop)
    })
    .before(detached)
    .as_root()
    .never(),
    Row::call("write in another namespace's view", |_, fds| rewrite_below(&fds[0], c"file"))
        .before(foreign)
        .as_root()
        .never(),
];

fn has_changed(path: &Path) -> io::Result<()> {
    let content = fs::read(path)?;
    if content == b"after\n" { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

// The stacked file system is seen by the attempt's process alone, so that itself must look at what came of it.
pub(super) const STACKED: &[Row] = &[
    Row::call("write", |at, _| {
        fs::write(at.file(), "after\n")?;
        has_changed(&at.file())
    })
    .before(stacked)
    .as_root(),
    Row::call("truncate", |at, _| {
        call(libc::SYS_truncate, &mut [(&sys::c(at.file())).into(), 3.into()]).map(drop)
    })
    .before(stacked)
    .as_root(),
    Row::call("create", |at, _| File::create(at.on("new")).map(drop)).before(stacked).as_root(),
    Row::call("make a directory", |at, _| fs::create_dir(at.on("new"))).before(stacked).as_root(),
    Row::call("unlink", |at, _| fs::remove_file(at.file())).before(stacked).as_root(),
    Row::call("remove a directory", |at, _| fs::remove_dir(at.on("dir"))).before(stacked).as_root(),
    Row::call("rename", |at, _| fs::rename(at.file(), at.on("new"))).before(stacked).as_root(),
    Row::call("link", |at, _| fs::hard_link(at.file(), at.on("new"))).before(stacked).as_root(),
    Row::call("change the mode", |at, _| {
        fs::set_permissions(at.file(), std::os::unix::fs::PermissionsExt::from_mode(0o600))
    })
    .before(stacked)
    .as_root(),
    Row::call("change the time", |at, _| {
        File::open(at.file())?.set_modified(std::time::SystemTime::UNIX_EPOCH)
    })
    .before(stacked)
    .as_root(),
    Row::run("run", |at, _| execute(&at.on("prog"))).before(stacked).as_root(),
    Row::load("map for execution", |at, _| {
        let file = File::open(at.on("prog"))?;
        sys::map(std::os::fd::AsFd::as_fd(&file), PROT_READ | PROT_EXEC, MAP_PRIVATE, |_| Ok(()))
    })
    .before(stacked)
    .as_root(),
];

pub(super) const STACKED_READS: &[Row] = &[
    Row::read("read", |at, _| fs::read(at.file()).map(drop)).before(stacked).as_root(),
    Row::read("map", |at, _| {
        let file = File::open(at.file())?;
        sys::map(std::os::fd::AsFd::as_fd(&file), PROT_READ, libc::MAP_SHARED, |_| Ok(()))
    })
    .before(stacked)
    .as_root(),
];
