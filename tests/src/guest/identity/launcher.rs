//! Launchers: they may prepare a service inside its cgroup, and nobody else may use that.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sched::{CloneFlags, unshare};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;

use super::super::agent::{End, Way, Who, attempt_after, enter, inside, outside};
use super::super::ground::At;
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
    came_by(launch, |rest, _| Ok(rest))
}

/// The same; `then` says how the launcher does what it does once it is inside.
fn came_by(
    launch: impl FnOnce(&str) -> io::Result<()>,
    then: impl FnOnce(String, &At) -> io::Result<String>,
) -> Result<Came> {
    let (stage, probe) = (Stage::set()?, Probe::new()?);
    let at = &probe.0;
    let (ready, go) = (at.at_work("ready"), at.at_work("go"));
    for old in [&ready, &go] {
        let _ = fs::remove_file(old);
    }
    let rest = format!(
        "echo 1 > {}; exec /bin/busybox touch {}",
        at.on("made-by-launcher").display(),
        at.on("made-by-agent").display(),
    );
    let script = format!("touch {}; read go < {}; {}", ready.display(), go.display(), then(rest, at)?);
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

/// A launcher that prepares acts outside: whoever could stop it, or trace it, would too.
pub(super) fn nobodys_tool() -> Result<()> {
    let (stage, probe) = (Stage::set()?, Probe::new()?);
    let (ready, go) = (probe.0.at_work("ready"), probe.0.at_work("go"));
    for old in [&ready, &go] {
        let _ = fs::remove_file(old);
    }
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU)?;
    let script = format!("touch {}; read go < {}", ready.display(), go.display());
    let cgroup = stage.cgroup("box")?;
    let child = sys::spawn(|| i32::from(launch(&script).is_err()))?;
    while !ready.exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    enter(cgroup.path(), child)?;
    let signal = || Ok(nix::sys::signal::kill(child, Signal::SIGCONT)?);
    let trace = || Ok(nix::sys::ptrace::seize(child, nix::sys::ptrace::Options::empty())?);
    let ends = [
        ("a signal", outside(Who::Root, signal)?, inside(cgroup.path(), Who::Root, signal)?),
        ("a trace", outside(Who::Root, trace)?, inside(cgroup.path(), Who::Root, trace)?),
    ];
    nix::sys::signal::kill(child, Signal::SIGKILL)?;
    nix::sys::wait::waitpid(child, None)?;
    for (what, control, end) in ends {
        ensure!(control == End::Did, "{what} from outside, the control, ended with {control:?}");
        ensure!(end == End::Errno(libc::EPERM), "{what} from inside ended with {end:?}");
    }
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

/// Runs the launcher once more, from its file under another name.
fn once_more(rest: String, at: &At) -> io::Result<String> {
    let shell = at.at_work("sh");
    let _ = fs::remove_file(&shell);
    symlink(LAUNCHER, &shell)?;
    Ok(format!("exec {} -c '{rest}'", shell.display()))
}

pub(super) fn is_one_on_the_host_alone() -> Result<()> {
    let prepared = |came: Came| came == Came { prepared: true, handed_over: false };
    let came = came_by(launch, once_more)?;
    ensure!(prepared(came), "a launcher that hands over to a launcher");
    // As in a container whose image names `/proc/self/exe` as its program: the libraries are the image's.
    let apart = |script: &str| {
        unshare(CloneFlags::CLONE_NEWNS)?;
        launch(script)
    };
    ensure!(prepared(came_of(apart)?), "a launcher with mounts of its own");
    let came = came_by(apart, once_more)?;
    ensure!(
        came == Came { prepared: false, handed_over: false },
        "once more with mounts of its own: {came:?}"
    );
    let apart = |script: &str| {
        unshare(CloneFlags::CLONE_NEWNS)?;
        launch_copy(script, true, b"")
    };
    let came = came_by(apart, once_more)?;
    ensure!(came == Came { prepared: false, handed_over: false }, "once more from a copy: {came:?}");
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
