//! Namespaces and mounts.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::super::agent::End;
use super::super::sys::{Arg, c, call, call_fd, words};
use super::{Fence, Scene};

fn alone(flags: CloneFlags) -> io::Result<()> {
    Ok(unshare(flags)?)
}

/// clone3 with these flags; the child ends at once.
fn clone(flags: u64) -> io::Result<()> {
    let mut arguments = [0u64; 11];
    arguments[0] = flags;
    arguments[4] = libc::SIGCHLD as u64;
    let arguments = words(&arguments);
    match call(libc::SYS_clone3, &mut [arguments.as_slice().into(), arguments.len().into()])? {
        0 => super::super::sys::leave(0),
        child => waitpid(Pid::from_raw(child as i32), None).map(drop).map_err(Into::into),
    }
}

fn join(path: &str, kind: CloneFlags) -> io::Result<()> {
    Ok(setns(File::open(path)?, kind)?)
}

const NOT_SEEN: &[End] = &[End::Errno(libc::EPERM), End::Errno(libc::EACCES)];

// A thread may not enter a user namespace whatever guard says (EINVAL), so those attempts fork.
pub(super) const NAMESPACES: &[Fence] = &[
    Fence::anybody("clone3 into a user namespace", |_| clone(libc::CLONE_NEWUSER as u64)),
    Fence::anybody("clone3 into user and mount namespaces", |_| {
        clone((libc::CLONE_NEWUSER | libc::CLONE_NEWNS) as u64)
    }),
    Fence::root("unshare mounts", |_| alone(CloneFlags::CLONE_NEWNS)),
    Fence::root("unshare processes", |_| alone(CloneFlags::CLONE_NEWPID)),
    Fence::root("unshare the network", |_| alone(CloneFlags::CLONE_NEWNET)),
    Fence::root("unshare names", |_| alone(CloneFlags::CLONE_NEWUTS)),
    Fence::root("unshare ipc", |_| alone(CloneFlags::CLONE_NEWIPC)),
    Fence::root("unshare cgroups", |_| alone(CloneFlags::CLONE_NEWCGROUP)),
    Fence::root("unshare time", |_| alone(CloneFlags::from_bits_retain(0x80))),
    Fence::root("clone3 into a mount namespace", |_| clone(libc::CLONE_NEWNS as u64)),
    Fence::root("setns to init's names", |_| join("/proc/1/ns/uts", CloneFlags::CLONE_NEWUTS)).ends(NOT_SEEN),
    Fence::root("setns to its own names", |_| join("/proc/self/ns/uts", CloneFlags::CLONE_NEWUTS)),
    Fence::root("setns by a process's descriptor", |scene| {
        let outsider = call_fd(libc::SYS_pidfd_open, &mut [scene.outsider.as_raw().into(), 0.into()])?;
        Ok(setns(outsider.as_fd(), CloneFlags::CLONE_NEWUTS)?)
    }),
];

fn mounted(path: &Path, how: impl FnOnce() -> nix::Result<()>) -> io::Result<()> {
    how()?;
    Ok(umount2(path, MntFlags::MNT_DETACH)?)
}

const NONE: Option<&str> = None;

fn bind(scene: &Scene) -> io::Result<()> {
    let (from, to) = (scene.at.on("full"), scene.at.on("dir"));
    mounted(&to, || mount(Some(&from), &to, NONE, MsFlags::MS_BIND, NONE))
}

const AT: i32 = libc::AT_FDCWD;
const OPEN_TREE_CLONE: i32 = 1;

pub(super) const MOUNTS: &[Fence] = &[
    Fence::root("mount a tmpfs", |scene| {
        let at = scene.at.on("dir");
        mounted(&at, || mount(Some("x"), &at, Some("tmpfs"), MsFlags::empty(), NONE))
    }),
    Fence::root("bind a directory", bind),
    Fence::root("remount", |_| Ok(mount(NONE, "/t", NONE, MsFlags::MS_REMOUNT | MsFlags::MS_BIND, NONE)?)),
    Fence::root("change propagation", |_| Ok(mount(NONE, "/t", NONE, MsFlags::MS_PRIVATE, NONE)?)),
    Fence::root("unmount", |_| {
        umount2("/dev/shm", MntFlags::MNT_DETACH)?;
        Ok(mount(Some("tmpfs"), "/dev/shm", Some("tmpfs"), MsFlags::empty(), NONE)?)
    }),
    Fence::root("fsopen", |_| call_fd(libc::SYS_fsopen, &mut [c"tmpfs".into(), 0.into()]).map(drop)),
    Fence::root("fspick", |_| call_fd(libc::SYS_fspick, &mut [AT.into(), c"/t".into(), 0.into()]).map(drop)),
    Fence::root("open_tree of a copy", |scene| {
        let path = c(scene.at.on("full"));
        call_fd(libc::SYS_open_tree, &mut [AT.into(), (&path).into(), OPEN_TREE_CLONE.into()]).map(drop)
    }),
    Fence::root("open_tree and move_mount", |scene| {
        let (path, to) = (c(scene.at.on("full")), scene.at.on("dir"));
        let tree = call_fd(libc::SYS_open_tree, &mut [AT.into(), (&path).into(), OPEN_TREE_CLONE.into()])?;
        const F_EMPTY_PATH: i32 = 4;
        call(
            libc::SYS_move_mount,
            &mut [(&tree).into(), c"".into(), AT.into(), (&c(&to)).into(), F_EMPTY_PATH.into()],
        )?;
        Ok(umount2(&to, MntFlags::MNT_DETACH)?)
    }),
    Fence::root("mount_setattr", |_| {
        // struct mount_attr: set, clear, propagation, user namespace.
        let attributes = words(&[0, libc::MS_NODEV, 0, 0]);
        call(
            libc::SYS_mount_setattr,
            &mut [AT.into(), c"/t".into(), Arg::Num(0), attributes.as_slice().into(), 32.into()],
        )
        .map(drop)
    }),
    Fence::root("chroot", |scene| Ok(nix::unistd::chroot(&scene.at.d)?)),
    Fence::root("pivot_root", |_| Ok(nix::unistd::pivot_root("/", "/")?))
        .control(&[End::Errno(libc::EBUSY), End::Errno(libc::EINVAL)]),
];
