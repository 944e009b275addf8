//! A hook that somebody has taken away.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::super::agent::{End, REFUSED, Who, inside};
use super::super::ground::{At, Kind};
use super::super::stage::{PINS, RUN, Stage, end_daemon};
use super::super::sys;
use super::links;
use super::load::Load;

pub(super) fn hook_gone() -> Result<()> {
    let stage = Stage::set()?;
    let cgroup = stage.cgroup("box")?;
    let try_it = || -> Result<End> {
        let at = At::fresh(Kind::Shut, Who::Root)?;
        inside(cgroup.path(), Who::Root, || fs::create_dir(at.on("made")))
    };
    ensure!(try_it()? == REFUSED, "mkdir is not refused to begin with");
    let (link, _) = links()?
        .into_iter()
        .find(|(link, _)| link.ends_with("path_mkdir"))
        .context("no link of path_mkdir")?;
    fs::remove_file(&link)?;
    // The hook is really gone.
    let deadline = Instant::now() + Duration::from_secs(10);
    while try_it()? != End::Did {
        ensure!(Instant::now() < deadline, "the hook is still there without its pin");
    }
    let output = Command::new("guard").args(["status", "--run", RUN, "--pins", PINS]).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.code() == Some(1), "status ended with {}", output.status);
    ensure!(said.contains("path_mkdir") && !said.starts_with("enforcing"), "status says {said}");
    end_daemon(stage.daemon, Signal::SIGTERM)?;
    // What the other hooks refuse they go on refusing while the set is made whole.
    let load = Load::start(&stage, cgroup.path())?;
    let changes = pinned("CHANGES")?;
    Stage::start().context("start a daemon to mend it")?;
    load.end()?;
    // What running programs have written is not written over with what the object begins with.
    for word in ["MOVED", "CLOSED", "FOREIGN"] {
        ensure!(pinned(word)? == 1, "{word} says that nothing has happened");
    }
    ensure!(pinned("CHANGES")? > changes, "policies are said to have changed as often as before");
    ensure!(try_it()? == REFUSED, "mkdir is not refused after the daemon was restarted");
    let sets = fs::read_dir(Path::new(PINS).join("links"))?.count();
    ensure!(sets == 1, "{sets} sets of links are pinned");
    Ok(())
}

/// The first word of a pinned array.
fn pinned(name: &str) -> Result<u64> {
    const LOOKUP: i32 = 1;
    const OPEN: i32 = 7;
    let path = sys::c(Path::new(PINS).join("maps").join(name));
    let mut attributes = [0u64; 16];
    attributes[0] = path.as_ptr() as u64;
    let mut bytes = sys::words(&attributes);
    let mut arguments = [OPEN.into(), bytes.as_mut_slice().into(), 128usize.into()];
    let map = sys::call_fd(libc::SYS_bpf, &mut arguments).with_context(|| format!("open the pin {name}"))?;
    let (key, mut value) = (0u32, [0u64; 1024]);
    attributes = [0; 16];
    attributes[0] = u64::from(map.as_raw_fd().cast_unsigned());
    attributes[1] = (&raw const key) as u64;
    attributes[2] = (&raw mut value) as u64;
    let mut bytes = sys::words(&attributes);
    let mut arguments = [LOOKUP.into(), bytes.as_mut_slice().into(), 128usize.into()];
    sys::call(libc::SYS_bpf, &mut arguments).with_context(|| format!("read {name}"))?;
    Ok(std::hint::black_box(value)[0])
}
