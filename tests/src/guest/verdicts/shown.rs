//! What was shown is what runs: the digest that an approver sees is of the file for which the kernel holds the call.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::agent::{End, REFUSED};
use super::super::sys::{c, call};
use super::Stage;
use super::hold::{PATIENCE, again, answer, beside, ground, start, waiting};

const PROGRAM: &str = "/t/open/v/ask/program";

fn exchange(one: &str, other: &str) -> io::Result<()> {
    let (one, other) = (c(Path::new(one)), c(Path::new(other)));
    let (at, flags) = (libc::AT_FDCWD, libc::RENAME_EXCHANGE as i32);
    call(libc::SYS_renameat2, &mut [at.into(), (&one).into(), at.into(), (&other).into(), flags.into()])
        .map(drop)
}

/// Waits until a process is stopped.
fn stopped(pid: Pid) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("it is gone and was not held")?;
        let state = stat.rsplit_once(") ").context("no state")?.1;
        if state.starts_with('T') {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "it is not held: {stat}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A directory with another program of the same name.
fn decoy() -> Result<()> {
    let decoy = ground()?.join("decoy");
    fs::create_dir(&decoy)?;
    fs::copy("/usr/bin/busybox", decoy.join("program"))?;
    Ok(())
}

pub(super) fn exchanged() -> Result<()> {
    let stage = Stage::set()?;
    let daemon = stage.daemon;
    let cgroup = stage.cgroup("held")?;
    // While the digest is made, another program lies there; at the answer as well, and no more afterwards.
    decoy()?;
    let end = beside(
        &cgroup,
        || {
            // The daemon is stopped first, but not so long before that the kernel takes it for gone.
            thread::sleep(Duration::from_secs(2));
            start(Path::new(PROGRAM))
        },
        move |pid| {
            kill(daemon, Signal::SIGSTOP)?;
            let swapped = stopped(pid).and_then(|()| Ok(exchange("/t/open/v/ask", "/t/open/v/decoy")?));
            kill(daemon, Signal::SIGCONT)?;
            swapped?;
            let call = waiting(PROGRAM)?;
            ensure!(call.sha256.starts_with("unknown"), "another program was shown: {call:?}");
            ensure!(answer(call.id, true).is_err(), "what could not be shown was approved");
            exchange("/t/open/v/ask", "/t/open/v/decoy")?;
            ensure!(answer(call.id, true).is_err(), "what was not shown was approved");
            answer(call.id, false).map(drop)
        },
    );
    // Whatever became of it: the next test needs a daemon.
    kill(daemon, Signal::SIGCONT)?;
    ensure!(end? == REFUSED, "a program that was not shown ran");
    // Exchanged once it was shown: it runs only as what was shown.
    decoy()?;
    let end = beside(
        &cgroup,
        || start(Path::new(PROGRAM)),
        |_| {
            let call = waiting(PROGRAM)?;
            ensure!(!call.sha256.starts_with("unknown"), "{call:?}");
            exchange("/t/open/v/ask", "/t/open/v/decoy")?;
            ensure!(answer(call.id, true).is_err(), "another program was approved");
            exchange("/t/open/v/ask", "/t/open/v/decoy")?;
            answer(call.id, true).map(drop)
        },
    )?;
    ensure!(end == End::Became(7), "the program that was shown ended with {end:?}");
    Ok(())
}

/// A page of a file, mapped for all to see.
struct Page(u64);

impl Page {
    fn of(file: &File) -> io::Result<Self> {
        let (protection, fd) = (libc::PROT_READ | libc::PROT_WRITE, file.as_raw_fd());
        call(
            libc::SYS_mmap,
            &mut [0.into(), 4096.into(), protection.into(), libc::MAP_SHARED.into(), fd.into(), 0.into()],
        )
        .map(|address| Self(address as u64))
    }

    /// Writes to the file by its mapping, without a call that names the file.
    fn put(&self, at: u64, byte: u8) -> io::Result<()> {
        OpenOptions::new().write(true).open("/proc/self/mem")?.write_all_at(&[byte], self.0 + at)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = call(libc::SYS_munmap, &mut [self.0.into(), 4096.into()]);
    }
}

fn byte(at: u64) -> Result<u8> {
    let mut byte = [0];
    File::open(PROGRAM)?.read_exact_at(&mut byte, at)?;
    Ok(byte[0])
}

pub(super) fn mapped() -> Result<()> {
    /// In the padding of an ELF header's identity: the program runs as well with it.
    const AT: u64 = 15;
    let stage = Stage::set()?;
    let cgroup = stage.cgroup("held")?;
    ground()?;
    let end = beside(
        &cgroup,
        || start(Path::new(PROGRAM)),
        |_| {
            let call = waiting(PROGRAM)?;
            ensure!(!call.sha256.starts_with("unknown"), "{call:?}");
            // The file is closed, and still somebody can write to it.
            let page = Page::of(&OpenOptions::new().read(true).write(true).open(PROGRAM)?)?;
            ensure!(answer(call.id, true).is_err(), "a program that is mapped for writing was approved");
            page.put(AT, 1)?;
            drop(page);
            ensure!(byte(AT)? == 1, "nothing was written");
            ensure!(answer(call.id, true).is_err(), "a program that was written to was approved");
            // The first write by a mapping changes the file's time.
            answer(again(&call)?.id, false).map(drop)
        },
    )?;
    ensure!(end == REFUSED, "the program that was written to ended with {end:?}");
    // What it was, it is again: nobody was shown anything else.
    ground()?;
    let end = beside(
        &cgroup,
        || start(Path::new(PROGRAM)),
        |_| {
            let call = waiting(PROGRAM)?;
            let writer = OpenOptions::new().write(true).open(PROGRAM)?;
            ensure!(answer(call.id, true).is_err(), "a program that is open for writing was approved");
            drop(writer);
            answer(call.id, true).map(drop)
        },
    )?;
    ensure!(end == End::Became(7), "the program that nobody writes to ended with {end:?}");
    Ok(())
}
