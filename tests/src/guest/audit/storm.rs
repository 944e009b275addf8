//! Two agents that act as fast as they can: what they did, counted by themselves, is what the log says and what it
//! says it lost, whatever happens to the daemon meanwhile.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, execv, pipe2};

use super::log::until;
use crate::guest::agent::{Who, enter};
use crate::guest::ground::{At, Kind, RAN};
use crate::guest::runner::thorough;
use crate::guest::stage::{Cgroup, Stage};
use crate::guest::{sys, written};

/// What one agent tries.
#[derive(Debug, Clone, Copy)]
struct Plan {
    opens: u64,
    /// One in so many opens is followed by a connect, which the policy blocks.
    connects: u64,
    /// And one in so many by a program.
    execs: u64,
}

/// How it came out, counted by the agent.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    opened: u64,
    refused: u64,
    connects: u64,
    ran: u64,
}

/// One agent at work.
struct Agent {
    pid: Pid,
    said: File,
    path: PathBuf,
    port: u16,
    _cgroup: Cgroup,
}

const PEER: [u8; 4] = [203, 0, 113, 9];
/// What an agent says when the first open is refused, and when it is done.
const FULL: u8 = b'F';
const DONE: u8 = b'D';

impl Agent {
    fn start(stage: &Stage, at: &At, number: u16, plan: Plan) -> Result<Self> {
        let cgroup = stage.cgroup("every")?;
        let own = std::process::id();
        let path = at.on(&format!("storm-{own}-{number}"));
        fs::write(&path, "x")?;
        let port = 20_000 + (own % 20_000) as u16 * 2 + number;
        let (here, there) = pipe2(OFlag::O_CLOEXEC)?;
        let (wait, go) = pipe2(OFlag::O_CLOEXEC)?;
        let (mut wait, mut go) = (File::from(wait), File::from(go));
        let (file, program) = (path.clone(), at.on("prog"));
        let pid = sys::spawn(|| {
            let mut there = File::from(there);
            let begun = wait.read_exact(&mut [0]);
            let worked = begun.and_then(|()| work(&file, &program, port, plan, &mut there));
            match worked {
                Ok(tally) => i32::from(report(&mut there, tally).is_err()),
                Err(error) => {
                    eprintln!("the agent: {error}");
                    1
                }
            }
        })?;
        enter(cgroup.path(), pid)?;
        go.write_all(&[1])?;
        Ok(Self { pid, said: File::from(here), path, port, _cgroup: cgroup })
    }

    /// Waits until an open has been refused; false if it is done without.
    fn refused(&mut self) -> Result<bool> {
        let mut word = [0];
        self.said.read_exact(&mut word).context("hear of the agent")?;
        Ok(word[0] == FULL)
    }

    fn tally(&mut self, heard_done: bool) -> Result<Tally> {
        let mut word = [0];
        while !heard_done && word[0] != DONE {
            self.said.read_exact(&mut word).context("hear of the agent")?;
        }
        let mut numbers = [0u8; 32];
        self.said.read_exact(&mut numbers).context("hear the agent's counts")?;
        let number = |n: usize| u64::from_ne_bytes(numbers[n * 8..n * 8 + 8].try_into().unwrap_or_default());
        ensure!(matches!(waitpid(self.pid, None)?, WaitStatus::Exited(_, 0)), "the agent failed");
        Ok(Tally { opened: number(0), refused: number(1), connects: number(2), ran: number(3) })
    }
}

fn work(file: &Path, program: &Path, port: u16, plan: Plan, say: &mut File) -> io::Result<Tally> {
    let mut tally = Tally::default();
    for n in 0..plan.opens {
        match File::open(file) {
            Ok(_) => tally.opened += 1,
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                if tally.refused == 0 {
                    say.write_all(&[FULL])?;
                }
                tally.refused += 1;
            }
            Err(error) => return Err(error),
        }
        if n % plan.connects == 0 {
            try_connect(port)?;
            tally.connects += 1;
        }
        if plan.execs > 0 && n % plan.execs == 0 {
            tally.ran += u64::from(run(program)?);
        }
    }
    Ok(tally)
}

