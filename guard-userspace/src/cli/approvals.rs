//! `guard approvals`: the calls that wait, and answers to them.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args as ClapArgs, Subcommand};
use guard_userspace::approvals::{Request, parse_duration};
use guard_userspace::control::{self, Client};

use super::{Ending, places, term};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the calls that wait, oldest first
    List(List),
    /// Show everything that is known of one
    Show(Show),
    /// Let one go on
    Approve(Approve),
    /// Refuse one
    Deny(Deny),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Directory of runtime state
    #[arg(long, default_value = places::RUN)]
    run: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Show {
    /// Its number in the list
    id: u64,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Approve {
    /// Its number in the list
    id: u64,
    /// Why, for the record
    #[arg(long, default_value = "")]
    note: String,
    /// Answer every such call of the session so: the same program, the same action, the same object, the same argv
    #[arg(long)]
    for_session: bool,
    /// For how long, with --for-session: 10m, 8h; an hour if not said
    #[arg(long, requires = "for_session")]
    ttl: Option<String>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Deny {
    /// Its number in the list
    id: u64,
    /// Why, for the record
    #[arg(long, default_value = "")]
    note: String,
    #[command(flatten)]
    list: List,
}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        match self {
            Self::List(args) => list(&args),
            Self::Show(args) => one(&args.list, &control::Request::Approval { id: args.id }, "waits"),
            Self::Approve(args) => {
                let time = args.ttl.as_deref().map(parse_duration).transpose().context("--ttl")?;
                let session_seconds = args.for_session.then(|| time.map_or(0, |time| time.as_secs()));
                let request =
                    control::Request::Answer { id: args.id, approve: true, note: args.note, session_seconds };
                one(&args.list, &request, "approved")
            }
            Self::Deny(args) => {
                let request = control::Request::Answer {
                    id: args.id,
                    approve: false,
                    note: args.note,
                    session_seconds: None,
                };
                one(&args.list, &request, "denied")
            }
        }
    }
}

fn list(args: &List) -> anyhow::Result<Ending> {
    let waiting: Vec<Request> = Client::connect(&args.run)?.ask(&control::Request::Approvals)?;
    if args.json {
        term::print(&format!("{}\n", serde_json::to_string_pretty(&waiting)?))?;
        return Ok(Ending::Fine);
    }
    if waiting.is_empty() {
        term::print("nothing waits\n")?;
        return Ok(Ending::Fine);
    }
    let mut text = format!("{:>5}  {:>7}  {:>7}  {:8} WHAT\n", "ID", "WAITED", "LEFT", "ACTION");
    for request in waiting {
        text.push_str(&format!(
            "{:>5}  {:>6}s  {:>6}s  {:8} {}{}\n",
            request.id,
            request.waited_ms / 1000,
            request.left_ms / 1000,
            request.action,
            request.object,
            request.argv.iter().flatten().map(|word| format!(" {word}")).collect::<String>()
        ));
    }
    term::print(&text)?;
    Ok(Ending::Fine)
}

fn one(args: &List, request: &control::Request, done: &str) -> anyhow::Result<Ending> {
    let call: Request = Client::connect(&args.run)?.ask(request)?;
    if args.json {
        term::print(&format!("{}\n", serde_json::to_string_pretty(&call)?))?;
        return Ok(Ending::Fine);
    }
    let mut text = format!("{} {done}: {} {}\n", call.id, call.action, call.object);
    for (name, value) in [
        ("argv", call.argv.as_ref().map(|argv| argv.join(" ")).unwrap_or_default()),
        ("sha256", call.sha256.clone()),
        ("program", format!("{} (pid {}, thread {}, uid {})", call.exe, call.pid, call.tid, call.uid)),
        ("above it", call.lineage.join(", ")),
        ("cgroup", call.cgroup.clone()),
        ("session", call.session.clone()),
        ("policy", format!("{}, rule {}, generation {}", call.policy, call.rule, call.generation)),
        ("reason", call.reason.clone()),
        ("waited", format!("{} s, {} s left", call.waited_ms / 1000, call.left_ms / 1000)),
        ("bound to", call.digest.clone()),
    ] {
        if !value.is_empty() {
            text.push_str(&format!("  {name:9} {value}\n"));
        }
    }
    term::print(&text)?;
    Ok(Ending::Fine)
}
