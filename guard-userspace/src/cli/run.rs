//! `guard run`: a command in a session of its own.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use guard_userspace::control::{Client, ControlError, Request, Run, Started, new_uuid};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use super::{enter, places};

/// As `env(1)` and `timeout(1)` have it: guard could not start the command.
pub(super) const NOT_STARTED: u8 = 125;
pub(super) const CANNOT_RUN: u8 = 126;
pub(super) const NOT_FOUND: u8 = 127;

/// How long a command whose daemon has gone may take to its cgroup: systemd may have been asked already.
const ARRIVAL: Duration = Duration::from_secs(5);

/// What is passed on to the command.
const FORWARDED: &[Signal] =
    &[Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGUSR2];

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exits with the command's status: 128 + N if signal N ended it, 125 if guard could not start \
    it, 126 if it cannot be run, 127 if there is no such command."
)]
pub(crate) struct Args {
    /// The policy the command is under
    #[arg(long, value_name = "NAME")]
    policy: String,
    /// On whose behalf it runs; your user if nothing is said
    #[arg(long, value_name = "WHO")]
    principal: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    purpose: Option<String>,
    /// The W3C trace it belongs to: 00-<trace id>-<span id>-<flags>
    #[arg(long, value_name = "TRACEPARENT", value_parser = trace_id)]
    trace: Option<String>,
    /// Run it as this user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Directory of sockets and runtime state
    #[arg(long, default_value = places::RUN)]
    run: PathBuf,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl Args {
    pub(crate) fn run(self) -> ExitCode {
        self.session().unwrap_or_else(|error| {
            eprintln!("guard run: {error:#}");
            NOT_STARTED.into()
        })
    }

    fn session(self) -> anyhow::Result<ExitCode> {
        // Before the child is there, or its end could be missed.
        let mut watched = SigSet::empty();
        FORWARDED.iter().chain([&Signal::SIGCHLD]).for_each(|signal| watched.add(*signal));
        watched.thread_block().context("watch for signals")?;
        let signals = SignalFd::with_flags(&watched, SfdFlags::SFD_CLOEXEC).context("watch for signals")?;
        let mut client = Client::connect(&self.run)?;
        let session = new_uuid().context("name the session")?;
        let name = session.clone();
        let mut child = self.child(&session).spawn().context("start the session's first process")?;
        let started = client.ask::<Started>(&Request::Run(Run {
            session,
            policy: self.policy,
            pid: child.id(),
            principal: self.principal,
            purpose: self.purpose,
            trace: self.trace,
        }));
        match started {
            Ok(_) => {}
            // A daemon that dies in this moment may have done what was asked: the next one knows the session.
            Err(ControlError::Io(_)) if arrives(&mut child, &name) => {}
            Err(refused) => {
                let _ = child.kill();
                let _ = child.wait();
                eprintln!("guard run: {refused}");
                return Ok(NOT_STARTED.into());
            }
        }
        drop(client);
        let status = wait(&mut child, &signals)?;
        // A daemon that is being replaced comes back, and forgets by itself what it finds ended.
        if let Ok(mut client) = Client::connect(&self.run) {
            let _ = client.ask::<usize>(&Request::End { session: name });
        }
        Ok(code(status).into())
    }

    /// `guard` once more, in the part that waits for its cgroup.
    fn child(&self, session: &str) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.args(["enter", "--session", session]);
        if let Some(user) = &self.user {
            command.arg("--user").arg(user);
        }
        command.arg("--").args(&self.command);
        command
    }
}

/// Whether the session's first process comes to its cgroup, though nobody says so any more. One that has ended has been
/// there, or says by its status that it has not.
fn arrives(child: &mut Child, session: &str) -> bool {
    let deadline = Instant::now() + ARRIVAL;
    let process = child.id().to_string();
    while !enter::is_in(&process, session).unwrap_or(false) && matches!(child.try_wait(), Ok(None)) {
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
    true
}

/// Passes signals on until the command has ended.
fn wait(child: &mut Child, signals: &SignalFd) -> anyhow::Result<ExitStatus> {
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    loop {
        if let Some(status) = child.try_wait().context("wait for the command")? {
            return Ok(status);
        }
        let Some(arrived) = signals.read_signal().context("wait for signals")? else { continue };
        let signal = i32::try_from(arrived.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
        // What the terminal sends has reached the command too: they are one group of processes.
        let from_terminal = arrived.ssi_code == SI_KERNEL;
        if let Some(signal) = signal.filter(|signal| *signal != Signal::SIGCHLD && !from_terminal) {
            let _ = kill(pid, signal);
        }
    }
}

/// `si_code` of a signal that the kernel itself sends.
const SI_KERNEL: i32 = 128;

/// As a shell counts it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// The trace id of a W3C `traceparent`.
fn trace_id(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str, length: usize| {
        part.len() == length
            && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    match parts.as_slice() {
        [version, trace, span, flags, ..]
            if hex(version, 2)
                && hex(trace, 32)
                && hex(span, 16)
                && hex(flags, 2)
                && trace.bytes().any(|byte| byte != b'0') =>
        {
            Ok((*trace).to_owned())
        }
        _ => Err("write it as in the header: 00-<32 hexadecimal digits>-<16>-<2>, in lower case".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_gives_its_trace() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace_id(&format!("00-{trace}-00f067aa0ba902b7-01")).as_deref(), Ok(trace));
        for wrong in ["", trace, "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "00-x-y-z"] {
            assert!(trace_id(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn statuses_count_as_in_a_shell() {
        assert_eq!(code(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(code(ExitStatus::from_raw(15)), 143);
    }
}
