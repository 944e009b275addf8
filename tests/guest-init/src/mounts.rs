//! The file systems a test expects to find.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

/// One mount; a `must` that fails fails the guest, the rest depends on the kernel's configuration.
struct Mount {
    kind: &'static str,
    at: &'static str,
    options: &'static str,
    must: bool,
}

const MOUNTS: &[Mount] = &[
    Mount { kind: "proc", at: "/proc", options: "", must: true },
    Mount { kind: "sysfs", at: "/sys", options: "", must: true },
    Mount { kind: "devtmpfs", at: "/dev", options: "mode=755", must: true },
    Mount { kind: "devpts", at: "/dev/pts", options: "ptmxmode=666", must: true },
    Mount { kind: "tmpfs", at: "/dev/shm", options: "mode=1777", must: true },
    Mount { kind: "cgroup2", at: "/sys/fs/cgroup", options: "", must: true },
    Mount { kind: "bpf", at: "/sys/fs/bpf", options: "mode=700", must: true },
    Mount { kind: "securityfs", at: "/sys/kernel/security", options: "", must: true },
    Mount { kind: "tracefs", at: "/sys/kernel/tracing", options: "", must: false },
    Mount { kind: "debugfs", at: "/sys/kernel/debug", options: "", must: false },
];

/// What finding a disk needs; the system on it mounts the rest.
pub(crate) fn device_nodes() -> io::Result<()> {
    match mount(Some("devtmpfs"), "/dev", Some("devtmpfs"), MsFlags::empty(), Some("mode=755")) {
        Ok(()) | Err(Errno::EBUSY) => Ok(()),
        Err(error) => Err(io::Error::other(format!("mount devtmpfs at /dev: {error}"))),
    }
}

pub(crate) fn mount_all() -> io::Result<()> {
    for Mount { kind, at, options, must } in MOUNTS {
        let _ = fs::create_dir_all(at);
        match mount(Some(*kind), *at, Some(*kind), MsFlags::empty(), Some(*options)) {
            // The kernel may have mounted /dev itself.
            Ok(()) | Err(Errno::EBUSY) => {}
            Err(error) if *must => {
                return Err(io::Error::other(format!("mount {kind} at {at}: {error}")));
            }
            Err(error) => eprintln!("guest-init: mount {kind} at {at}: {error}"),
        }
    }
    for (link, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "fd/0"),
        ("/dev/stdout", "fd/1"),
        ("/dev/stderr", "fd/2"),
    ] {
        if !Path::new(link).exists() {
            let _ = std::os::unix::fs::symlink(target, link);
        }
    }
    // The kernel gives its first root to everyone.
    fs::set_permissions("/", fs::Permissions::from_mode(0o755))?;
    // Each on its own: one write that names a controller the kernel lacks would enable none.
    for controller in ["+cpu", "+io", "+memory", "+pids"] {
        let _ = fs::write("/sys/fs/cgroup/cgroup.subtree_control", controller);
    }
    Ok(())
}
