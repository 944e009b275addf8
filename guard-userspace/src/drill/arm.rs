//! One attempt: a process outside, moved to where it belongs, let go, and its end.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{End, Way};
use crate::audit::Clock;

/// How to start it.
#[derive(Debug)]
pub(super) struct Start<'a> {
    /// The helper, or for [`Way::Launched`] this program, which becomes the helper.
    pub(super) program: &'a Path,
    pub(super) arguments: Vec<String>,
    pub(super) way: Way,
    /// Where it goes before it is let go; nowhere for the control.
    pub(super) cgroup: Option<PathBuf>,
    /// Where it then goes, for those that leave again.
    pub(super) away: PathBuf,
    pub(super) limit: Duration,
}

/// How it ended.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub(super) end: End,
    pub(super) pids: Vec<u32>,
    /// CLOCK_BOOTTIME when it was let go and when it had ended.
    pub(super) from: u64,
    pub(super) until: u64,
    /// What the helper's far end saw, where it has one.
    pub(super) effect: bool,
}

/// Runs one; `between` runs when the process is where it belongs and has not begun.
pub(super) fn run(start: &Start<'_>, between: impl FnOnce()) -> io::Result<Ended> {
    let mut child = Command::new(start.program)
        .args(&start.arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own, so that the deadline reaches what it starts.
        .process_group(0)
        .spawn()?;
    let outcome = follow(&mut child, start, between);
    let group = Pid::from_raw(child.id().cast_signed());
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.wait();
    outcome
}

fn follow(child: &mut Child, start: &Start<'_>, between: impl FnOnce()) -> io::Result<Ended> {
    let deadline = Instant::now() + start.limit;
    let said = child.stdout.take().ok_or_else(|| io::Error::other("no standard output"))?;
    let mut lines = Lines { said, rest: Vec::new() };
    let mut pids = vec![child.id()];
    if start.way == Way::Launched {
        lines.next(deadline);
        place(start, child.id())?;
        go(child)?;
    }
    let ready = lines.next(deadline);
    let Some(pid) = ready.as_deref().and_then(|line| line.strip_prefix("ready ")?.parse::<u32>().ok()) else {
        let why = complaint(child);
        return Ok(Ended { end: End::NotReady(why), pids, from: 0, until: 0, effect: false });
    };
    pids.push(pid);
    if !matches!(start.way, Way::Launched | Way::Cloned | Way::ClonedLeft) {
        place(start, pid)?;
    }
    if start.cgroup.is_some() && matches!(start.way, Way::Left | Way::ClonedLeft) {
        enter(&start.away, pid)?;
    }
    between();
    let from = now()?;
    go(child)?;
    let mut effect = false;
    let end = end(child, &mut lines, &mut pids, &mut effect, deadline)?;
    Ok(Ended { end, pids, from, until: now()?, effect })
}

fn now() -> io::Result<u64> {
    Clock::boottime().map_err(Into::into)
}

fn place(start: &Start<'_>, pid: u32) -> io::Result<()> {
    start.cgroup.as_ref().map_or(Ok(()), |cgroup| enter(cgroup, pid))
}

fn enter(cgroup: &Path, pid: u32) -> io::Result<()> {
    fs::write(cgroup.join("cgroup.procs"), pid.to_string())
}

fn go(child: &mut Child) -> io::Result<()> {
    match child.stdin.as_mut() {
        Some(line) => match line.write_all(b"go\n") {
            // It has ended already, and that is told elsewhere.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        },
        None => Ok(()),
    }
}

/// The last line it says, or what it became.
fn end(
    child: &mut Child,
    lines: &mut Lines,
    pids: &mut Vec<u32>,
    effect: &mut bool,
    deadline: Instant,
) -> io::Result<End> {
    let mut told = None;
    while let Some(line) = lines.next(deadline) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<i32>().ok());
        let (Some(code), Some(pid)) = (number(1), number(2)) else { continue };
        pids.push(pid.cast_unsigned());
        if words[0] == "effect" {
            *effect = code != 0;
            continue;
        }
        told = Some(match (words[0], code) {
            ("killed", signal) => End::Killed(signal),
            (_, 0) => End::Did,
            (_, errno) => End::Errno(errno),
        });
        break;
    }
    if let Some(told) = told {
        return Ok(told);
    }
    Ok(match wait(child, deadline)? {
        None => End::Hung,
        Some(status) => match (status.code(), status.signal()) {
            (Some(99), _) => End::NotReady(complaint(child)),
            (Some(code), _) => End::Became(code),
            (_, Some(signal)) => End::Killed(signal),
            (None, None) => End::Hung,
        },
    })
}

fn wait(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    let process = crate::sys::bpf::process(child.id())?;
    let mut waits = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    if poll(&mut waits, left(deadline))? == 0 {
        return Ok(None);
    }
    child.wait().map(Some)
}

fn left(deadline: Instant) -> PollTimeout {
    let left = deadline.saturating_duration_since(Instant::now());
    PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO)
}

/// What it complained of, its last line.
fn complaint(child: &mut Child) -> String {
    let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
    let mut text = String::new();
    if let Some(mut said) = child.stderr.take() {
        let _ = said.read_to_string(&mut text);
    }
    text.lines().last().unwrap_or("it said nothing").to_owned()
}

/// Lines of a pipe, each with a deadline.
struct Lines {
    said: ChildStdout,
    rest: Vec<u8>,
}

impl Lines {
    /// The next line; nothing at the end or the deadline.
    fn next(&mut self, deadline: Instant) -> Option<String> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let mut waits = [PollFd::new(self.said.as_fd(), PollFlags::POLLIN)];
            if poll(&mut waits, left(deadline)).ok()? == 0 {
                return None;
            }
            let mut bytes = [0; 512];
            let length = self.said.read(&mut bytes).ok()?;
            if length == 0 {
                return None;
            }
            self.rest.extend_from_slice(&bytes[..length]);
        }
    }
}
