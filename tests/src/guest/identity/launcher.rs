//! Launchers: they may prepare a service inside its cgroup, and nobody else may use that.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use super::super::agent::{End, Way, Who, attempt_after, enter, inside};
use super::super::stage::{LAUNCHER, Stage};
use super::super::sys;
use super::Probe;

/// Becomes the launcher, which is a shell here.
fn launch(script: &str) -> io::Result<()> {
    Err(Command::new(LAUNCHER).arg0("sh").args(["-c", script]).exec())
}

pub(super) fn prepares() -> Result<()> {
    let (stage, probe) = (Stage::set()?, Probe::new()?);
    let at = &probe.0;
    let (ready, go) = (at.at_work("ready"), at.at_work("go"));
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
    let end = nix::sys::wait::waitpid(child, None)?;
    ensure!(at.on("made-by-launcher").exists(), "the launcher could not prepare: {end:?}");
    ensure!(!at.on("made-by-agent").exists(), "what the launcher started is not inside: {end:?}");
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
