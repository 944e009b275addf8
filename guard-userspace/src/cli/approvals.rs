//! `guard approvals`: the calls that wait, and answers to them.

use std::path::PathBuf;
use std::time::Duration;

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
    #[arg(long, requires = "for_session", value_parser = ttl)]
    ttl: Option<Duration>,
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
                let session_seconds = args.for_session.then(|| args.ttl.map_or(0, |time| time.as_secs()));
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
            action(&request),
            request.object,
            request.argv.iter().flatten().map(|word| format!(" {}", quoted(word))).collect::<String>()
        ));
    }
    term::print(&text)?;
    Ok(Ending::Fine)
}

/// The action, and by which kind of call where that says more: `write (unlink)`.
fn action(call: &Request) -> String {
    if call.op.is_empty() || call.op == call.action || call.op == "other" {
        return call.action.clone();
    }
    format!("{} ({})", call.action, call.op)
}

fn words(argv: &[String]) -> String {
    argv.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// A word so that it is seen where it begins and ends.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// `--ttl`: what is no time at all, and what is one and too short or too long.
fn ttl(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| {
        let count = text.strip_suffix(['s', 'm', 'h', 'd']).unwrap_or_default();
        if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
            error.to_string()
        } else if count.bytes().all(|byte| byte == b'0') {
            format!("`{text}` is over at once: write a time such as 10m")
        } else {
            format!("`{text}` is too long: write at most 366d")
        }
    })
}

fn one(args: &List, request: &control::Request, done: &str) -> anyhow::Result<Ending> {
    let call: Request = Client::connect(&args.run)?.ask(request)?;
    if args.json {
        term::print(&format!("{}\n", serde_json::to_string_pretty(&call)?))?;
        return Ok(Ending::Fine);
    }
    let mut text = format!("{} {done}: {} {}\n", call.id, action(&call), call.object);
    for (name, value) in [
        ("argv", words(call.argv.as_deref().unwrap_or_default())),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_seen_where_they_begin_and_end() {
        let argv = ["-rf", "a b", "", "it's", "$(x)", "--to=/srv/x"].map(str::to_owned);
        assert_eq!(words(&argv), r"-rf 'a b' '' 'it'\''s' '$(x)' --to=/srv/x");
    }

    #[test]
    fn a_time_that_is_too_short_or_too_long_is_told_apart_from_none() {
        assert_eq!(ttl("10m"), Ok(Duration::from_secs(600)));
        assert!(ttl("0s").unwrap_err().contains("over at once"));
        assert!(ttl("9999d").unwrap_err().contains("too long"));
        assert!(ttl("99999999999999999999h").unwrap_err().contains("too long"));
        assert!(ttl("soon").unwrap_err().contains("no length of time"));
    }

    #[test]
    fn the_kind_of_call_is_shown_where_it_says_more() {
        let call =
            |action: &str, op: &str| Request { action: action.into(), op: op.into(), ..Request::default() };
        assert_eq!(action(&call("write", "unlink")), "write (unlink)");
        assert_eq!(action(&call("exec", "exec")), "exec");
    }
}
