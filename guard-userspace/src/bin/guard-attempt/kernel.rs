//! Namespaces and mounts.

pub(crate) mod calls;

use std::fs::File;
use std::io;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::scene::Scene;
use crate::sys::{self, Arg, c, call, call_fd, words};
use crate::table::{Attempt, handed, plain};

/// clone3 with these flags; the child ends at once.
fn clone(flags: u64) -> io::Result<()> {
    let mut arguments = [0u64; 11];
    arguments[0] = flags;
    arguments[4] = libc::SIGCHLD as u64;
    let arguments = words(&arguments);
    match call(libc::SYS_clone3, &mut [arguments.as_slice().into(), arguments.len().into()])? {
        0 => sys::leave(0),
        child => waitpid(Pid::from_raw(child as i32), None).map(drop).map_err(Into::into),
    }
}

fn join(path: &str, kind: CloneFlags) -> io::Result<()> {
    Ok(setns(File::open(path)?, kind)?)
}

fn mounted(path: &Path, how: impl FnOnce() -> nix::Result<()>) -> io::Result<()> {
    how()?;
    // Tidier, but not what is tried: that it is refused inside must not look like a refusal of the mount.
    let _ = umount2(path, MntFlags::MNT_DETACH);
    Ok(())
}

const NONE: Option<&str> = None;

/// A mount namespace of its own, so that even the control mounts nothing that anybody sees.
pub(crate) fn own_mounts(_: &Scene) -> io::Result<Vec<std::os::fd::OwnedFd>> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    Ok(Vec::new())
}

/// The same, with a file system of its own in the allowed directory.
fn own_tmpfs(at: &Scene) -> io::Result<Vec<std::os::fd::OwnedFd>> {
    own_mounts(at)?;
    mount(Some("x"), &at.at_work("mydir"), Some("tmpfs"), MsFlags::empty(), NONE)?;
    Ok(Vec::new())
}

const AT: i32 = libc::AT_FDCWD;
const OPEN_TREE_CLONE: i32 = 1;

fn tree(path: &Path) -> io::Result<std::os::fd::OwnedFd> {
    call_fd(libc::SYS_open_tree, &mut [AT.into(), (&c(path)).into(), OPEN_TREE_CLONE.into()])
}

