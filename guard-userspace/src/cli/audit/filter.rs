//! The questions that the commands share.

use anyhow::Context as _;
use guard_userspace::audit::Clock;
use guard_userspace::audit::filter::{self, Address, Filter};
use guard_userspace::policy::glob::Glob;

/// Which records. All of what is given must be so.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Which records")]
pub(crate) struct Which {
    /// Not before: 2026-03-01, 2026-03-01T09:30 (UTC), or ago: 90s, 15m, 2h, 7d
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<u64>,
    /// Before, written the same way
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<u64>,
    /// decision, exec, enter, exit, lost, corrupt, daemon-start …
    #[arg(long, value_parser = filter::kind)]
    kind: Option<String>,
    /// A session's UUID or how it begins, or a W3C trace id
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// On whose behalf
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    /// A rule's id
    #[arg(long, value_name = "ID")]
    rule: Option<String>,
    /// block, escalate, sandbox, throttle or allow
    #[arg(long, value_parser = filter::verdict)]
    verdict: Option<String>,
    /// A reason code: rule, default, baseline, boundary, no-room …
    #[arg(long, value_name = "CODE", value_parser = filter::reason)]
    reason: Option<String>,
    /// exec, load, connect, listen, write, read or boundary
    #[arg(long, value_parser = filter::action)]
    action: Option<String>,
    /// A path pattern, as policies write them: /etc/**
    #[arg(long, value_name = "GLOB", value_parser = filter::path)]
    path: Option<Glob>,
    /// An address or network, with a port or without: 10.1.0.0/16, 10.1.2.3:443
    #[arg(long, value_name = "ADDRESS")]
    address: Option<Address>,
    /// A process
    #[arg(long)]
    pid: Option<u64>,
    /// Only what shadow rules, shadow policies or candidates would have decided more strictly
    #[arg(long)]
    candidate: bool,
}

/// For commands in which `--policy` is not something else.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Which records")]
pub(crate) struct Under {
    /// A policy with its profiles, or policy/profile
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
}

impl Under {
    pub(crate) fn filter(&self, which: &Which) -> Filter {
        Filter { policy: self.policy.clone(), ..which.filter() }
    }
}

impl Which {
    pub(crate) fn filter(&self) -> Filter {
        Filter {
            since: self.since,
            until: self.until,
            kind: self.kind.clone(),
            session: self.session.clone(),
            principal: self.principal.clone(),
            policy: None,
            rule: self.rule.clone(),
            verdict: self.verdict.clone(),
            reason: self.reason.clone(),
            action: self.action.clone(),
            path: self.path.clone(),
            address: self.address,
            pid: self.pid,
            candidate: self.candidate,
        }
    }
}

/// A time, some of which are told from now.
pub(crate) fn time(text: &str) -> anyhow::Result<u64> {
    let clock = Clock::now().context("read the clock")?;
    let now = clock.wall(Clock::boottime().context("read the clock")?);
    Ok(filter::time(text, now)?)
}
