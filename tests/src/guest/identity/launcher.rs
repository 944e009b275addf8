//! Launchers: they may prepare a service inside its cgroup, and nobody else may use that.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::super::agent::{End, Way, Who, attempt_after, enter, inside};
use super::super::stage::{LAUNCHER, Stage};
use super::super::sys;
use super::Probe;

/// Becomes the launcher, which is a shell here.
fn launch(script: &str) -> io::Result<()> {
    Err(Command::new(LAUNCHER).arg0("sh").args(["-c", script]).exec())
}

/// The same from a copy of the launcher in memory, as container runtimes make one of themselves.
fn launch_copy(script: &str, sealed: bool, more: &[u8]) -> io::Result<()> {
    let copy = memfd_create("copy", MFdFlags::MFD_ALLOW_SEALING)?;
    let mut copy = File::from(copy);
    copy.write_all(&fs::read(LAUNCHER)?)?;
    copy.write_all(more)?;
    if sealed {
        let seals =
            SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
        fcntl(&copy, FcntlArg::F_ADD_SEALS(seals))?;
    }
    // Only a file that nobody can write to is run.
    let run = File::open(format!("/proc/self/fd/{}", copy.as_raw_fd()))?;
    drop(copy);
    let path = format!("/proc/self/fd/{}", run.as_raw_fd());
    Err(Command::new(path).arg0("sh").args(["-c", script]).exec())
}

/// What came of a launcher that is moved in, prepares something and hands over.
#[derive(Debug, PartialEq, Eq)]
struct Came {
    prepared: bool,
    handed_over: bool,
}

fn came_of(launch: impl FnOnce(&str) -> io::Result<()>) -> Result<Came> {
    let (stage, probe) = (Stage::set()?, Probe::new()?);
    let at = &probe.0;
    let (ready, go) = (at.at_work("ready"), at.at_work("go"));
    for old in [&ready, &go] {
        let _ = fs::remove_file(old);
    }
    let script = format!(
        "touch {ready}; read go < {go}; \
         echo 1 > {prepared}; exec /bin/busybox touch {late}",
        ready = ready.display(),
        go = go.display(),
        prepared = at.on("made-by-launcher").display(),
        late = at.on("made-by-agent").display(),
    );
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU)?;
    let cgroup = stage.cgroup("box")?;
    let child = sys::spawn(|| i32::from(launch(&script).is_err()))?;
    while !ready.exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // By then it waits at the pipe.
    std::thread::sleep(std::time::Duration::from_millis(200));
    enter(cgroup.path(), child)?;
    fs::write(&go, "go\n")?;
    nix::sys::wait::waitpid(child, None)?;
    Ok(Came { prepared: at.on("made-by-launcher").exists(), handed_over: at.on("made-by-agent").exists() })
}

pub(super) fn prepares() -> Result<()> {
    let came = came_of(launch)?;
    ensure!(came == Came { prepared: true, handed_over: false }, "{came:?}");
    Ok(())
}

pub(super) fn copy_prepares() -> Result<()> {
    let came = came_of(|script| launch_copy(script, true, b""))?;
    ensure!(came == Came { prepared: true, handed_over: false }, "a sealed copy: {came:?}");
    for (what, sealed, more) in [("not sealed", false, &b""[..]), ("another program", true, b"x")] {
        let came = came_of(|script| launch_copy(script, sealed, more))?;
        ensure!(came == Came { prepared: false, handed_over: false }, "{what}: {came:?}");
    }
    Ok(())
}

pub(super) fn frees_nobody() -> Result<()> {
    let (stage, probe) = (Stage::set()?, Probe::new()?);
    let at = &probe.0;
    let script = format!("echo 1 > {}", at.on("made-by-launcher").display());
    let cgroup = stage.cgroup("box")?;
    let refused = |what: &str, end: End| -> Result<()> {
        ensure!(end != End::Became(0) && probe.files() == 0, "{what} ended with {end:?}");
        Ok(())
    };
    refused("the launcher started inside", inside(cgroup.path(), Who::Root, || launch(&script))?)?;
    // Started inside, then moved about by a helper outside.
    let end = attempt_after(
        Some(cgroup.path()),
        Who::Root,
        Way::Forked,
        || Ok(()),
        |process| {
            enter(Path::new("/sys/fs/cgroup"), process)?;
            enter(cgroup.path(), process)
        },
        |()| launch(&script),
    )?;
    refused("the launcher after leaving and coming back", end)?;
    // Its content may be rewritten by nobody inside.
    let end = inside(cgroup.path(), Who::Root, || fs::write(LAUNCHER, "x"))?;
    ensure!(
        end == End::Errno(libc::EPERM) || end == End::Errno(libc::ETXTBSY),
        "rewriting it ended with {end:?}"
    );
    Ok(())
}
