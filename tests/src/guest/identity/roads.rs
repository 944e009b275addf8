//! The roads, one by one.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, gettid};

use super::super::agent::{End, Way, Who, attempt, attempt_after, enter, errno_of, inside, outside};
use super::super::ground::{At, Kind, RAN};
use super::super::policies;
use super::super::stage::{Cgroup, POLICIES, Stage, status};
use super::super::sys;
use super::{Probe, forbidden, ungoverned};

pub(super) fn moved() -> Result<()> {
    let (stage, probe) = (Stage::set()?, Probe::new()?);
    let at = &probe.0;
    for way in Way::ALL {
        for who in Who::BOTH {
            if who == Who::Root {
                probe.went("an attempt", attempt(None, who, way, || Ok(()), |()| forbidden(at))?)?;
            }
            let cgroup = stage.cgroup("box")?;
            let end = attempt(Some(cgroup.path()), who, way, || Ok(()), |()| fs::remove_file(at.file()))?;
            probe.refused(&format!("an attempt as {who:?}, {way:?}"), end)?;
        }
    }
    // A thread that was running before its process was moved.
    let cgroup = stage.cgroup("box")?;
    let end = attempt(Some(cgroup.path()), Who::Root, Way::Direct, || waiting_thread(at.clone()), release)?;
    probe.refused("a thread that was there before", end)
}

type Waiting = (mpsc::Sender<()>, thread::JoinHandle<io::Result<()>>);

/// A thread that tries when it is told to.
fn waiting_thread(at: At) -> io::Result<Waiting> {
    let (go, wait) = mpsc::channel();
    let thread = thread::Builder::new().spawn(move || {
        let _ = wait.recv();
        forbidden(&at)
    })?;
    Ok((go, thread))
}

fn release((go, thread): Waiting) -> io::Result<()> {
    let _ = go.send(());
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
}

/// A policy that appears and disappears.
struct Late<'s>(&'s Stage);

impl<'s> Late<'s> {
    const FILE: &'static str = "late.yaml";

    fn load(stage: &'s Stage) -> Result<Self> {
        fs::write(Path::new(POLICIES).join(Self::FILE), policies::text("late", "enforce", ""))?;
        stage.reload()?;
        Ok(Self(stage))
    }
}

impl Drop for Late<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(Path::new(POLICIES).join(Self::FILE));
        let _ = self.0.reload();
    }
}

pub(super) fn before_the_policy() -> Result<()> {
    let (stage, probe) = (Stage::set()?, Probe::new()?);
    let at = &probe.0;
    let top = Cgroup::make(Path::new("/sys/fs/cgroup/kt/late/agent"))?;
    let below = Cgroup::make(&top.path().join("a/b"))?;
    for (what, cgroup) in [("in the cgroup", top.path()), ("nested", below.path())] {
        // No policy yet: the cgroup means nothing.
        probe.went(what, inside(cgroup, Who::Root, || forbidden(at))?)?;
        let mut late = None;
        let end = attempt_after(
            Some(cgroup),
            Who::Root,
            Way::Direct,
            || waiting_thread(at.clone()),
            |_| {
                late = Some(Late::load(&stage)?);
                Ok(())
            },
            |waiting| {
                let thread = release(waiting);
                let own = forbidden(at);
                // Both must be refused.
                if thread.is_ok() { thread } else { own }
            },
        )?;
        probe.refused(what, end)?;
    }
    drop(below);
    let _ = fs::remove_dir(top.path().join("a"));
    Ok(())
}

pub(super) fn cloned_into() -> Result<()> {
    let (stage, probe) = (Stage::set()?, Probe::new()?);
    let at = &probe.0;
    let run = |cgroup: &Path| -> Result<End> {
        let directory = File::open(cgroup)?;
        let child = sys::spawn_into(directory.as_fd(), || errno_of(forbidden(at)))?;
        Ok(match waitpid(child, None)? {
            WaitStatus::Exited(_, 0) => End::Did,
            WaitStatus::Exited(_, errno) => End::Errno(errno),
            other => anyhow::bail!("the clone ended with {other:?}"),
        })
    };
    let elsewhere = Cgroup::make(Path::new("/sys/fs/cgroup/kt-elsewhere"))?;
    probe.went("a clone into another cgroup", run(elsewhere.path())?)?;
    let cgroup = stage.cgroup("box")?;
    probe.refused("a clone into the cgroup", run(cgroup.path())?)?;
    // And the way out by the same door.
    let into = elsewhere.path().to_owned();
    let end = inside(cgroup.path(), Who::Root, move || {
        let directory = File::options().read(true).open(&into)?;
        let child = sys::spawn_into(directory.as_fd(), || 0)?;
        waitpid(child, None)?;
        Ok(())
    })?;
    probe.refused("a clone from inside into another cgroup", end)
}

