//! Runs the tests, each in a process of its own with a deadline, and prints one line for each.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{On, Skip, Test, suites};

/// How a test's process says that it skipped.
const SKIPPED: u8 = 77;

/// A limit finds what hangs; on a machine with other work an emulated processor gets a part of a real one's time.
const BUSY: u32 = 3;

/// From here on a test's time is worth a line.
const SLOW: Duration = Duration::from_secs(10);

/// How one test ended.
enum Outcome {
    Pass,
    Fail(String),
    Skip(String),
}

/// The whole program: `guest-tests [--list [without-bpf] | --as-if-supported] [WORD…]`, each word a part of the names to run.
pub fn main() -> ExitCode {
    // PID 1 waits with SIGCHLD blocked, and a mask is inherited: a shell's `wait` could miss an end.
    if let Err(error) = nix::sys::signal::SigSet::empty().thread_set_mask() {
        eprintln!("let signals through: {error}");
        return ExitCode::FAILURE;
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--one", name] => one(name),
        // Somebody who does nothing, for as long as they are let.
        ["--wait"] => loop {
            thread::park();
        },
        ["--list"] => {
            suites().filter(|test| test.on != On::WithoutBpf).for_each(|test| println!("{}", test.name));
            ExitCode::SUCCESS
        }
        ["--list", "without-bpf"] => {
            suites().filter(|test| test.on == On::WithoutBpf).for_each(|test| println!("{}", test.name));
            ExitCode::SUCCESS
        }
        words => all(words),
    }
}

fn one(name: &str) -> ExitCode {
    let Some(test) = suites().find(|test| test.name == name) else {
        eprintln!("no test is called {name:?}");
        return ExitCode::from(2);
    };
    match (test.run)() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Skip>() => {
            eprintln!("{error}");
            ExitCode::from(SKIPPED)
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn all(words: &[&str]) -> ExitCode {
    let (here, words) = match words {
        // Runs what would run on a good kernel, to see it fail on one that is not.
        ["--as-if-supported", words @ ..] => (On::Supported, words),
        words => (here(), words),
    };
    let wanted = |test: &&Test| words.is_empty() || words.iter().any(|word| test.name.contains(word));
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let here = |test: &&Test| match test.on {
        On::Every => true,
        On::Reference => here == On::Supported && reference(),
        On::Supported | On::TooOld | On::WithoutBpf => test.on == here,
    };
    for test in suites().filter(wanted).filter(here) {
        let begun = Instant::now();
        let outcome = run(test).unwrap_or_else(|error| Outcome::Fail(format!("{error:#}")));
        let took = begun.elapsed();
        if took >= SLOW {
            println!("     the next took {} s", took.as_secs());
        }
        match outcome {
            Outcome::Pass => {
                passed += 1;
                println!("PASS {}", test.name);
            }
            Outcome::Fail(why) => {
                failed += 1;
                println!("FAIL {}: {why}", test.name);
            }
            Outcome::Skip(why) => {
                skipped += 1;
                println!("SKIP {}: {why}", test.name);
            }
        }
        let _ = io::stdout().flush();
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    // No test at all is a mistake in the words, not a success.
    if failed == 0 && passed + skipped > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What kind of kernel this is.
fn here() -> On {
    let active = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    if too_old() {
        On::TooOld
    } else if active.trim().split(',').any(|name| name == "bpf") {
        On::Supported
    } else {
        On::WithoutBpf
    }
}

/// Whether this is the kernel for what takes long, or all of them are.
pub(super) fn reference() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.starts_with("6.12.") || thorough()
}

/// Whether somebody asked for everything.
pub(super) fn thorough() -> bool {
    std::env::var_os("GUARD_DRILL_THOROUGH").is_some()
}

fn too_old() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) < (Some(6), Some(1))
}

fn run(test: &Test) -> Result<Outcome> {
    let mut said =
        File::from(nix::sys::memfd::memfd_create("test-output", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?);
    let mut child = Command::new("/proc/self/exe")
        .args(["--one", test.name])
        .stdin(Stdio::null())
        .stdout(said.try_clone().context("share the test's output")?)
        .stderr(said.try_clone().context("share the test's output")?)
        // A group of its own, so that the deadline reaches what the test started.
        .process_group(0)
        .spawn()
        .context("start the test's process")?;
    let timeout = test.timeout * BUSY;
    let status = wait(&mut child, timeout)?;
    said.rewind().context("read the test's output")?;
    let mut text = Vec::new();
    said.read_to_end(&mut text).context("read the test's output")?;
    let text = String::from_utf8_lossy(&text);
    Ok(match status {
        Some(status) if status.success() => Outcome::Pass,
        Some(status) if status.code() == Some(i32::from(SKIPPED)) => Outcome::Skip(last_line(&text)),
        status => {
            for line in text.lines() {
                println!("     {line}");
            }
            Outcome::Fail(why(status, &text, timeout))
        }
    })
}

fn why(status: Option<ExitStatus>, text: &str, timeout: Duration) -> String {
    let Some(status) = status else { return format!("not done after {} s", timeout.as_secs()) };
    match status.signal() {
        Some(signal) => format!("killed by signal {signal}"),
        None => last_line(text),
    }
}

fn last_line(text: &str) -> String {
    // A panic ends with advice on backtraces.
    let says = |line: &&str| !line.trim().is_empty() && !line.starts_with("note: ");
    text.lines().rev().find(says).unwrap_or("it said nothing").trim().to_owned()
}

/// The status, or nothing when the deadline passed and the test was killed.
fn wait(child: &mut Child, timeout: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + timeout;
    let group = nix::unistd::Pid::from_raw(i32::try_from(child.id())?);
    let status = loop {
        match child.try_wait().context("wait for the test's process")? {
            Some(status) => break Some(status),
            None if Instant::now() >= deadline => break None,
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
    if status.is_none() {
        let gone = Instant::now() + Duration::from_secs(5);
        while child.try_wait().context("wait for the killed test")?.is_none() {
            if Instant::now() >= gone {
                bail!("not done after {} s, and it cannot be killed", timeout.as_secs());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(status)
}
