//! Names that must exist: profiles, rules, the policy a candidate is for; and a time-out for what escalates.

use std::collections::BTreeMap;

use crate::policy::diag::{Code, Diagnostic};
use crate::policy::model::{Effect, Policy, Rule, Sections};
use crate::policy::parse::{Cx, choices, did_you_mean, shown};
use crate::policy::source::{Span, Spanned};

pub(super) fn check(policy: &Policy, cx: &mut Cx) {
    profiles(policy, cx);
    cycles(policy, cx);
    escalation(policy, cx);
    tests(policy, cx);
    candidate(policy, cx);
}

/// Every section list of the document: the policy's own, then each profile's.
fn all_sections(policy: &Policy) -> impl Iterator<Item = &Sections> {
    std::iter::once(&policy.sections).chain(policy.profiles.iter().map(|profile| &profile.sections))
}

fn rules(sections: &Sections) -> impl Iterator<Item = &Rule> {
    sections.iter().flat_map(|(_, section)| &section.rules)
}

fn target(rule: &Rule) -> Option<&Spanned<String>> {
    match &rule.effect.value {
        Effect::Sandbox { profile } => Some(profile),
        Effect::Allow | Effect::Throttle(_) | Effect::Escalate | Effect::Block => None,
    }
}

fn unknown_profile(cx: &mut Cx, name: &Spanned<String>) {
    if cx.truncated || cx.profiles.contains(&name.value) {
        return;
    }
    let known: Vec<&str> = cx.profiles.iter().map(String::as_str).collect();
    let help = if known.is_empty() {
        format!("add `profiles:` with `{}` below it", shown(name))
    } else {
        did_you_mean(name, &known, &choices(&known))
    };
    let message = format!("there is no profile `{}`", shown(name));
    let diagnostic = Diagnostic::new(Code::UnknownProfile, name.span, message).help(help);
    cx.push(diagnostic);
}

fn profiles(policy: &Policy, cx: &mut Cx) {
    for sections in all_sections(policy) {
        rules(sections).filter_map(target).for_each(|name| unknown_profile(cx, name));
    }
    policy.tests.iter().filter_map(|test| test.profile.as_ref()).for_each(|name| unknown_profile(cx, name));
}

/// A task moves into tighter profiles only, so no way may lead back. A profile that sandboxes into itself stays
/// where it is, which is no cycle.
fn cycles(policy: &Policy, cx: &mut Cx) {
    let steps: BTreeMap<&str, Vec<(&str, Span)>> = policy
        .profiles
        .iter()
        .map(|profile| {
            let targets = rules(&profile.sections).filter_map(target).map(|name| (name.as_str(), name.span));
            (profile.name.as_str(), targets.filter(|(name, _)| *name != profile.name.value).collect())
        })
        .collect();
    let mut reported: Vec<Vec<&str>> = Vec::new();
    for profile in &policy.profiles {
        let start = profile.name.as_str();
        let Some(trail) = way_back(&steps, start) else { continue };
        let mut members: Vec<&str> = trail.iter().map(|(name, _)| *name).collect();
        members.sort_unstable();
        if reported.contains(&members) {
            continue;
        }
        let way: Vec<String> = trail.iter().map(|(name, _)| format!("`{name}`")).collect();
        let message = format!("profiles lead in a circle: `{start}` → {}", way.join(" → "));
        let mut diagnostic = Diagnostic::new(Code::ProfileCycle, trail[0].1, message)
            .help("a task only ever moves into a tighter profile: remove one of these steps");
        for (name, span) in &trail[1..] {
            diagnostic = diagnostic.related(*span, format!("and from there to `{name}`"));
        }
        cx.push(diagnostic);
        reported.push(members);
    }
}

/// The shortest way from a profile back to itself: the profiles stepped into, and where each step is written.
fn way_back<'a>(steps: &BTreeMap<&str, Vec<(&'a str, Span)>>, start: &str) -> Option<Vec<(&'a str, Span)>> {
    let mut seen: Vec<&str> = Vec::new();
    let mut queue = std::collections::VecDeque::from([(start.to_owned(), Vec::new())]);
    while let Some((at, trail)) = queue.pop_front() {
        for &(next, span) in steps.get(at.as_str()).into_iter().flatten() {
            let mut trail: Vec<(&str, Span)> = trail.clone();
            trail.push((next, span));
            if next == start {
                return Some(trail);
            }
            if !seen.contains(&next) {
                seen.push(next);
                queue.push_back((next.to_owned(), trail));
            }
        }
    }
    None
}

fn escalation(policy: &Policy, cx: &mut Cx) {
    if policy.escalation.timeout.is_some() || cx.truncated || cx.has(Code::BadDuration) {
        return;
    }
    let escalates = all_sections(policy).find_map(|sections| {
        sections.iter().find_map(|(_, section)| {
            let default = section.default.iter();
            let effects = default.chain(section.rules.iter().map(|rule| &rule.effect));
            effects.filter(|effect| effect.value == Effect::Escalate).map(|effect| effect.span).min()
        })
    });
    if let Some(span) = escalates {
        cx.push(
            Diagnostic::new(
                Code::EscalationWithoutTimeout,
                span,
                "this escalates, and nothing says for how long a call is held",
            )
            .help("add `escalation: { timeout: 5m }` at the top level"),
        );
    }
}

fn tests(policy: &Policy, cx: &mut Cx) {
    for test in &policy.tests {
        let Some(rule) = &test.rule else { continue };
        if rule.value == "default" || cx.ids.contains_key(&rule.value) || cx.truncated {
            continue;
        }
        let known: Vec<&str> = cx.ids.keys().map(String::as_str).collect();
        let help = did_you_mean(rule, &known, "the id of one of the rules, or `default`");
        let message = format!("there is no rule `{}`", shown(rule));
        let diagnostic = Diagnostic::new(Code::UnknownRule, rule.span, message).help(help);
        cx.push(diagnostic);
    }
}

fn candidate(policy: &Policy, cx: &mut Cx) {
    let Some(name) = policy.candidate_for.as_ref().filter(|name| name.value == policy.name.value) else {
        return;
    };
    cx.push(
        Diagnostic::new(
            Code::BadCandidate,
            name.span,
            format!("`{}` cannot be the candidate for itself", name.value),
        )
        .related(policy.name.span, "this document's own name")
        .help(format!("give this document a name of its own, such as `policy: {}-next`", name.value)),
    );
}