pub(super) fn nested() -> Result<()> {
    let (stage, probe) = (Stage::set()?, Probe::new()?);
    let at = &probe.0;
    let top = stage.cgroup("box")?;
    let mut path = top.path().to_owned();
    let mut all = Vec::new();
    // The programs look twelve levels up; deeper ones must be known by themselves.
    for depth in 0..20 {
        path.push(format!("n{depth}"));
        all.push(Cgroup::make(&path)?);
        if [0, 1, 10, 11, 12, 13, 19].contains(&depth) {
            let end = inside(&path, Who::Root, || forbidden(at))?;
            probe.refused(&format!("an attempt {depth} levels down"), end)?;
        }
    }
    // A name longer than what the programs look up.
    let long = Cgroup::make(&top.path().join("x".repeat(250)).join("y".repeat(250)).join("z".repeat(250)))?;
    let end = inside(long.path(), Who::Root, || forbidden(at));
    all.push(long);
    all.reverse();
    drop(all);
    let _ = fs::remove_dir(top.path().join("x".repeat(250)).join("y".repeat(250)));
    let _ = fs::remove_dir(top.path().join("x".repeat(250)));
    probe.refused("an attempt in a cgroup with a long path", end?)
}

pub(super) fn thread_alone() -> Result<()> {
    let (_stage, probe) = (Stage::set()?, Probe::new()?);
    let at = probe.0.clone();
    let plain = Cgroup::make(Path::new("/sys/fs/cgroup/kt/thread"))?;
    let threaded = Cgroup::make(&plain.path().join("part"))?;
    fs::write(threaded.path().join("cgroup.type"), "threaded").context("make a threaded cgroup")?;
    let part = threaded.path().join("cgroup.threads");
    let end = attempt(
        Some(plain.path()),
        Who::Root,
        Way::Direct,
        || Ok(()),
        move |()| {
            let thread = thread::spawn(move || {
                fs::write(&part, gettid().to_string())?;
                forbidden(&at)
            });
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
        },
    )?;
    drop(threaded);
    probe.refused("the thread", end)
}

pub(super) fn left() -> Result<()> {
    let (stage, probe) = (Stage::set()?, Probe::new()?);
    let at = &probe.0;
    for way in Way::ALL {
        let cgroup = stage.cgroup("box")?;
        let end = attempt_after(
            Some(cgroup.path()),
            Who::Root,
            way,
            || Ok(()),
            |process| enter(ungoverned(), process),
            |()| forbidden(at),
        )?;
        probe.refused(&format!("an attempt after leaving, {way:?}"), end)?;
    }
    // It was never seen to do anything inside, and its cgroup is gone.
    let cgroup = stage.cgroup("box")?;
    let mut gone = Some(cgroup);
    let path = gone.as_ref().map(|cgroup| cgroup.path().to_owned()).context("the cgroup")?;
    let end = attempt_after(
        Some(&path),
        Who::Root,
        Way::Thread,
        || waiting_thread(at.clone()),
        |process| {
            enter(ungoverned(), process)?;
            gone = None;
            Ok(())
        },
        release,
    )?;
    probe.refused("an attempt after the cgroup was removed", end)
}

