//! `guard policy explain FILE --exec … | --write … | …`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::ArgGroup;
use guard_userspace::compile::explain::Compiled;
use guard_userspace::policy::decide::{Decider as _, Decision, Why};
use guard_userspace::policy::matching::{Matched, carved, matching};
use guard_userspace::policy::model::{Action, Effect, Mode, Policy, Request, Rule};
use guard_userspace::policy::parse::request;
use guard_userspace::policy::source::Span;

use super::super::{Ending, term};
use super::load_one;

#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("request").required(true).args(["exec", "load", "connect", "listen", "write", "read"]))]
pub(crate) struct Args {
    /// The policy file
    file: PathBuf,
    /// A program's path and its arguments; those that begin with `-` go behind `--`
    #[arg(long, num_args = 1.., value_names = ["PATH", "ARG"])]
    exec: Vec<String>,
    /// The path of a library or program that is mapped executable
    #[arg(long, value_name = "PATH")]
    load: Option<String>,
    /// `10.1.2.3:443/tcp`, the path of a unix socket, or `@name`
    #[arg(long, value_name = "PEER")]
    connect: Option<String>,
    /// A local port: `8080/tcp`
    #[arg(long, value_name = "PORT")]
    listen: Option<String>,
    /// The path of a file to change
    #[arg(long, value_name = "PATH")]
    write: Option<String>,
    /// The path of a file to read
    #[arg(long, value_name = "PATH")]
    read: Option<String>,
    /// Ask as a task that lives in this profile
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    /// More arguments of --exec
    #[arg(last = true, requires = "exec")]
    args: Vec<String>,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        let policy = match load_one(&self.file) {
            Ok(policy) => policy,
            Err(ending) => return Ok(ending),
        };
        let (action, words) = self.words();
        let asked = match request(action, &words) {
            Ok(asked) => asked,
            Err(help) => {
                eprintln!("guard: cannot ask about {action} `{}`: {help}", words.join(" "));
                return Ok(Ending::Usage);
            }
        };
        if let Some(name) = self.profile.as_deref().filter(|name| policy.profile(name).is_none()) {
            let known: Vec<&str> = policy.profiles.iter().map(|profile| profile.name.as_str()).collect();
            let has = if known.is_empty() {
                "none at all".to_owned()
            } else {
                format!("these: {}", known.join(", "))
            };
            eprintln!("guard: the policy has no profile `{name}`; it has {has}");
            return Ok(Ending::Usage);
        }
        let profile = self.profile.as_deref();
        let decision = decider(&policy)?.decide(&asked, profile);
        let matched = matching(&policy, profile, &asked);
        if self.json {
            term::print_json(&json(&policy, &asked, profile, &decision, &matched))?;
        } else {
            term::print(&text(&policy, &asked, profile, &decision, &matched))?;
        }
        Ok(Ending::Fine)
    }

    fn words(&self) -> (Action, Vec<String>) {
        if !self.exec.is_empty() {
            return (Action::Exec, self.exec.iter().chain(&self.args).cloned().collect());
        }
        let one = [
            (Action::Load, &self.load),
            (Action::Connect, &self.connect),
            (Action::Listen, &self.listen),
            (Action::Write, &self.write),
            (Action::Read, &self.read),
        ];
        let given = one.into_iter().find_map(|(action, word)| Some((action, vec![word.clone()?])));
        given.unwrap_or((Action::Read, Vec::new()))
    }
}

/// What the kernel will answer for `policy`: the compiled plan, asked as the kernel asks it.
pub(super) fn decider(policy: &Policy) -> anyhow::Result<Compiled> {
    let file = policy.source.path.display();
    Compiled::new(&Arc::new(policy.clone())).with_context(|| format!("cannot compile {file}"))
}

/// The source of an answer in words.
pub(super) fn why_text(policy: &Policy, action: Action, why: &Why) -> String {
    match why {
        Why::Rule(id) => match find(policy, id) {
            Some(rule) => format!("rule `{id}` (line {})", rule.id.span.line),
            None => format!("rule `{id}`"),
        },
        Why::Default => format!("the default of {action}: no rule matches"),
        Why::Gateway => "the gateway".to_owned(),
        Why::Baseline(line) => format!("guard's own baseline: {line}; no policy opens it"),
    }
}

pub(super) const fn why_json(why: &Why) -> &'static str {
    match why {
        Why::Rule(_) => "rule",
        Why::Default => "default",
        Why::Gateway => "gateway",
        Why::Baseline(_) => "baseline",
    }
}

fn find<'a>(policy: &'a Policy, id: &str) -> Option<&'a Rule> {
    let profiles = policy.profiles.iter().map(|profile| &profile.sections);
    let mut sections = std::iter::once(&policy.sections).chain(profiles);
    sections.find_map(|sections| {
        sections.iter().flat_map(|(_, section)| &section.rules).find(|rule| rule.id.value == id)
    })
}

