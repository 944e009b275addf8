//! Shadow mode: everything is decided, nothing is refused.

use std::fs;

use anyhow::{Result, ensure};

use super::Test;
use super::agent::{End, Way, Who, attempt, inside};
use super::exec::execute;
use super::ground::{At, Kind, RAN};
use super::stage::{Stage, status};

pub(super) const TESTS: &[Test] = &[
    Test::new("shadow mode lets through what enforce mode refuses", lets_through).within(200),
    Test::new("shadow mode counts what it would have refused", counts).within(200),
    Test::new("a rule in shadow mode refuses nothing, its neighbours still do", one_rule).within(200),
];

fn lets_through() -> Result<()> {
    let stage = Stage::set()?;
    for who in Who::BOTH {
        for way in Way::ALL {
            let at = At::fresh(Kind::Shut, who)?;
            let cgroup = stage.cgroup("shadow")?;
            let end = attempt(
                Some(cgroup.path()),
                who,
                way,
                || Ok(()),
                |()| {
                    fs::write(at.file(), "after\n")?;
                    fs::rename(at.file(), at.on("new"))?;
                    fs::create_dir(at.on("made"))?;
                    fs::set_permissions(at.on("new"), std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
                    // The boundary is in shadow too.
                    nix::sys::signal::kill(
                        nix::unistd::Pid::from_raw(std::process::id().cast_signed()),
                        None,
                    )?;
                    Ok(())
                },
            )?;
            ensure!(end == End::Did, "as {who:?}, {way:?}: {end:?}");
            ensure!(at.on("new").exists() && at.on("made").exists(), "nothing came of it");
            let end = inside(cgroup.path(), who, || execute(&at.on("prog")))?;
            ensure!(end == End::Became(RAN), "the program ended with {end:?}");
        }
    }
    Ok(())
}

fn counter(name: &str) -> u64 {
    status()["counters"][name].as_u64().unwrap_or(0)
}

fn counts() -> Result<()> {
    let stage = Stage::set()?;
    let at = At::fresh(Kind::Shut, Who::Root)?;
    let cgroup = stage.cgroup("shadow")?;
    let before = counter("shadow-hit");
    let end = inside(cgroup.path(), Who::Root, || {
        for _ in 0..10 {
            fs::write(at.file(), "after\n")?;
        }
        Ok(())
    })?;
    let after = counter("shadow-hit");
    ensure!(end == End::Did && after >= before + 10, "{end:?}, {before} hits before, {after} after");
    Ok(())
}

fn one_rule() -> Result<()> {
    let stage = Stage::set()?;
    let at = At::fresh(Kind::Blind, Who::Root)?;
    let cgroup = stage.cgroup("one-rule")?;
    let end = inside(cgroup.path(), Who::Root, || fs::read(at.file()).map(drop))?;
    ensure!(end == End::Did, "reading, by a rule in shadow mode, ended with {end:?}");
    let end = inside(cgroup.path(), Who::Root, || fs::read(at.on("file2")).map(drop))?;
    ensure!(end == End::Errno(libc::EPERM), "reading, by a rule that enforces, ended with {end:?}");
    Ok(())
}
