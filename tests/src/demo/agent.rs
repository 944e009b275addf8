//! The sample agent: tries one thing after the other and reports the errno of each.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::attempts::{ATTEMPTS, Act};
use super::stage::Stage;

/// What became of each attempt: 0 or an errno, in order.
pub(super) fn run(stage: &Stage) -> Result<Vec<i32>> {
    let mut child = Command::new("/proc/self/exe")
        .arg("agent")
        .env("DEMO_GUARD_PID", stage.daemon_pid().to_string())
        .env("DEMO_CGROUP_ROOT", stage.cgroup().ancestors().nth(2).unwrap_or(Path::new("/")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("start the agent")?;
    let procs = stage.cgroup().join("cgroup.procs");
    fs::write(&procs, child.id().to_string())
        .with_context(|| format!("move the agent to {}", procs.display()))?;
    let approver = stage.approve_one();
    // It waits for this line: nothing it tries happens outside the domain.
    child.stdin.take().context("the agent has no input")?.write_all(b"go\n").context("start the agent")?;
    let mut text = String::new();
    child
        .stdout
        .take()
        .context("the agent has no output")?
        .read_to_string(&mut text)
        .context("hear the agent")?;
    let status = child.wait().context("wait for the agent")?;
    // It ends by itself once it has approved, or when there is nothing it could.
    approver.join().map_err(|_| anyhow::anyhow!("the approver panicked"))??;
    let outcomes: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    if outcomes.len() != ATTEMPTS.len() {
        bail!("the agent reported {} of {} attempts and ended with {status}", outcomes.len(), ATTEMPTS.len());
    }
    Ok(outcomes)
}

/// The part inside the domain.
pub(super) fn main() -> Result<()> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("wait for the start")?;
    for attempt in ATTEMPTS {
        let outcome = attempt_it(attempt.act);
        println!("{}", outcome.err().map_or(0, |error| error.raw_os_error().unwrap_or(-1)));
    }
    Ok(())
}

fn attempt_it(act: Act) -> io::Result<()> {
    match act {
        Act::Exec(path) => Command::new(path).stdout(Stdio::null()).status().map(drop),
        Act::Read(path) => fs::read(path).map(drop),
        Act::Append(path) => {
            OpenOptions::new().append(true).create(true).open(path)?.write_all(b"# the agent was here\n")
        }
        Act::Connect(address, before) => {
            for _ in 0..before {
                TcpStream::connect(address)?;
            }
            TcpStream::connect(address).map(drop)
        }
        Act::KillGuard => {
            let pid = std::env::var("DEMO_GUARD_PID").ok().and_then(|pid| pid.parse().ok());
            let pid = nix::unistd::Pid::from_raw(pid.ok_or(io::ErrorKind::InvalidInput)?);
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).map_err(Into::into)
        }
        Act::LeaveAndExec(path) => {
            let root = std::env::var_os("DEMO_CGROUP_ROOT").ok_or(io::ErrorKind::InvalidInput)?;
            // Whether this works does not matter: the label stays.
            let _ = fs::write(Path::new(&root).join("cgroup.procs"), std::process::id().to_string());
            Command::new(path).stdout(Stdio::null()).status().map(drop)
        }
    }
}
