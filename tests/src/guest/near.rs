//! Directories that a task has just been in, and names that it has just opened there: both are remembered, and nothing
//! that changes them may be missed.

pub(super) mod names;
pub(super) mod next;

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;

use super::Test;
use super::agent::{End, Way, Who, attempt_after};
use super::stage::Stage;

pub(super) const TESTS: &[Test] = &[
    Test::new("a directory that is moved takes its files under other rules at once", renamed).within(120),
    Test::new("a mount that is moved takes its files under other rules at once", remounted).within(120),
    Test::new("a directory in the memory of another is not taken for it", replaced).within(200),
];

const ROUNDS: usize = 300;
const SHUT: &str = "/t/shut/near";
const OPEN: &str = "/t/open/near";
const NAME: &CStr = c"file";

/// Two who take turns.
struct Turns {
    mine: (OwnedFd, OwnedFd),
    theirs: (OwnedFd, OwnedFd),
}

impl Turns {
    fn new() -> Result<Self> {
        Ok(Self { mine: nix::unistd::pipe()?, theirs: nix::unistd::pipe()? })
    }

    /// The task's: lets the other one do something, and waits until that is done.
    fn over(&self) -> io::Result<()> {
        File::from(self.theirs.1.try_clone()?).write_all(b"x")?;
        File::from(self.mine.0.try_clone()?).read_exact(&mut [0])
    }

    /// The other one's: waits for its turn and takes it. False once the task has ended.
    fn take(&self, act: impl FnOnce() -> Result<()>) -> Result<bool> {
        let mut asked = [0];
        if File::from(self.theirs.0.try_clone()?).read(&mut asked)? == 0 || asked == *b"e" {
            return Ok(false);
        }
        act()?;
        File::from(self.mine.1.try_clone()?).write_all(b"x")?;
        Ok(true)
    }

    fn end(&self) -> io::Result<()> {
        File::from(self.theirs.1.try_clone()?).write_all(b"e")
    }
}

/// Opens a file to write, and says whether that was as it should be.
fn expect(directory: &OwnedFd, name: &CStr, allowed: bool) -> io::Result<()> {
    match openat(directory, name, OFlag::O_WRONLY, Mode::empty()) {
        Ok(_) if allowed => Ok(()),
        Err(Errno::EPERM) if !allowed => Ok(()),
        Ok(_) => Err(io::Error::from_raw_os_error(libc::EISCONN)),
        Err(errno) => Err(io::Error::from_raw_os_error(errno as i32)),
    }
}

fn ready(at: &str) -> Result<()> {
    let at = Path::new(at);
    match fs::remove_dir_all(at) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).context("tidy up"),
        Ok(()) | Err(_) => {}
    }
    Ok(fs::create_dir_all(at)?)
}

/// So far below what moves that nothing near the file changes.
const DEEP: &str = "one/two";

fn deep(at: &str) -> Result<()> {
    let directory = Path::new(at).join(DEEP);
    fs::create_dir_all(&directory)?;
    Ok(fs::write(directory.join("file"), "before")?)
}

/// `act` inside or outside, `other` outside each time that `act` gives its turn away.
fn together(
    cgroup: Option<&Path>,
    act: impl FnOnce(&Turns) -> io::Result<()> + Send,
    mut other: impl FnMut() -> Result<()> + Send + 'static,
) -> Result<End> {
    let turns = std::sync::Arc::new(Turns::new()?);
    let theirs = turns.clone();
    let mut beside = None;
    let end = attempt_after(
        cgroup,
        Who::Root,
        Way::Direct,
        || Ok(()),
        |_| {
            beside = Some(thread::spawn(move || -> Result<()> {
                while theirs.take(&mut other)? {}
                Ok(())
            }));
            Ok(())
        },
        |()| {
            let outcome = act(&turns);
            turns.end()?;
            outcome
        },
    )?;
    beside.context("nobody beside")?.join().map_err(|_| anyhow::anyhow!("the one beside panicked"))??;
    Ok(end)
}

