//! Legal, and worth a second look.

use std::collections::{BTreeMap, BTreeSet};

use crate::policy::diag::{Code, Diagnostic};
use crate::policy::glob::{Glob, Token};
use crate::policy::lang::{Effort, Globs, Tag};
use crate::policy::model::{
    Action, AuditArgv, Effect, OnLoss, Policy, Rule, Section, Sections, Verdict, needs_default,
};
use crate::policy::source::Span;

/// For the question of write and run: a tenth of a second.
const EFFORT: usize = 1_000_000;
/// Pairs of rules named for one kind of overlap; more would bury the rest.
const MAX_OVERLAPS: usize = 4;

pub(super) fn warnings(policy: &Policy) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    boundary(policy, &mut found);
    gateway(policy, &mut found);
    audit(policy, &mut found);
    for sections in
        std::iter::once(&policy.sections).chain(policy.profiles.iter().map(|profile| &profile.sections))
    {
        defaults(sections, &mut found);
        reasons(sections, &mut found);
    }
    unused_profiles(policy, &mut found);
    write_and_run(policy, &mut found);
    replaceable(policy, &mut found);
    if policy.tests.is_empty() {
        found.push(
            Diagnostic::new(Code::NoTests, policy.name.span, "this policy has no tests")
                .help("add `tests:`; a line such as `- { name: keys stay private, read: /root/.ssh/id_ed25519, expect: block }`"),
        );
    }
    found
}

fn boundary(policy: &Policy, found: &mut Vec<Diagnostic>) {
    for item in &policy.boundary.allow {
        let message = format!("this opens the boundary: `{}`", item.value.name());
        found.push(
            Diagnostic::new(Code::BoundaryOpened, item.span, message)
                .help("remove it unless the agent cannot work without; say why in a comment if it stays"),
        );
    }
}

fn gateway(policy: &Policy, found: &mut Vec<Diagnostic>) {
    for gateway in policy.gateways().filter(|gateway| !gateway.ip().is_loopback()) {
        let message = format!("the gateway {} is not on this host's loopback", gateway.value);
        found.push(
            Diagnostic::new(Code::GatewayNotLoopback, gateway.span, message)
                .help("whoever answers at that address decides what leaves; a gateway on 127.0.0.1 cannot be impersonated from the network"),
        );
    }
}

fn audit(policy: &Policy, found: &mut Vec<Diagnostic>) {
    if policy.audit.on_loss == OnLoss::Allow {
        found.push(
            Diagnostic::new(
                Code::LossAllowed,
                policy.name.span,
                "actions proceed even when there is no room for their record",
            )
            .help("write `on_loss: block` if the log must be complete"),
        );
    }
    if policy.audit.argv == AuditArgv::Text {
        found.push(
            Diagnostic::new(
                Code::ArgvInLog,
                policy.name.span,
                "arguments are recorded as text, and they often hold secrets",
            )
            .help("write `argv: digest` unless the log is as well kept as the secrets"),
        );
    }
}

fn defaults(sections: &Sections, found: &mut Vec<Diagnostic>) {
    for (action, section) in sections.iter() {
        let Some(default) = section.default.as_ref().filter(|default| default.value == Effect::Allow) else {
            continue;
        };
        if needs_default(action) {
            let message = format!("`{}` allows everything that no rule names", action.name());
            found.push(
                Diagnostic::new(Code::DefaultAllow, default.span, message)
                    .help("write `default: block` and name what is needed; `guard learn` proposes it from what the agent does"),
            );
        }
        for rule in section.rules.iter().filter(|rule| rule.effect.value == Effect::Allow) {
            let message =
                format!("the rule `{}` changes nothing: what no rule names is allowed anyway", rule.id.value);
            found.push(
                Diagnostic::new(Code::ChangesNothing, rule.id.span, message)
                    .related(default.span, "the default")
                    .help("remove the rule, or block by default; an allow never overrides a stricter rule"),
            );
        }
    }
}

