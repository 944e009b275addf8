//! Trees of cgroups that the daemon must look through: one that grows meanwhile, and one deeper than a path is long.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use guard_userspace::kernel::{Kernel, Pins};
use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};

use super::Test;
use super::agent::{End, REFUSED, Who, inside};
use super::ground::{At, Kind};
use super::install::writes_nothing;
use super::stage::{Cgroup, PINS, POLICIES, Stage};
use super::sys;

pub(super) const TESTS: &[Test] = &[
    Test::new("a cgroup that is made while policies change has the new ones", grows).within(300),
    Test::new("a tree of cgroups that is deeper than a path is long is governed to its end", deep)
        .within(300),
];

const GROWING: &str = "/sys/fs/cgroup/kt-grows";

fn grows() -> Result<()> {
    let stage = Stage::set()?;
    let parent = Cgroup::make(Path::new(GROWING))?;
    let file = Path::new(POLICIES).join("grows.yaml");
    let at = At::fresh(Kind::Open, Who::Root)?;
    let end = inside(parent.path(), Who::Root, || fs::write(at.file(), "before\n"))?;
    ensure!(end == End::Did, "before the policy a write ended with {end:?}");
    let stop = AtomicBool::new(false);
    let (made, loaded) = thread::scope(|scope| {
        let maker = scope.spawn(|| {
            let mut made = Vec::new();
            while !stop.load(Ordering::Relaxed) && made.len() < 1500 {
                made.push(Cgroup::make(&parent.path().join(made.len().to_string()))?);
            }
            anyhow::Ok(made)
        });
        // It names the parent alone: what is below has it from there.
        let policy = writes_nothing("kt-grows", "/kt-grows");
        let loaded = fs::write(&file, policy).map_err(Into::into).and_then(|()| stage.reload());
        stop.store(true, Ordering::Relaxed);
        (maker.join(), loaded)
    });
    let outcome = loaded.and_then(|()| {
        let made = made.map_err(|_| anyhow::anyhow!("the maker panicked"))??;
        let ids = Kernel::inspect(&Pins::at(PINS)).context("see what is pinned")?.governed_ids()?;
        let mut missed = Vec::new();
        for cgroup in &made {
            if !ids.contains(&fs::metadata(cgroup.path())?.ino()) {
                missed.push(cgroup.path().display().to_string());
            }
        }
        println!("{} were made meanwhile", made.len());
        ensure!(missed.is_empty(), "{} of {} are not governed: {missed:?}", missed.len(), made.len());
        let before = fs::read(at.file())?;
        for cgroup in [made.first(), made.get(made.len() / 2), made.last()].into_iter().flatten() {
            let end = inside(cgroup.path(), Who::Root, || fs::write(at.file(), "after\n"))?;
            ensure!(end == REFUSED, "in {} a write ended with {end:?}", cgroup.path().display());
        }
        ensure!(fs::read(at.file())? == before, "a write had an effect");
        Ok(())
    });
    fs::remove_file(&file)?;
    stage.reload()?;
    outcome
}

/// More than 4,096 bytes: the kernel takes the longer for each level, the deeper it is.
const LEVELS: usize = 300;
const LEVEL: &str = "fourteen-bytes";

fn deep() -> Result<()> {
    let stage = Stage::set()?;
    let top = stage.cgroup("box")?;
    let at = At::fresh(Kind::Shut, Who::Root)?;
    let before = at.snapshot()?;
    let below = |work: &dyn Fn() -> nix::Result<()>| -> Result<i32> {
        let child = sys::spawn(|| {
            let come = std::env::set_current_dir(top.path()).is_ok();
            if come { work().err().map_or(0, |error| error as i32) } else { 250 }
        })?;
        match waitpid(child, None)? {
            WaitStatus::Exited(_, code) => Ok(code),
            other => anyhow::bail!("it ended with {other:?}"),
        }
    };
    let down = |level: &dyn Fn() -> nix::Result<()>| (0..LEVELS).try_for_each(|_| level());
    let step = || nix::unistd::chdir(LEVEL);
    let made = below(&|| {
        down(&|| {
            nix::unistd::mkdir(LEVEL, nix::sys::stat::Mode::from_bits_truncate(0o755))?;
            step()
        })
    })?;
    let outcome = (|| {
        ensure!(made == 0, "the tree could not be made: {}", Errno::from_raw(made));
        stage.reload()?;
        let end = below(&|| {
            down(&step)?;
            fs::write("cgroup.procs", "0").map_err(|_| Errno::EXDEV)?;
            match fs::write(at.file(), "after\n") {
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(()),
                other => {
                    println!("at its end a write came to {other:?}");
                    Err(Errno::ENOTRECOVERABLE)
                }
            }
        })?;
        ensure!(end == 0, "at its end: {}", Errno::from_raw(end));
        ensure!(at.snapshot()? == before, "a write had an effect");
        Ok(())
    })();
    let gone = below(&|| {
        let levels = (0..LEVELS).take_while(|_| step().is_ok()).count();
        (0..levels).try_for_each(|_| {
            nix::unistd::chdir("..")?;
            nix::unistd::unlinkat(nix::fcntl::AT_FDCWD, LEVEL, nix::unistd::UnlinkatFlags::RemoveDir)
        })
    })?;
    outcome?;
    ensure!(gone == 0, "the tree could not be removed: {}", Errno::from_raw(gone));
    Ok(())
}
