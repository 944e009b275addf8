//! `guard status`: what is enforced, from the kernel.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use guard_userspace::drill::last::Last;
use guard_userspace::kernel::Pins;
use guard_userspace::status::Status;

use super::{Ending, places, term};

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Directory of runtime state
    #[arg(long, default_value = places::RUN)]
    run: PathBuf,
    /// Directory of the audit log, beside which the last drill's result lies
    #[arg(long, default_value = places::STATE)]
    state: PathBuf,
    /// Directory of pins
    #[arg(long, default_value = places::PINS)]
    pins: PathBuf,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        let mut status = Status::ask(&Pins::at(self.pins), &self.run);
        status.drill = Some(Last::read(&self.state));
        if self.json {
            term::show(&format!("{}\n", serde_json::to_string_pretty(&status)?))?;
        } else {
            term::show(&text(&status))?;
        }
        Ok(if status.enforcing && !status.degraded { Ending::Fine } else { Ending::Finding })
    }
}

fn text(status: &Status) -> String {
    let mut text = String::new();
    let word = if status.enforcing && status.degraded {
        "enforcing, with something amiss"
    } else if status.enforcing {
        "enforcing"
    } else if status.degraded {
        "DEGRADED"
    } else {
        "NOT ENFORCING"
    };
    text.push_str(&format!("{word}\n"));
    for reason in &status.reasons {
        text.push_str(&format!("  {reason}\n"));
    }
    if status.hooks.is_empty() {
        return text;
    }
    text.push('\n');
    text.push_str(&format!("generation  {}  sha256 {:.16}\n", status.generation, status.policy_sha256));
    text.push_str(&format!("programs    build {}\n", status.build));
    match &status.daemon {
        Some(daemon) => {
            text.push_str(&format!("daemon      pid {}, version {}\n", daemon.pid, daemon.version))
        }
        None => {
            text.push_str("daemon      none answers: what is decided waits in the kernel to be recorded\n")
        }
    }
    let attached = status.hooks.values().filter(|state| state.as_str() == "attached").count();
    text.push_str(&format!("hooks       {attached} attached, {} not\n", status.hooks.len() - attached));
    for (name, state) in status.hooks.iter().filter(|(_, state)| state.as_str() != "attached") {
        text.push_str(&format!("            {name}: {state}\n"));
    }
    text.push_str(&format!("governed    {} cgroups, {} processes\n", status.cgroups, status.tasks));
    for policy in &status.policies {
        text.push_str(&format!("policy      {:24} {:8} {}\n", policy.name, policy.mode, policy.file));
    }
    for gateway in &status.gateways {
        let word = match gateway.up {
            Some(true) => "up",
            Some(false) => "DOWN",
            None => "not asked yet",
        };
        let why = gateway.why.as_deref().unwrap_or_default();
        text.push_str(&format!("gateway     {:24} {word:8} {why}\n", gateway.address));
    }
    let (sent, ended) = status.sessions.iter().fold((0, 0), |(sent, ended), session| {
        (sent + session.bytes_out, ended + usize::from(session.spent_at.is_some()))
    });
    text.push_str(&format!(
        "sent        {sent} bytes by sessions with a limit ({} sessions in all), {ended} at their limit\n",
        status.sessions.len()
    ));
    if let Some(drill) = &status.drill {
        text.push_str(&format!("drill       {}\n", told(drill)));
    }
    let counted: Vec<String> = status
        .counters
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(site, count)| format!("{site} {count}"))
        .collect();
    text.push_str(&format!("counters    {}\n", counted.join(", ")));
    text
}

/// How the last drill ended and how long ago: what is old is said to be old, however it ended.
fn told(drill: &Last) -> String {
    let age = match drill.age_seconds {
        seconds @ ..7200 => format!("{} min ago", seconds / 60),
        seconds => format!("{} h ago", seconds / 3600),
    };
    match drill.state {
        "never" => "never run; `guard drill` shows whether a way round works".to_owned(),
        "stale" => format!("STALE: {age}, which says nothing of now; run `guard drill`"),
        "green" => format!("green, {} drills, {age}", drill.green),
        _ => format!("GAP: {} of {}, {age}; `guard drill` says which", drill.gap, drill.gap + drill.green),
    }
}
