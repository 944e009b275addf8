//! What only goes wrong when much happens at once. Each of these failed for a program that took the easy way; see the
//! four findings that the design rests on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::Test;
use super::agent::{End, Who, enter, inside};
use super::files::open;
use super::ground::{At, Kind};
use super::stage::Stage;
use super::sys;

pub(super) const TESTS: &[Test] = &[
    Test::new("a task that is preempted while it decides decides on its own path", preempted).within(200),
    Test::new("a rename storm makes no path that never was", rename_storm).within(200),
    Test::new("a link that is swapped all the time never opens what is forbidden", swapped_link).within(200),
    Test::new("a crowd of short-lived children is inside to the last", crowd).within(200),
    Test::new("a process that is moved in the middle of its work is inside from then on", moved_at_work)
        .within(200),
];

const LONG_ENOUGH: Duration = Duration::from_secs(3);

/// A process that does one thing until it is told to stop, or until what it does goes wrong.
struct Worker(Pid);

impl Worker {
    fn start(cgroup: Option<&Path>, mut work: impl FnMut() -> Result<(), i32>) -> Result<Self> {
        let (wait, go) = nix::unistd::pipe()?;
        let Some(child) = sys::split()? else {
            drop(go);
            sys::end_with(|| {
                let _ = File::from(wait).read(&mut [0]);
                let end = Instant::now() + LONG_ENOUGH;
                let mut rounds = 0u32;
                while Instant::now() < end {
                    if let Err(code) = work() {
                        return code;
                    }
                    rounds += 1;
                }
                // Too little happened to mean anything.
                if rounds < 100 { TOO_FEW } else { 0 }
            })
        };
        drop(wait);
        if let Some(cgroup) = cgroup {
            enter(cgroup, child)?;
        }
        drop(go);
        Ok(Self(child))
    }

    fn end(self) -> Result<i32> {
        match waitpid(self.0, None)? {
            WaitStatus::Exited(_, code) => Ok(code),
            other => anyhow::bail!("a worker ended with {other:?}"),
        }
    }
}

const TOO_FEW: i32 = 110;
const WENT_THROUGH: i32 = 111;
const REFUSED: i32 = 112;

/// Lets the scheduler preempt the kernel itself, where it can be told to.
fn preempt_more() {
    let _ = fs::write("/sys/kernel/debug/sched/preempt", "full");
}

fn preempted() -> Result<()> {
    let stage = Stage::set()?;
    preempt_more();
    let (open, blind) = (At::fresh(Kind::Open, Who::Root)?, At::fresh(Kind::Blind, Who::Root)?);
    let cgroup = stage.cgroup("box")?;
    let mut workers = Vec::new();
    for _ in 0..3 {
        let (allowed, forbidden) = (open.on("full/inner"), blind.on("full/deep/er"));
        workers.push(Worker::start(Some(cgroup.path()), move || {
            File::open(&allowed).map(drop).map_err(|_| REFUSED)
        })?);
        workers.push(Worker::start(Some(cgroup.path()), move || match File::open(&forbidden) {
            Ok(_) => Err(WENT_THROUGH),
            Err(_) => Ok(()),
        })?);
    }
    let codes: Vec<i32> = workers.into_iter().map(Worker::end).collect::<Result<_>>()?;
    ensure!(codes.iter().all(|code| *code == 0), "the workers ended with {codes:?}");
    Ok(())
}

fn rename_storm() -> Result<()> {
    let stage = Stage::set()?;
    preempt_more();
    let at = At::fresh(Kind::Open, Who::Root)?;
    let (left, right) = (at.at_work("left/in-left"), at.at_work("right/in-right"));
    for directory in [&left, &right] {
        fs::create_dir_all(directory.parent().context("a parent")?)?;
    }
    fs::write(&left, "x")?;
    let file: OwnedFd = open(&left, libc::O_PATH)?;
    let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let storm = || {
        let (left, right) = (left.clone(), right.clone());
        Worker::start(None, move || {
            fs::rename(&left, &right).and_then(|()| fs::rename(&right, &left)).map_err(|_| REFUSED)
        })
    };
    let cgroup = stage.cgroup("torn")?;
    let writer = || {
        let again = again.clone();
        Worker::start(Some(cgroup.path()), move || match OpenOptions::new().write(true).open(&again) {
            Ok(_) => Err(WENT_THROUGH),
            Err(_) => Ok(()),
        })
    };
    let workers = [storm()?, writer()?, writer()?, writer()?];
    let codes: Vec<i32> = workers.into_iter().map(Worker::end).collect::<Result<_>>()?;
    ensure!(codes.iter().all(|code| *code == 0), "the workers ended with {codes:?}");
    Ok(())
}