fn report(say: &mut File, tally: Tally) -> io::Result<()> {
    let mut words = vec![DONE];
    for number in [tally.opened, tally.refused, tally.connects, tally.ran] {
        words.extend(number.to_ne_bytes());
    }
    say.write_all(&words)
}

/// The policy lets nobody out.
fn try_connect(port: u16) -> io::Result<()> {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let to = SockaddrIn::new(PEER[0], PEER[1], PEER[2], PEER[3], port);
    match connect(fd.as_raw_fd(), &to) {
        Err(nix::errno::Errno::EPERM) => Ok(()),
        other => Err(io::Error::other(format!("connect gave {other:?}"))),
    }
}

fn run(program: &Path) -> io::Result<bool> {
    let child = sys::spawn(|| {
        let Ok(path) = CString::new(program.as_os_str().as_bytes()) else { return 1 };
        let _ = execv(&path, &[path.as_c_str()]);
        1
    })?;
    Ok(matches!(waitpid(child, None)?, WaitStatus::Exited(_, RAN)))
}

/// How often the log's lines hold a text, all segments together.
fn lines_with(texts: &[String]) -> Result<Vec<u64>> {
    let mut counts = vec![0; texts.len()];
    for line in written::text()?.lines() {
        for (text, count) in texts.iter().zip(&mut counts) {
            *count += u64::from(line.contains(text.as_str()));
        }
    }
    Ok(counts)
}

fn lost() -> Result<u64> {
    Ok(written::of_kind("lost")?.iter().filter_map(|record| record["count"].as_u64()).sum())
}

/// What the log has of the agents, and what it says was lost since.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Recorded {
    opens: Vec<u64>,
    connects: Vec<u64>,
    lost: u64,
}

fn recorded(agents: &[Agent], lost_before: u64) -> Result<Recorded> {
    let mut texts = Vec::new();
    for agent in agents {
        texts.push(format!("\"object\":\"{}\"", agent.path.display()));
        let peer = PEER.map(|byte| byte.to_string()).join(".");
        texts.push(format!("\"object\":\"{peer}:{}/tcp\"", agent.port));
    }
    let counts = lines_with(&texts)?;
    let of = |first: usize| counts.iter().skip(first).step_by(2).copied().collect();
    Ok(Recorded { opens: of(0), connects: of(1), lost: lost()? - lost_before })
}

/// Waits until everything that was tried is accounted for.
fn account(agents: &[Agent], tallies: &[Tally], before: u64) -> Result<Recorded> {
    let tried: u64 = tallies.iter().map(|tally| tally.opened + tally.refused + tally.connects).sum();
    let mut last = Recorded::default();
    for _ in 0..60 {
        last = recorded(agents, before)?;
        let known: u64 = last.opens.iter().chain(&last.connects).sum::<u64>() + last.lost;
        // What is lost can also be that an agent was moved in, its first image, or its end.
        let lives = if last.lost > 0 { 3 * agents.len() as u64 } else { 0 };
        if (tried..=tried + lives).contains(&known) {
            return Ok(last);
        }
        ensure!(known < tried, "more is recorded than was tried: {last:?}, {tallies:?}");
        thread::sleep(Duration::from_millis(500));
    }
    bail!("{tried} tries, of which the log knows {last:?}; the agents counted {tallies:?}")
}

/// Each round makes 3,000 opens by each of two agents. With `--thorough` it goes on for longer than a minute.
fn rounds() -> u64 {
    if thorough() { 40 } else { 1 }
}