pub(crate) const TRIES: &[Attempt] = &[
    plain("clone-user-namespace", |_, _| clone(libc::CLONE_NEWUSER as u64)),
    plain("clone-user-and-mount-namespace", |_, _| clone((libc::CLONE_NEWUSER | libc::CLONE_NEWNS) as u64)),
    plain("clone-user-and-network-namespace", |_, _| {
        clone((libc::CLONE_NEWUSER | libc::CLONE_NEWNET) as u64)
    }),
    plain("unshare-user-namespace", |_, _| {
        // Only a process of one thread may; the child has no other.
        let child = sys::spawn(|| match unshare(CloneFlags::CLONE_NEWUSER) {
            Ok(()) => 0,
            Err(errno) => errno as i32,
        })?;
        match waitpid(child, None)? {
            nix::sys::wait::WaitStatus::Exited(_, 0) => Ok(()),
            nix::sys::wait::WaitStatus::Exited(_, errno) => Err(io::Error::from_raw_os_error(errno)),
            _ => Err(io::ErrorKind::Other.into()),
        }
    }),
    plain("unshare-mounts", |_, _| Ok(unshare(CloneFlags::CLONE_NEWNS)?)),
    plain("unshare-pids", |_, _| Ok(unshare(CloneFlags::CLONE_NEWPID)?)),
    plain("unshare-network", |_, _| Ok(unshare(CloneFlags::CLONE_NEWNET)?)),
    plain("unshare-uts", |_, _| Ok(unshare(CloneFlags::CLONE_NEWUTS)?)),
    plain("unshare-ipc", |_, _| Ok(unshare(CloneFlags::CLONE_NEWIPC)?)),
    plain("unshare-cgroups", |_, _| Ok(unshare(CloneFlags::CLONE_NEWCGROUP)?)),
    plain("unshare-time", |_, _| Ok(unshare(CloneFlags::from_bits_retain(0x80))?)),
    plain("setns-init", |_, _| join("/proc/1/ns/uts", CloneFlags::CLONE_NEWUTS)),
    plain("setns-own", |_, _| join("/proc/self/ns/uts", CloneFlags::CLONE_NEWUTS)),
    plain("setns-pidfd", |at, _| Ok(setns(crate::tasks::pidfd(at)?, CloneFlags::CLONE_NEWUTS)?)),
    handed("mount-tmpfs", own_mounts, |at, _| {
        let on = at.on("dir");
        mounted(&on, || mount(Some("x"), &on, Some("tmpfs"), MsFlags::empty(), NONE))
    }),
    handed("mount-bind", own_mounts, |at, _| {
        let (from, to) = (at.on("full"), at.on("dir"));
        mounted(&to, || mount(Some(&from), &to, NONE, MsFlags::MS_BIND, NONE))
    }),
    handed("mount-propagation", own_mounts, |_, _| Ok(mount(NONE, "/", NONE, MsFlags::MS_PRIVATE, NONE)?)),
    handed("mount-cgroup2", own_mounts, |at, _| {
        let on = at.on("dir");
        mounted(&on, || mount(Some("x"), &on, Some("cgroup2"), MsFlags::empty(), NONE))
    }),
    handed("mount-overlay", own_mounts, |at, _| {
        // What is written on top would land in the forbidden directory.
        let (upper, work) = (at.on("full"), at.on("dir"));
        let options =
            format!("lowerdir={},upperdir={},workdir={}", at.work.display(), upper.display(), work.display());
        let on = at.at_work("mydir");
        mounted(&on, || mount(Some("x"), &on, Some("overlay"), MsFlags::empty(), Some(options.as_str())))
    }),
    handed("remount-bind", own_tmpfs, |at, _| {
        Ok(mount(NONE, &at.at_work("mydir"), NONE, MsFlags::MS_REMOUNT | MsFlags::MS_BIND, NONE)?)
    }),
    handed("remount", own_tmpfs, |at, _| {
        Ok(mount(NONE, &at.at_work("mydir"), NONE, MsFlags::MS_REMOUNT, NONE)?)
    }),
    handed("umount", own_tmpfs, |at, _| Ok(umount2(&at.at_work("mydir"), MntFlags::MNT_DETACH)?)),
    plain("fsopen", |_, _| call_fd(libc::SYS_fsopen, &mut [c"tmpfs".into(), 0.into()]).map(drop)),
    plain("fsopen-unknown", |_, _| {
        call_fd(libc::SYS_fsopen, &mut [c"guarddrillfs".into(), 0.into()]).map(drop)
    }),
    handed("fspick", own_mounts, |_, _| {
        call_fd(libc::SYS_fspick, &mut [AT.into(), c"/".into(), 0.into()]).map(drop)
    }),
    handed("fsconfig-reconfigure", own_tmpfs, |at, _| {
        const CMD_RECONFIGURE: i32 = 7;
        let picked = call_fd(libc::SYS_fspick, &mut [AT.into(), (&c(at.at_work("mydir"))).into(), 0.into()])?;
        call(
            libc::SYS_fsconfig,
            &mut [(&picked).into(), CMD_RECONFIGURE.into(), Arg::Num(0), Arg::Num(0), Arg::Num(0)],
        )
        .map(drop)
    }),
    handed("open-tree-clone", own_mounts, |at, _| tree(&at.on("full")).map(drop)),
    handed("open-tree-write-below", own_mounts, |at, _| {
        // A copy of the tree that hangs nowhere: its paths are short, and no rule was written for them.
        let tree = tree(&at.d)?;
        crate::files::open::put(call_fd(
            libc::SYS_openat,
            &mut [(&tree).into(), c"file".into(), libc::O_WRONLY.into()],
        )?)
    }),
    handed("move-mount", own_mounts, |at, _| {
        const F_EMPTY_PATH: i32 = 4;
        let (tree, to) = (tree(&at.on("full"))?, at.on("dir"));
        call(
            libc::SYS_move_mount,
            &mut [(&tree).into(), c"".into(), AT.into(), (&c(&to)).into(), F_EMPTY_PATH.into()],
        )?;
        let _ = umount2(&to, MntFlags::MNT_DETACH);
        Ok(())
    }),
    handed("mount-setattr", own_tmpfs, |at, _| {
        // struct mount_attr: set, clear, propagation, user namespace.
        let attributes = words(&[0, libc::MS_NODEV, 0, 0]);
        let on = c(at.at_work("mydir"));
        call(
            libc::SYS_mount_setattr,
            &mut [AT.into(), (&on).into(), Arg::Num(0), attributes.as_slice().into(), 32.into()],
        )
        .map(drop)
    }),
    plain("chroot", |at, _| Ok(nix::unistd::chroot(&at.d)?)),
    plain("chroot-lax", |at, _| Ok(nix::unistd::chroot(&at.d)?)),
    handed("pivot-root", own_mounts, |_, _| Ok(nix::unistd::pivot_root("/", "/")?)),
];