fn swapped_link() -> Result<()> {
    let stage = Stage::set()?;
    let (open, blind) = (At::fresh(Kind::Open, Who::Root)?, At::fresh(Kind::Blind, Who::Root)?);
    fs::write(blind.file(), "secret\n")?;
    let cgroup = stage.cgroup("box")?;
    let link = open.on("swapped");
    symlink(open.file(), &link)?;
    let swapper = {
        let (link, new) = (link.clone(), open.on("swapped.new"));
        let targets = [open.file(), blind.file()];
        let mut n = 0;
        Worker::start(Some(cgroup.path()), move || {
            n += 1;
            let swap = symlink(&targets[n % 2], &new).and_then(|()| fs::rename(&new, &link));
            swap.map_err(|_| REFUSED)
        })?
    };
    let reader = || {
        let link = link.clone();
        Worker::start(Some(cgroup.path()), move || match fs::read(&link) {
            Ok(content) if content == b"secret\n" => Err(WENT_THROUGH),
            _ => Ok(()),
        })
    };
    let workers = [swapper, reader()?, reader()?];
    let codes: Vec<i32> = workers.into_iter().map(Worker::end).collect::<Result<_>>()?;
    ensure!(codes.iter().all(|code| *code == 0), "the workers ended with {codes:?}");
    Ok(())
}

fn crowd() -> Result<()> {
    let stage = Stage::set()?;
    let at = At::fresh(Kind::Shut, Who::Root)?;
    let cgroup = stage.cgroup("box")?;
    let end = inside(cgroup.path(), Who::Root, || {
        for round in 0..20 {
            let children: Vec<Pid> = (0..10)
                .map(|n| {
                    let path = at.on(&format!("{round}-{n}"));
                    sys::spawn(|| if File::create(path).is_ok() { WENT_THROUGH } else { 0 })
                })
                .collect::<io::Result<_>>()?;
            for child in children {
                if waitpid(child, None)? != WaitStatus::Exited(child, 0) {
                    return Err(io::Error::from_raw_os_error(libc::EEXIST));
                }
            }
        }
        Ok(())
    })?;
    ensure!(end == End::Did, "a child went through: {end:?}");
    Ok(())
}

/// It is moved by another process, at no moment of its choosing; from the moment the move is done, nothing works.
fn moved_at_work() -> Result<()> {
    let stage = Stage::set()?;
    let at = At::fresh(Kind::Shut, Who::Root)?;
    for round in 0..20 {
        let cgroup = stage.cgroup("box")?;
        let flag = at.at_work(&format!("moved-{round}"));
        let (file, seen) = (at.file(), flag.clone());
        let child = sys::spawn(|| {
            loop {
                // The flag is looked at first: it is raised after the move.
                let moved = seen.exists();
                let opened = OpenOptions::new().append(true).open(&file).is_ok();
                match (moved, opened) {
                    (true, true) => return WENT_THROUGH,
                    (true, false) => return 0,
                    (false, _) => {}
                }
            }
        })?;
        std::thread::sleep(Duration::from_millis(5));
        let moved = enter(cgroup.path(), child).and_then(|()| Ok(fs::write(&flag, "")?));
        if moved.is_err() {
            let _ = kill(child, Signal::SIGKILL);
        }
        let end = waitpid(child, None)?;
        moved?;
        ensure!(end == WaitStatus::Exited(child, 0), "in round {round} it ended with {end:?}");
    }
    Ok(())
}