pub(super) fn nothing_is_lost() -> Result<()> {
    let stage = Stage::set()?;
    let at = At::fresh(Kind::Open, Who::Root)?;
    let before = lost()?;
    let plan = Plan { opens: 3_000 * rounds(), connects: 6, execs: 100 };
    let begun = Instant::now();
    let mut agents = vec![Agent::start(&stage, &at, 0, plan)?, Agent::start(&stage, &at, 1, plan)?];
    let tallies = agents.iter_mut().map(|agent| agent.tally(false)).collect::<Result<Vec<_>>>()?;
    eprintln!("two agents were busy for {:.1} s", begun.elapsed().as_secs_f32());
    let told = account(&agents, &tallies, before)?;
    let opened: Vec<u64> = tallies.iter().map(|tally| tally.opened).collect();
    eprintln!("storm: {tallies:?}");
    ensure!(told.lost == 0 && told.opens == opened, "{told:?}, {tallies:?}");
    let ran: u64 = tallies.iter().map(|tally| tally.ran).sum();
    ensure!(ran == 2 * plan.opens.div_ceil(plan.execs), "{ran} programs ran");
    let program = format!("\"{}\"", at.on("prog").display());
    for agent in &agents {
        let name = agent._cgroup.name();
        let images = until(Duration::from_secs(20), || {
            let images =
                written::of_kind("exec")?.into_iter().filter(|record| record["cgroup"] == name).count();
            Ok((images as u64 == plan.opens.div_ceil(plan.execs)).then_some(images))
        });
        images.with_context(|| format!("images of {program} in {name}"))?;
    }
    let status = fs::read_to_string(format!("/proc/{}/status", stage.daemon))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib: u64 = resident.trim().trim_end_matches(" kB").parse().context("the daemon's memory")?;
    eprintln!("the daemon's memory: {kib} KiB");
    ensure!(kib < 128 << 10, "the daemon takes {kib} KiB");
    Ok(())
}

pub(super) fn stalled() -> Result<()> {
    let stage = Stage::set()?;
    let at = At::fresh(Kind::Open, Who::Root)?;
    let before = lost()?;
    // More than the ring holds.
    let plan = Plan { opens: 20_000, connects: 10, execs: 0 };
    kill(stage.daemon, Signal::SIGSTOP)?;
    let mut agents = vec![Agent::start(&stage, &at, 0, plan)?, Agent::start(&stage, &at, 1, plan)?];
    let refused = agents[0].refused();
    kill(stage.daemon, Signal::SIGCONT)?;
    let refused = refused?;
    ensure!(refused, "the ring never filled up");
    let tallies = agents.iter_mut().map(|agent| agent.tally(false)).collect::<Result<Vec<_>>>()?;
    let told = account(&agents, &tallies, before)?;
    eprintln!("stalled: {tallies:?}, {told:?}");
    // `on_loss: block`: whatever was opened is recorded.
    let opened: Vec<u64> = tallies.iter().map(|tally| tally.opened).collect();
    ensure!(told.opens == opened && told.lost > 0, "{told:?}, {tallies:?}");
    Ok(())
}

pub(super) fn killed() -> Result<()> {
    let stage = Stage::set()?;
    let at = At::fresh(Kind::Open, Who::Root)?;
    let before = lost()?;
    let plan = Plan { opens: 20_000, connects: 10, execs: 0 };
    let mut agents = vec![Agent::start(&stage, &at, 0, plan)?, Agent::start(&stage, &at, 1, plan)?];
    thread::sleep(Duration::from_millis(150));
    kill(stage.daemon, Signal::SIGKILL)?;
    // Its parent is another test's process, or this one.
    let _ = waitpid(stage.daemon, None);
    Stage::start()?;
    let tallies = agents.iter_mut().map(|agent| agent.tally(false)).collect::<Result<Vec<_>>>()?;
    let told = account(&agents, &tallies, before)?;
    eprintln!("killed: {tallies:?}, {told:?}");
    let opened: u64 = tallies.iter().map(|tally| tally.opened).sum();
    let unrecorded = opened.saturating_sub(told.opens.iter().sum());
    ensure!(unrecorded <= told.lost, "{unrecorded} opens are neither recorded nor lost: {told:?}");
    Ok(())
}