pub(super) fn changed() -> Result<()> {
    let (stage, probe) = (Stage::set()?, Probe::new()?);
    let at = &probe.0;
    // Anybody may write there: what refuses is not the file system.
    fs::set_permissions(&at.d, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    let cgroup = stage.cgroup("box")?;
    let end = inside(cgroup.path(), Who::Root, || {
        Who::Nobody.become_it()?;
        forbidden(at)
    })?;
    probe.refused("an attempt after setuid", end)?;
    let end = inside(cgroup.path(), Who::Root, || {
        unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_FILES | CloneFlags::CLONE_SYSVSEM)?;
        nix::unistd::setsid().map(drop)?;
        forbidden(at)
    })?;
    probe.refused("an attempt after unshare and setsid", end)?;
    // Its parent dies; what it wrote, if anything, is looked at when it is gone too.
    let end = inside(cgroup.path(), Who::Root, || {
        let (done_here, done_there) = nix::unistd::pipe()?;
        sys::spawn(|| {
            let orphan = sys::spawn(|| {
                while nix::unistd::getppid() != Pid::from_raw(1) {
                    thread::sleep(Duration::from_millis(1));
                }
                let errno = errno_of(forbidden(at));
                let _ = nix::unistd::write(&done_there, &errno.to_ne_bytes());
                0
            });
            i32::from(orphan.is_err())
        })?;
        drop(done_there);
        let mut said = [0u8; 4];
        nix::unistd::read(&done_here, &mut said)?;
        match i32::from_ne_bytes(said) {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    })?;
    probe.refused("an attempt of an orphan", end)
}

pub(super) fn executed() -> Result<()> {
    let (stage, probe) = (Stage::set()?, Probe::new()?);
    let at = &probe.0;
    let script = format!("/bin/busybox touch {}", at.on("made-by-a-program").display());
    let run = |script: &str| -> io::Result<()> {
        let error = std::os::unix::process::CommandExt::exec(
            std::process::Command::new("/bin/busybox").args(["sh", "-c", script]),
        );
        Err(error)
    };
    let end = outside(Who::Root, || run(&script))?;
    ensure!(end == End::Became(0) && probe.files() == 1, "the control ended with {end:?}");
    fs::remove_file(at.on("made-by-a-program"))?;
    let cgroup = stage.cgroup("box")?;
    let end = inside(cgroup.path(), Who::Root, || run(&script))?;
    ensure!(end == End::Became(1) && probe.files() == 0, "the program inside ended with {end:?}");
    // A program whose cgroup changes under it.
    let slow = format!("{script}; exec /bin/busybox sh -c '{script}'");
    let end = attempt_after(
        Some(cgroup.path()),
        Who::Root,
        Way::Forked,
        || Ok(()),
        |process| enter(ungoverned(), process),
        |()| run(&slow),
    )?;
    ensure!(end == End::Became(1) && probe.files() == 0, "the program after leaving ended with {end:?}");
    let open = At::fresh(Kind::Open, Who::Root)?;
    let end = inside(cgroup.path(), Who::Root, || super::super::exec::execute(&open.on("prog")))?;
    ensure!(end == End::Became(RAN), "an allowed program ended with {end:?}");
    Ok(())
}

pub(super) fn orphaned_threads() -> Result<()> {
    let (stage, probe) = (Stage::set()?, Probe::new()?);
    let at = probe.0.clone();
    let cgroup = stage.cgroup("box")?;
    // The thread ends the process with what became of its attempt, when the leader is long gone.
    let end = attempt(
        Some(cgroup.path()),
        Who::Root,
        Way::Direct,
        || {
            let (go, wait) = mpsc::channel::<()>();
            thread::Builder::new().spawn(move || {
                let _ = wait.recv();
                thread::sleep(Duration::from_millis(100));
                sys::leave(errno_of(forbidden(&at)))
            })?;
            Ok(go)
        },
        |go| {
            let _ = go.send(());
            sys::call(libc::SYS_exit, &mut [0.into()]).map(drop)
        },
    )?;
    ensure!(end == End::Became(libc::EPERM) && probe.files() == 0, "the thread ended with {end:?}");
    Ok(())
}

pub(super) fn daemon() -> Result<()> {
    let (stage, _probe) = (Stage::set()?, Probe::new()?);
    let cgroup = stage.cgroup("box")?;
    let before = status()["tasks"].clone();
    enter(cgroup.path(), stage.daemon)?;
    // It reads policies and writes what it says of them, and nobody inside may do either.
    let said = kill(stage.daemon, Signal::SIGHUP).map(|()| {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let said = status()["reasons"].to_string();
            if said.contains("which a policy governs") || Instant::now() >= deadline {
                break said;
            }
        }
    });
    let after = status()["tasks"].clone();
    enter(ungoverned(), stage.daemon)?;
    let said = said?;
    ensure!(said.contains("which a policy governs"), "in a governed cgroup the daemon says {said}");
    ensure!(before == after, "labelled tasks: {before}, with the daemon in the cgroup {after}");
    stage.reload().context("the daemon outside again")?;
    Ok(())
}
