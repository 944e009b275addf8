//! The way from the first root to the one on a disk: laid over, switched to, and left to its own PID 1.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::unistd::{chdir, chroot};

const ROOT: &str = "/newroot";

/// How long the kernel may take to find the disk when its driver is there.
const PATIENCE: Duration = Duration::from_secs(20);

/// Mounts the device, puts there what the host laid into the image, and becomes the system's own init.
pub(crate) fn switch(device: &str) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !Path::new(device).exists() {
        if Instant::now() >= deadline {
            return Err(io::Error::other(format!("there is no {device}")));
        }
        thread::sleep(Duration::from_millis(10));
    }
    fs::create_dir_all(ROOT)?;
    mount(Some(device), ROOT, Some("ext4"), MsFlags::MS_NOATIME, None::<&str>)
        .map_err(|error| io::Error::other(format!("mount {device}: {error}")))?;
    let root = Path::new(ROOT);
    lay(Path::new("/.guest/over"), root)?;
    lay(Path::new("/usr/lib/modules"), &root.join("usr/lib/modules"))?;
    fs::create_dir_all(root.join(".guest"))?;
    for name in ["argv", "env", "fetch"] {
        fs::copy(Path::new("/.guest").join(name), root.join(".guest").join(name))?;
    }
    fs::copy("/init", root.join(".guest/init"))?;
    chdir(root)?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
    chroot(".")?;
    chdir("/")?;
    Err(Command::new("/sbin/init").env_clear().exec())
}

/// Copies what is below one directory into another; a directory's place may be held by a link to one.
fn lay(from: &Path, to: &Path) -> io::Result<()> {
    if !from.exists() {
        return Ok(());
    }
    if !to.is_dir() {
        fs::create_dir_all(to)?;
        fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            lay(&source, &target)?;
        } else {
            if target.symlink_metadata().is_ok() {
                fs::remove_file(&target)?;
            }
            if kind.is_symlink() {
                std::os::unix::fs::symlink(fs::read_link(&source)?, &target)?;
            } else {
                fs::copy(&source, &target)?;
            }
        }
    }
    Ok(())
}
