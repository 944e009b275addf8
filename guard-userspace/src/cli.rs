//! The command line: one subcommand per file.

mod approvals;
mod audit;
mod bench;
mod daemon;
mod discover;
#[cfg(test)]
mod docs;
mod doctor;
mod drill;
mod enter;
mod generate;
mod glass;
mod learn;
mod mode;
mod places;
mod policy;
mod ps;
mod run;
mod status;
mod term;
mod why;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use guard_userspace::control::Act;

/// A host agent that makes the Linux kernel say what an AI agent may do.
#[derive(Debug, Parser)]
#[command(name = "guard", version, propagate_version = true, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str =
    "Exit codes: 0 fine, 1 a finding, 2 wrong usage, 3 cannot (host not able, no daemon, file unreadable).";

#[derive(Debug, Subcommand)]
enum Command {
    /// Enforce the policies and keep the audit log; the service runs this
    Daemon(daemon::Args),
    /// Say what is enforced, as the kernel holds it
    Status(status::Args),
    /// Say what this host can enforce, and the mend for what it cannot
    Doctor(doctor::Args),
    /// Show the calls that wait for an answer, and answer them
    #[command(subcommand)]
    Approvals(approvals::Command),
    /// Run by an agent: what it was refused, why, and what to do instead
    Why(why::Args),
    /// Start a command in a session of its own under a policy
    Run(run::Args),
    /// What runs inside: domains, sessions, on whose behalf, tasks and verdicts
    Ps(ps::Args),
    /// Stop everything that runs in a session, at once
    Freeze(glass::Args),
    /// Let a frozen session go on
    Thaw(glass::Args),
    /// Kill a session: nothing of it survives
    Kill(glass::Args),
    /// Find processes that look like agents and are outside every domain
    Discover(discover::Args),
    /// What `guard run` becomes before it becomes the command
    #[command(hide = true)]
    Enter(enter::Args),
    /// Write manual pages and completions; packages are made with it
    #[command(hide = true)]
    Generate(generate::Args),
    /// Show that no known way around works on this host
    Drill(drill::Args),
    #[command(hide = true)]
    DrillLaunch(drill::Launch),
    /// Verify and ask the audit log
    #[command(subcommand)]
    Audit(audit::Command),
    /// Put a policy into another mode, or say what shadow mode would have blocked
    Mode(mode::Args),
    /// Write a least-privilege policy from what sessions did
    Learn(learn::Args),
    /// Measure what guard costs on this host
    Bench(bench::Args),
    /// Check, test, explain, compare and format policies; needs no root and no daemon
    #[command(subcommand)]
    Policy(policy::Command),
}

/// How a command ended, as its exit code says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    Fine,
    Finding,
    Usage,
    Cannot,
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Fine => Self::SUCCESS,
            Ending::Finding => Self::from(1),
            Ending::Usage => Self::from(2),
            Ending::Cannot => Self::from(3),
        }
    }
}

pub(crate) fn run() -> ExitCode {
    let ending = match Cli::parse().command {
        Command::Daemon(args) => args.run(),
        Command::Status(args) => args.run(),
        Command::Doctor(args) => args.run(),
        Command::Approvals(command) => command.run(),
        Command::Why(args) => args.run(),
        Command::Run(args) => return args.run(),
        Command::Ps(args) => args.run(),
        Command::Freeze(args) => args.run(Act::Freeze),
        Command::Thaw(args) => args.run(Act::Thaw),
        Command::Kill(args) => args.run(Act::Kill),
        Command::Discover(args) => args.run(),
        Command::Enter(args) => return args.run(),
        Command::Generate(args) => args.run(),
        Command::Drill(args) => args.run(),
        Command::DrillLaunch(args) => args.run(),
        Command::Audit(command) => command.run(),
        Command::Mode(args) => args.run(),
        Command::Learn(args) => args.run(),
        Command::Bench(args) => args.run(),
        Command::Policy(command) => command.run(),
    };
    match ending {
        Ok(ending) => ending.into(),
        // Whoever reads our output has gone; that is not our failure.
        Err(error) if broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => failed(error),
    }
}

fn failed(error: anyhow::Error) -> ExitCode {
    eprintln!("guard: {error:#}");
    Ending::Cannot.into()
}

fn broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