/// Moves `from` to `to`, and the next time back.
fn to_and_fro(
    act: fn(&str, &str) -> Result<()>,
    from: &'static str,
    to: &'static str,
) -> impl FnMut() -> Result<()> + Send + 'static {
    let mut there = false;
    move || {
        let (from, to) = if there { (to, from) } else { (from, to) };
        there = !there;
        act(from, to)
    }
}

/// So often that the directory is remembered, and then the name in it.
const OPENS: usize = 4;

/// Opens here and there, each time so often that the last finds both remembered.
fn back_and_forth(at: &str, turns: &Turns, forbidden_there: bool) -> io::Result<()> {
    let at = format!("{at}/{DEEP}");
    let directory = open(at.as_str(), OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty())?;
    for _ in 0..ROUNDS {
        for allowed in [true, !forbidden_there] {
            for _ in 0..OPENS {
                expect(&directory, NAME, allowed)?;
            }
            turns.over()?;
        }
    }
    Ok(())
}

fn renamed() -> Result<()> {
    const HERE: &str = "/t/open/near/moving";
    const THERE: &str = "/t/shut/near/moving";
    let stage = Stage::set()?;
    let cgroup = stage.cgroup("box")?;
    let rename = |from: &str, to: &str| fs::rename(from, to).context("rename");
    for (cgroup, forbidden) in [(None, false), (Some(cgroup.path()), true)] {
        ready(OPEN)?;
        ready(SHUT)?;
        deep(HERE)?;
        let end = together(
            cgroup,
            |turns| back_and_forth(HERE, turns, forbidden),
            to_and_fro(rename, HERE, THERE),
        )?;
        ensure!(end == End::Did, "inside {}: {end:?}", cgroup.is_some());
    }
    Ok(())
}

fn remounted() -> Result<()> {
    const HERE: &str = "/t/open/near/mount";
    const THERE: &str = "/t/shut/near/mount";
    let stage = Stage::set()?;
    let cgroup = stage.cgroup("box")?;
    let remount = |from: &str, to: &str| {
        mount(Some(from), to, None::<&str>, MsFlags::MS_MOVE, None::<&str>).context("move a mount")
    };
    for (cgroup, forbidden) in [(None, false), (Some(cgroup.path()), true)] {
        ready(OPEN)?;
        ready(SHUT)?;
        fs::create_dir(HERE)?;
        fs::create_dir(THERE)?;
        mount(Some("near"), HERE, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
        deep(HERE)?;
        let end = together(
            cgroup,
            |turns| back_and_forth(HERE, turns, forbidden),
            to_and_fro(remount, HERE, THERE),
        );
        // Where it is if a round did not end.
        umount2(HERE, MntFlags::MNT_DETACH).or_else(|_| umount2(THERE, MntFlags::MNT_DETACH))?;
        let end = end?;
        ensure!(end == End::Did, "inside {}: {end:?}", cgroup.is_some());
    }
    Ok(())
}

/// A directory goes, and one of the same name is made elsewhere: its dentry often lies where the other's was.
fn replaced() -> Result<()> {
    let stage = Stage::set()?;
    let cgroup = stage.cgroup("box")?;
    ready(OPEN)?;
    ready(SHUT)?;
    let make = |below: &str| -> Result<()> {
        fs::create_dir(format!("{below}/x"))?;
        fs::write(format!("{below}/x/file"), "before")?;
        Ok(())
    };
    let mut turn = 0;
    let other = move || -> Result<()> {
        turn += 1;
        if turn % 2 == 1 {
            let _ = fs::remove_dir_all(format!("{SHUT}/x"));
            make(OPEN)
        } else {
            fs::remove_dir_all(format!("{OPEN}/x"))?;
            make(SHUT)
        }
    };
    let act = |turns: &Turns| -> io::Result<()> {
        for _ in 0..ROUNDS * 4 {
            for (below, allowed) in [(OPEN, true), (SHUT, false)] {
                turns.over()?;
                let at = format!("{below}/x");
                let directory = open(at.as_str(), OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty())?;
                for _ in 0..OPENS {
                    expect(&directory, NAME, allowed)?;
                }
            }
        }
        Ok(())
    };
    let end = together(Some(cgroup.path()), act, other)?;
    ensure!(end == End::Did, "{end:?}");
    Ok(())
}
