//! `guard why`: run by an agent, what it was refused, and what to do instead.

use std::path::PathBuf;

use guard_userspace::why::{self, Account, Outcome, Refused};

use super::ps::cut;
use super::{Ending, places, term};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Run it inside a domain: it tells the last refusals, throttles and holds of the session that \
    it runs in, the newest first, and of no other. The policy must let the agent run `guard`; the socket that is asked \
    is open in every policy. The daemon remembers them since its own start.\n\nExit codes: 0 told, 2 wrong usage, 3 \
    cannot (no daemon, or run outside every domain)."
)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Directory of sockets and runtime state
    #[arg(long, default_value = places::RUN)]
    run: PathBuf,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        let account = why::ask(&self.run)?;
        if self.json {
            term::print_json(&serde_json::to_value(&account)?)?;
        } else {
            term::print(&text(&account))?;
        }
        Ok(Ending::Fine)
    }
}

/// `2026-03-01T09:30:00Z`: nobody asks about nanoseconds.
fn second(time: &str) -> String {
    time.split_once('.').map_or_else(|| time.to_owned(), |(second, _)| format!("{second}Z"))
}

fn text(account: &Account) -> String {
    let since = second(&account.since);
    if account.refusals.is_empty() {
        return format!("session {}: nothing was refused or held since {since}\n", account.session);
    }
    let mut text = format!("session {}, since {since}, the newest first\n", account.session);
    account.refusals.iter().for_each(|refused| text += &paragraph(refused));
    if account.forgotten > 0 {
        text += &format!("\n{} before these are not remembered any more\n", account.forgotten);
    }
    text
}

fn paragraph(refused: &Refused) -> String {
    let what = match (refused.outcome, refused.verdict.as_str()) {
        (Outcome::Waiting, _) => "held",
        (Outcome::Approved, _) => "held and approved",
        (Outcome::Void, _) => "held, and its process is gone",
        (Outcome::Refused, "throttle") => "throttled",
        (Outcome::Refused, "escalate") => "held and refused",
        (Outcome::Refused, _) => "blocked",
    };
    let times = if refused.times > 1 { format!(", {} times", refused.times) } else { String::new() };
    let mut text = format!(
        "\n{}  {what}{times}: {} {}\n",
        second(&refused.time),
        refused.action,
        cut(&refused.object, usize::MAX)
    );
    let of = if refused.policy.is_empty() { String::new() } else { format!(" of {}", refused.policy) };
    let reason = if refused.rule == refused.reason_code || refused.reason_code == "rule" {
        refused.reason.clone()
    } else {
        format!("{} ({})", refused.reason, refused.reason_code)
    };
    let next = match (refused.outcome, refused.retry_after_ms) {
        (Outcome::Waiting, _) => {
            "it goes on once somebody has answered; there is nothing to do but wait".to_owned()
        }
        (_, Some(0)) => "try again now".to_owned(),
        (_, Some(wait)) => format!("try again in {} s", wait.div_ceil(1000)),
        (Outcome::Refused | Outcome::Approved | Outcome::Void, None) => String::new(),
    };
    for (name, value) in [
        ("rule", format!("{}{of}", refused.rule)),
        ("reason", reason),
        ("remedy", refused.remedy.clone()),
        ("next", next),
    ] {
        if !value.is_empty() {
            text += &format!("  {name:6}  {}\n", cut(&value, usize::MAX));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Refused {
        Refused {
            time: "2026-03-01T09:30:00.123456789Z".to_owned(),
            times: 3,
            verdict: "throttle".to_owned(),
            action: "read".to_owned(),
            object: "/srv/data".to_owned(),
            policy: "coding-agent".to_owned(),
            rule: "few".to_owned(),
            reason_code: "over-budget".to_owned(),
            reason: "slow\u{1b}[2J".to_owned(),
            remedy: "read less".to_owned(),
            errno: 11,
            retry_after_ms: Some(1500),
            ..Refused::default()
        }
    }

    #[test]
    fn a_throttle_says_how_often_why_what_else_and_when() {
        let text = paragraph(&refused());
        for part in [
            "09:30:00Z  throttled, 3 times: read /srv/data",
            "few of coding-agent",
            "(over-budget)",
            "read less",
            "in 2 s",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn nothing_refused_says_since_when() {
        let account = Account {
            session: "s".to_owned(),
            since: "2026-03-01T09:30:00.5Z".to_owned(),
            forgotten: 0,
            refusals: Vec::new(),
        };
        assert!(text(&account).contains("nothing was refused or held since 2026-03-01T09:30:00Z"));
    }
}