fn reasons(sections: &Sections, found: &mut Vec<Diagnostic>) {
    for rule in sections.iter().flat_map(|(_, section)| &section.rules) {
        if rule.reason.is_none() && !matches!(rule.effect.value, Effect::Allow) {
            let verdict = rule.effect.verdict().name();
            found.push(
                Diagnostic::new(
                    Code::NoReason,
                    rule.id.span,
                    format!("the rule `{}` says {verdict} and not why", rule.id.value),
                )
                .help("add `reason:`, the sentence that the agent and its owner will read"),
            );
        }
    }
}

fn unused_profiles(policy: &Policy, found: &mut Vec<Diagnostic>) {
    let profiles = policy.profiles.iter().map(|profile| &profile.sections);
    let rules = std::iter::once(&policy.sections)
        .chain(profiles)
        .flat_map(Sections::iter)
        .flat_map(|(_, s)| &s.rules);
    let used: BTreeSet<&str> = rules
        .filter_map(|rule| match &rule.effect.value {
            Effect::Sandbox { profile } => Some(profile.as_str()),
            Effect::Allow | Effect::Throttle(_) | Effect::Escalate | Effect::Block => None,
        })
        .collect();
    for profile in policy.profiles.iter().filter(|profile| !used.contains(profile.name.as_str())) {
        found.push(
            Diagnostic::new(
                Code::UnusedProfile,
                profile.name.span,
                format!("no rule leads into the profile `{}`", profile.name.value),
            )
            .help("remove it, or add a rule with `verdict: sandbox` and this profile"),
        );
    }
}

/// What one section answers for a class of paths, and the rule that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Said {
    verdict: Verdict,
    /// `None`: the default.
    rule: Option<usize>,
}

/// Files that the agent can both write and run. Run means exec, or load: the program loader maps a file that was
/// never executed, so a load rule laxer than exec's is a way around it.
fn write_and_run(policy: &Policy, found: &mut Vec<Diagnostic>) {
    let mut globs = Globs::default();
    let actions = [Action::Write, Action::Exec, Action::Load];
    for (index, action) in actions.into_iter().enumerate() {
        for (number, rule) in
            ruled(policy, action).iter().enumerate().filter(|(_, rule)| rule.args.is_empty())
        {
            let tag = tag(index, number);
            globs.add_all(tag, &rule.paths);
            globs.add_all(tag + 3, &rule.except);
        }
    }
    let mut seen: BTreeMap<(usize, Option<usize>, Option<usize>), Vec<u8>> = BTreeMap::new();
    globs.walk(
        &Effort::new(EFFORT),
        // The write rules' tags are those divisible by three; without one of them nothing is written.
        |tags| tags.iter().any(|tag| tag % 3 == 0),
        |tags, example| {
            let [write, exec, load] = [0, 1, 2].map(|index| said(policy, actions[index], index, tags));
            let lax = |said: Said| said.verdict <= Verdict::Throttle;
            // Nothing below /dev is a program, and everything may write to some of it.
            if lax(write) && write.rule.is_some() && !example().starts_with(b"/dev/") {
                if lax(exec) {
                    seen.entry((1, write.rule, exec.rule)).or_insert_with(example);
                } else if lax(load) {
                    seen.entry((2, write.rule, load.rule)).or_insert_with(example);
                }
            }
            true
        },
    );
    for ((index, write, run), example) in seen.into_iter().take(MAX_OVERLAPS) {
        found.push(overlap(policy, actions[index], write, run, &example));
    }
}

