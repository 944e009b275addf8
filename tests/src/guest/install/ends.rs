//! Starts and ends out of the ordinary: no room for the log, no valid policies, and nothing that stays.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::super::agent::{End, REFUSED, Who, inside};
use super::super::ground::{At, Kind};
use super::super::stage::{LOG, PINS, POLICIES, RUN, STATE, Stage, end_daemon, log_end, status};

/// The log has no room when the daemon starts: it enforces, says so, and writes again once there is.
pub(super) fn full_disk() -> Result<()> {
    let stage = Stage::set()?;
    end_daemon(stage.daemon, Signal::SIGTERM)?;
    mount(Some("small"), STATE, Some("tmpfs"), MsFlags::empty(), Some("size=512k,mode=700"))?;
    let stage = Stage::start().context("on an empty disk")?;
    end_daemon(stage.daemon, Signal::SIGTERM)?;
    let filler = Path::new(STATE).join("filler");
    let full = fs::write(&filler, vec![0; 1 << 20]);
    ensure!(full.is_err_and(|error| error.raw_os_error() == Some(libc::ENOSPC)), "the disk is not full");
    let stage = Stage::start().context("on a full disk")?;
    let cgroup = stage.cgroup("box")?;
    let (shut, open) = (At::fresh(Kind::Shut, Who::Root)?, At::fresh(Kind::Open, Who::Root)?);
    let forbidden = inside(cgroup.path(), Who::Root, || fs::write(shut.file(), "after\n"))?;
    let allowed = inside(cgroup.path(), Who::Root, || fs::write(open.file(), "after\n"))?;
    ensure!(forbidden == REFUSED && allowed == End::Did, "{forbidden:?}, {allowed:?}");
    let wait_for = |unwritten: bool| -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while status().to_string().contains("no room left") != unwritten {
            ensure!(Instant::now() < deadline, "unwritten is not {unwritten}: {}", status());
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    };
    wait_for(true)?;
    fs::remove_file(&filler)?;
    wait_for(false)?;
    end_daemon(stage.daemon, Signal::SIGTERM)?;
    umount2(STATE, MntFlags::MNT_DETACH)?;
    Stage::start().map(drop)
}

/// Whether a process has a handler for SIGTERM.
fn hears(process: u32) -> bool {
    let facts = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let caught = facts.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> (libc::SIGTERM - 1) & 1 != 0)
}

pub(super) fn detached() -> Result<()> {
    let stage = Stage::set()?;
    end_daemon(stage.daemon, Signal::SIGTERM)?;
    ensure!(status()["enforcing"] == true, "an ended daemon ends nothing: {}", status());
    let mut child = Command::new("guard")
        .args(["daemon", "--detach", "--policies", POLICIES, "--run", RUN, "--state", STATE, "--pins", PINS])
        .stdin(Stdio::null())
        .stderr(fs::File::options().append(true).open(LOG)?)
        .spawn()?;
    // As soon as it hears at all, long before it is up: it comes up, and then does what it was told.
    let deadline = Instant::now() + Duration::from_secs(60);
    while !hears(child.id()) {
        ensure!(Instant::now() < deadline && child.try_wait()?.is_none(), "the daemon hears nothing");
        std::thread::sleep(Duration::from_millis(2));
    }
    kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
    ensure!(child.wait()?.success(), "the daemon did not end well: {}", log_end());
    ensure!(!Path::new(PINS).exists(), "something is still pinned");
    let at = At::fresh(Kind::Shut, Who::Root)?;
    // The kernel takes the programs away one after the other, when it has time.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let cgroup = stage.cgroup("box")?;
        let end = inside(cgroup.path(), Who::Root, || fs::write(at.file(), "after\n"))?;
        if end == End::Did {
            break;
        }
        ensure!(Instant::now() < deadline, "long after detaching an attempt ended with {end:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    starts_with_the_last_good_policies(&at)
}

/// As after a boot: nothing is pinned, and somebody has left a policy with an error in the directory.
fn starts_with_the_last_good_policies(at: &At) -> Result<()> {
    let file = Path::new(POLICIES).join("broken.yaml");
    fs::write(&file, "version: 1\npolicy: [")?;
    // What an editor leaves while it has a file open is no policy.
    let lock = Path::new(POLICIES).join(".#box.yaml");
    symlink("somebody@somewhere.1", &lock)?;
    let started = Stage::start_with(&["--detach"], |status| status["enforcing"] == true);
    // While the file is there: a daemon that sees it gone reads the others, and is content.
    let said = status();
    fs::remove_file(&file)?;
    let stage = started?;
    let goes_on = goes_on_with_them(&stage, at, &said);
    let unlocked = fs::remove_file(&lock);
    let mended = goes_on.and_then(|()| mends(&stage));
    // What comes after this has a guard of its own, in the usual places.
    end_daemon(stage.daemon, Signal::SIGTERM)?;
    mended?;
    unlocked?;
    ensure!(!Path::new(PINS).exists(), "something is pinned again");
    Ok(())
}

fn goes_on_with_them(stage: &Stage, at: &At, said: &Value) -> Result<()> {
    ensure!(said["reasons"].to_string().contains("broken.yaml"), "{}", said["reasons"]);
    let cgroup = stage.cgroup("box")?;
    let end = inside(cgroup.path(), Who::Root, || fs::write(at.file(), "after\n"))?;
    ensure!(end == REFUSED, "by the last good policies an attempt ended with {end:?}");
    Ok(())
}

fn mends(stage: &Stage) -> Result<()> {
    stage.reload()?;
    let reasons = status()["reasons"].take();
    ensure!(reasons == serde_json::json!([]), "{reasons}");
    Ok(())
}
