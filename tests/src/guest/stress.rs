//! What only goes wrong when much happens at once. Each of these failed for a program that took the easy way; see the
//! four findings that the design rests on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use guard_common::limits;
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
    Test::new("more tasks than lie ready for decide alike, and leave what they had", many_at_once)
        .within(200),
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
    let again = format!("/proc/self/fd/{}", file.as_raw_fd());
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

/// Each task finds its scratch space where only some of them can have it, see `storage` of the programs; twice, so that
/// the second ones find what the first ones left.
fn many_at_once() -> Result<()> {
    const TASKS: usize = limits::BERTHS as usize + 200;
    let stage = Stage::set()?;
    let (shut, open) = (At::fresh(Kind::Shut, Who::Root)?, At::fresh(Kind::Open, Who::Root)?);
    let cgroup = stage.cgroup("box")?;
    for _ in 0..2 {
        let end = inside(cgroup.path(), Who::Root, || {
            let (all, wrong) = (Barrier::new(TASKS), AtomicUsize::new(0));
            let task = || {
                for _ in 0..2 {
                    let refused = fs::write(shut.file(), "after\n").is_err();
                    let allowed = File::open(open.file()).is_ok();
                    wrong.fetch_add(usize::from(!refused || !allowed), Ordering::Relaxed);
                    // Nobody goes before all have been here.
                    all.wait();
                }
            };
            thread::scope(|scope| {
                let small = || thread::Builder::new().stack_size(1 << 16);
                (0..TASKS).try_for_each(|_| small().spawn_scoped(scope, task).map(drop))
            })?;
            if wrong.into_inner() == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EBADE)) }
        })?;
        ensure!(end == End::Did, "of {TASKS} tasks some came out wrong: {end:?}");
    }
    // On 7.x the kernel passes some ends over where they come thick and fast, and those places are left by whoever gets
    // the task's address.
    let taken = berths_taken()?;
    ensure!(taken < limits::BERTHS as usize / 2, "{taken} places are taken with nobody there");
    Ok(())
}

/// How many of the places in the programs' own map somebody has. It is not pinned.
fn berths_taken() -> Result<usize> {
    const LOOKUP: i32 = 1;
    const NEXT_ID: i32 = 12;
    const OPEN_ID: i32 = 14;
    const FACTS: i32 = 15;
    let bpf = |command: i32, words: &[u64]| -> io::Result<u64> {
        let mut bytes = sys::words(words);
        let size = bytes.len();
        sys::call(libc::SYS_bpf, &mut [command.into(), bytes.as_mut_slice().into(), size.into()])?;
        Ok(bytes.first_chunk().map_or(0, |first| u64::from_ne_bytes(*first)))
    };
    let number = |map: &OwnedFd| u64::from(map.as_raw_fd().cast_unsigned());
    let (mut id, mut found) = (0, None);
    // The id to look behind, and the next one in the word's upper half.
    while let Ok(next) = bpf(NEXT_ID, &[id]) {
        id = next >> 32;
        let mut bytes = sys::words(&[id]);
        let mut arguments = [OPEN_ID.into(), bytes.as_mut_slice().into(), 8.into()];
        let map = sys::call_fd(libc::SYS_bpf, &mut arguments)?;
        let mut facts = [0u64; 11];
        bpf(FACTS, &[number(&map) | 88 << 32, facts.as_mut_ptr() as u64])?;
        if facts[3].to_ne_bytes().starts_with(b"BERTHS\0") {
            found = Some((map, (facts[1] >> 32) as usize, facts[2] as u32));
        }
    }
    let (map, size, berths) = found.context("the programs have no such map")?;
    let mut taken = 0;
    for at in 0..berths {
        let mut berth = vec![0u64; size.div_ceil(8)];
        bpf(LOOKUP, &[number(&map), &raw const at as u64, berth.as_mut_ptr() as u64, 0])?;
        taken += usize::from(std::hint::black_box(&berth)[0] != 0);
    }
    Ok(taken)
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
        thread::sleep(Duration::from_millis(5));
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