/// Directories whose content is protected and whose name is not: the agent renames the directory away and another into
/// its place, and never writes below it.
fn replaceable(policy: &Policy, found: &mut Vec<Diagnostic>) {
    let rules = ruled(policy, Action::Write);
    let mut globs = Globs::default();
    let mut directories: Vec<&Glob> = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        let rule_tag = tag(0, number);
        globs.add_all(rule_tag, &rule.paths);
        globs.add_all(rule_tag + 3, &rule.except);
        let protects = rule.effect.verdict() > Verdict::Throttle && !rule.shadow;
        for glob in if protects { &rule.paths } else { &rule.except } {
            if let Some(directory) = directory_of(glob) {
                globs.add(directory_tag(directories.len()), &directory);
                directories.push(glob);
            }
        }
    }
    // The shortest path of each directory that may be written, and the rule that says so.
    let mut open: BTreeMap<usize, (Vec<u8>, usize)> = BTreeMap::new();
    globs.walk(
        &Effort::new(EFFORT),
        |tags| tags.iter().any(|tag| tag % 3 == 1),
        |tags, example| {
            let said = said(policy, Action::Write, 0, tags);
            let winner = said.rule.filter(|_| said.verdict <= Verdict::Throttle);
            for tag in tags.iter().filter(|tag| **tag % 3 == 1) {
                if let Some(winner) = winner {
                    open.entry(*tag as usize / 3).or_insert_with(|| (example(), winner));
                }
            }
            true
        },
    );
    for (index, (example, winner)) in open {
        let (glob, winner) = (directories[index], &rules[winner]);
        let example = String::from_utf8_lossy(&example).into_owned();
        let instead = glob.text.strip_suffix("/**").unwrap_or(&glob.text);
        let message = format!(
            "this protects what is below `{example}`, and not the directory: it can be renamed and replaced"
        );
        found.push(
            Diagnostic::new(Code::ReplaceableDirectory, glob.span, message)
                .related(winner.id.span, "what lets it be renamed")
                .help(format!("write `{instead}{{,/**}}`, the directory and what is below it")),
        );
    }
}

/// Rules' tags are divisible by three here, so these are no rule's.
fn directory_tag(index: usize) -> Tag {
    Tag::try_from(index * 3 + 1).unwrap_or(1)
}

/// The directory whose content a glob is about, if it is about that.
fn directory_of(glob: &Glob) -> Option<Glob> {
    let [head @ .., Token::Literal(last), Token::Below] = glob.tokens.as_slice() else { return None };
    let mut tokens = head.to_vec();
    let name = last.strip_suffix(b"/")?;
    // `/workspace/**` is a mount or a place that stays; what is looked for has a name within something.
    if !name.is_empty() {
        tokens.push(Token::Literal(name.to_vec()));
    }
    Some(Glob { tokens, ..glob.clone() })
}

/// Rule `number` of the section with this index; its except is three further.
fn tag(index: usize, number: usize) -> Tag {
    Tag::try_from((number * 2) * 3 + index).unwrap_or(0)
}

fn ruled(policy: &Policy, action: Action) -> &[Rule] {
    policy.sections.get(action).map_or(&[], |section: &Section| &section.rules)
}

fn said(policy: &Policy, action: Action, index: usize, tags: &[Tag]) -> Said {
    let rules = ruled(policy, action).iter().enumerate();
    let matching = rules.filter(|(number, _)| {
        let tag = tag(index, *number);
        tags.contains(&tag) && !tags.contains(&(tag + 3))
    });
    let strictest = matching.map(|(number, rule)| (rule.effect.verdict(), std::cmp::Reverse(number))).max();
    match strictest {
        Some((verdict, number)) => Said { verdict, rule: Some(number.0) },
        None => Said { verdict: policy.default_for(action).verdict(), rule: None },
    }
}

fn overlap(
    policy: &Policy,
    action: Action,
    write: Option<usize>,
    run: Option<usize>,
    example: &[u8],
) -> Diagnostic {
    let place = |action: Action, rule: Option<usize>| -> (Span, String) {
        let section = policy.sections.get(action);
        match (
            rule.and_then(|number| ruled(policy, action).get(number)),
            section.and_then(|s| s.default.as_ref()),
        ) {
            (Some(rule), _) => (rule.id.span, format!("`{}`", rule.id.value)),
            (None, Some(default)) => (default.span, format!("the default of `{}`", action.name())),
            (None, None) => {
                (policy.name.span, format!("`{}`, which is not stated and so allows", action.name()))
            }
        }
    };
    let (span, writer) = place(Action::Write, write);
    let (other, runner) = place(action, run);
    let example = String::from_utf8_lossy(example);
    let (message, help) = if action == Action::Exec {
        (
            format!("what can be written here can also be run: `{example}`, by {writer} and {runner}"),
            "send what runs from there into a tighter life with `verdict: sandbox`, or keep the two apart",
        )
    } else {
        (
            format!(
                "what can be written here can be run through the program loader: `{example}`, by {writer} and {runner}"
            ),
            "give `load` the same answer for these paths as `exec` has",
        )
    };
    Diagnostic::new(Code::WriteAndExec, span, message).related(other, "what lets it run").help(help)
}
