//! `guard ps`: what lives in which domain.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use guard_userspace::control::{Client, Overview, Request, SessionView};

use super::{Ending, places, term};

#[derive(Debug, clap::Args)]
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
        let overview: Overview = Client::connect(&self.run)?.ask(&Request::Sessions)?;
        if self.json {
            term::print_json(&serde_json::to_value(&overview)?)?;
        } else {
            term::print(&table(&overview, now()))?;
        }
        Ok(Ending::Fine)
    }
}

/// Two tables in at most 100 columns; what is longer is cut.
fn table(overview: &Overview, now: u64) -> String {
    let mut text = format!("{:44} {:16} {:>8} {:>6}\n", "DOMAIN", "MODE", "SESSIONS", "TASKS");
    for domain in overview.domains.iter().filter(|domain| domain.sessions + domain.tasks > 0) {
        let name = cut(&domain.policies.join("+"), 44);
        text += &format!("{name:44} {:16} {:>8} {:>6}\n", domain.mode, domain.sessions, domain.tasks);
    }
    text += &format!(
        "\n{:36} {:14} {:12} {:>5} {:>6}  {}\n",
        "SESSION", "POLICY", "PRINCIPAL", "TASKS", "AGE", "VERDICTS"
    );
    for session in &overview.sessions {
        text += &row(session, now);
    }
    text
}

fn row(session: &SessionView, now: u64) -> String {
    let counts: Vec<String> =
        session.verdicts.iter().map(|(verdict, count)| format!("{verdict} {count}")).collect();
    let principal = if session.principal.is_empty() { "-" } else { &session.principal };
    let mut row = format!(
        "{:36} {:14} {:12} {:>5} {:>6}  {}\n",
        session.session,
        cut(&session.policies.join("+"), 14),
        cut(principal, 12),
        session.tasks,
        age(now.saturating_sub(session.began)),
        cut(&counts.join(", "), 21),
    );
    row += &format!("  {}\n", cut(&session.cgroup, 98));
    if !session.purpose.is_empty() {
        row += &format!("  {}\n", cut(&session.purpose, 98));
    }
    row
}

/// Names may hold anything: nothing of it may steer a terminal.
pub(super) fn cut(text: &str, width: usize) -> String {
    let clean = text.chars().map(|c| if c.is_control() { '?' } else { c });
    if text.chars().count() <= width {
        clean.collect()
    } else {
        clean.take(width - 1).chain(['…']).collect()
    }
}

fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_fits_and_holds_no_control_character() {
        let session = SessionView {
            session: "4bf92f35-77b3-4da6-a3ce-929d0e0e4736".to_owned(),
            domain: 1,
            policies: vec!["a-policy-with-a-long-name".to_owned(), "another".to_owned()],
            cgroup: "/x".repeat(200),
            principal: "bad\u{1b}[31m".repeat(9),
            purpose: String::new(),
            trace: String::new(),
            began: 10,
            tasks: 12_345,
            verdicts: [("allow".to_owned(), 123_456), ("block".to_owned(), 99)].into(),
        };
        let text = table(&Overview { domains: Vec::new(), sessions: vec![session] }, 100);
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(text.contains("1m"), "{text}");
    }
}