fn text(
    policy: &Policy,
    asked: &Request,
    profile: Option<&str>,
    decision: &Decision,
    matched: &[Matched<'_>],
) -> String {
    let action = asked.action();
    let life = profile.map_or(String::new(), |profile| format!("  (in profile {profile})"));
    let mut out = format!("{}  {action} {asked}{life}\n", decision.verdict.name().to_uppercase());
    out.push_str(&format!("  because  {}\n", why_text(policy, action, &decision.why)));
    let winner = match &decision.why {
        Why::Rule(id) => find(policy, id),
        Why::Default | Why::Gateway | Why::Baseline(_) => None,
    };
    if let Some(rule) = winner {
        for (name, words) in [("reason", &rule.reason), ("remedy", &rule.remedy)] {
            if let Some(words) = words {
                out.push_str(&format!("  {name}   {}\n", words.value));
            }
        }
        if let Some(detail) = detail(rule) {
            out.push_str(&format!("  {detail}\n"));
        }
    }
    if let Some((verdict, rule)) = &decision.shadow {
        out.push_str(&format!("  shadow   `{rule}` would say {verdict}, and is in shadow\n"));
    }
    if policy.mode == Mode::Shadow {
        out.push_str("  mode     shadow: this is recorded, and the call is let through\n");
    }
    if policy.candidate_for.is_some() {
        out.push_str(
            "  mode     candidate: this is recorded beside the active policy's answer, never enforced\n",
        );
    }
    match (winner, default_span(policy, profile, action)) {
        (Some(rule), _) => out.push_str(&excerpt(policy, rule.span)),
        (None, Some(span)) if decision.why == Why::Default => out.push_str(&excerpt(policy, span)),
        (None, _) => {}
    }
    let others: Vec<&Matched<'_>> =
        matched.iter().filter(|other| winner.is_none_or(|rule| other.rule.id != rule.id)).collect();
    if !others.is_empty() {
        out.push_str("\n  also matches\n");
        others.iter().for_each(|other| out.push_str(&also(policy, other)));
    }
    let carved = carved(policy, profile, asked);
    if !carved.is_empty() {
        out.push_str("\n  would match but for its except\n");
        carved.iter().for_each(|other| out.push_str(&also(policy, other)));
    }
    out
}

fn detail(rule: &Rule) -> Option<String> {
    match &rule.effect.value {
        Effect::Sandbox { profile } => {
            Some(format!("then     the task and its tree live in profile `{}`", profile.value))
        }
        Effect::Throttle(budget) => Some(format!(
            "budget   {} per {:?}, {} at once; over it EAGAIN",
            budget.count, budget.per, budget.burst
        )),
        Effect::Allow | Effect::Escalate | Effect::Block => None,
    }
}

fn also(policy: &Policy, other: &Matched<'_>) -> String {
    let rule = other.rule;
    let of = other.profile.map_or(String::new(), |profile| format!(", profile {profile}"));
    let shadow = if rule.shadow { ", in shadow" } else { "" };
    format!(
        "    {:<9} {}  ({}:{}{of}{shadow})  by {}\n",
        rule.effect.verdict().name(),
        rule.id.value,
        policy.source.path.display(),
        rule.id.span.line,
        policy.source.slice(other.by),
    )
}

/// Where the default that answers is written.
fn default_span(policy: &Policy, profile: Option<&str>, action: Action) -> Option<Span> {
    let own = policy.sections.get(action).and_then(|section| section.default.as_ref());
    let theirs =
        profile.and_then(|name| policy.profile(name)).and_then(|profile| profile.sections.get(action));
    let theirs = theirs.and_then(|section| section.default.as_ref());
    let stricter = |a: &Effect, b: &Effect| a.verdict() > b.verdict();
    match (own, theirs) {
        (Some(own), Some(theirs)) if stricter(&theirs.value, &own.value) => Some(theirs.span),
        (Some(own), _) => Some(own.span),
        (None, theirs) => theirs.map(|default| default.span),
    }
}

/// The lines of the file that a span covers.
fn excerpt(policy: &Policy, span: Span) -> String {
    let source = &policy.source;
    let lines = source.slice(span).matches('\n').count();
    let last = span.line + u32::try_from(lines).unwrap_or(0);
    let width = last.to_string().len();
    let mut out = format!("\n  {}\n", source.path.display());
    for line in span.line..=last {
        out.push_str(&format!("  {line:>width$} | {}\n", source.line(line)));
    }
    out
}

fn json(
    policy: &Policy,
    asked: &Request,
    profile: Option<&str>,
    decision: &Decision,
    matched: &[Matched<'_>],
) -> serde_json::Value {
    let rule = |rule: &Rule| {
        serde_json::json!({
            "id": rule.id.value,
            "verdict": rule.effect.verdict().name(),
            "reason": rule.reason.as_ref().map(|reason| reason.value.clone()),
            "remedy": rule.remedy.as_ref().map(|remedy| remedy.value.clone()),
            "shadow": rule.shadow,
            "file": policy.source.path.display().to_string(),
            "line": rule.id.span.line,
            "yaml": policy.source.slice(rule.span),
        })
    };
    let winner = match &decision.why {
        Why::Rule(id) => find(policy, id).map(rule),
        Why::Default | Why::Gateway | Why::Baseline(_) => None,
    };
    let baseline = match &decision.why {
        Why::Baseline(id) => Some(id.as_str()),
        Why::Rule(_) | Why::Default | Why::Gateway => None,
    };
    serde_json::json!({
        "policy": policy.name.value,
        "mode": policy.mode.name(),
        "action": asked.action().name(),
        "object": asked.to_string(),
        "profile": profile,
        "verdict": decision.verdict.name(),
        "because": why_json(&decision.why),
        "rule": winner,
        "baseline": baseline,
        "shadow": decision.shadow.as_ref().map(|(verdict, rule)| serde_json::json!({ "verdict": verdict.name(), "rule": rule })),
        "matched": matched.iter().map(|other| {
            let mut value = rule(other.rule);
            value["by"] = policy.source.slice(other.by).into();
            value["profile"] = other.profile.into();
            value
        }).collect::<Vec<_>>(),
    })
}
