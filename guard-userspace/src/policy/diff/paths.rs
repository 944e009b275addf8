//! Classes of paths, unix sockets and command lines.

use std::collections::BTreeMap;

use super::{Change, Difference, Said, differ, patterns, said};
use crate::policy::glob::Glob;
use crate::policy::lang::{Effort, Globs, Tag};
use crate::policy::model::{Action, Effect, Policy, Request, Rule, SECTIONS};
use crate::policy::source::Span;

/// For one section of one life: seconds.
const EFFORT: usize = 20_000_000;

pub(super) fn compare(old: &Policy, new: &Policy, profile: Option<&str>, difference: &mut Difference) {
    for action in SECTIONS {
        if action == Action::Listen {
            continue;
        }
        // Command lines without arguments first, then one that each `args` of either side is about.
        for args in command_lines(old, new, profile, action) {
            section(old, new, profile, action, args.as_deref(), difference);
        }
    }
}

fn rules<'a>(policy: &'a Policy, profile: Option<&'a str>, action: Action) -> impl Iterator<Item = &'a Rule> {
    let tighter = profile.and_then(|name| policy.profile(name)).map(|profile| &profile.sections);
    let sections = std::iter::once(&policy.sections).chain(tighter);
    sections.filter_map(move |sections| sections.get(action)).flat_map(|section| &section.rules)
}

fn command_lines(
    old: &Policy,
    new: &Policy,
    profile: Option<&str>,
    action: Action,
) -> Vec<Option<Vec<String>>> {
    let mut lines = vec![None];
    for rule in rules(old, profile, action).chain(rules(new, profile, action)) {
        if rule.args.is_empty() {
            continue;
        }
        let example: Option<Vec<String>> = rule.args.iter().map(example_of).collect();
        if example.is_some() && !lines.contains(&example) {
            lines.push(example);
        }
    }
    lines
}

/// The shortest argument that a pattern matches.
fn example_of(pattern: &Glob) -> Option<String> {
    let mut globs = Globs::default();
    globs.add(0, pattern);
    match globs.find(&Effort::new(100_000), |tags| !tags.is_empty(), |tags| !tags.is_empty()) {
        crate::policy::lang::Answer::Found(bytes) => String::from_utf8(bytes).ok(),
        crate::policy::lang::Answer::None | crate::policy::lang::Answer::Unknown => None,
    }
}

fn section(
    old: &Policy,
    new: &Policy,
    profile: Option<&str>,
    action: Action,
    args: Option<&[String]>,
    difference: &mut Difference,
) {
    let mut globs = Globs::default();
    let all: Vec<&Rule> = rules(old, profile, action).chain(rules(new, profile, action)).collect();
    for (index, rule) in all.iter().enumerate() {
        // Rule and except apart, so that a path inside both is a class of its own.
        let tag = Tag::try_from(index * 2).unwrap_or(0);
        rule.paths.iter().chain(&rule.unix).for_each(|glob| globs.add(tag, glob));
        globs.add_all(tag + 1, &rule.except);
    }
    // Where both sides have the same default, only a path of a rule that one side does not have can change.
    let lone = lone(old, new, profile, action);
    let same_defaults = defaults(old, profile, action) == defaults(new, profile, action);
    if !same_defaults {
        // What no rule names is asked about too, also where there is no rule at all: it is what a default is for.
        let any = Glob::path("/**", Span::default());
        any.iter().for_each(|glob| globs.add(Tag::MAX, glob));
    }
    let alive = |tags: &[Tag]| !same_defaults || tags.iter().any(|tag| lone[*tag as usize / 2]);
    let mut classes: BTreeMap<(Said, Said), String> = BTreeMap::new();
    let complete = globs.walk(&Effort::new(EFFORT), alive, |tags, example| {
        if same_defaults && !tags.iter().any(|tag| lone[*tag as usize / 2]) {
            return true;
        }
        let bytes = example();
        // The empty name is where every walk begins; no request has it.
        if let Some(request) = request(action, &bytes, args) {
            let before = said(old, &request, profile);
            let after = said(new, &request, profile);
            if differ(&before, &after) {
                let example = classes.entry((before, after)).or_insert_with(|| shown(&bytes));
                // The root is the shortest name, and a poor example.
                if example == "/" {
                    *example = shown(&bytes);
                }
            }
        }
        true
    });
    if !complete && !difference.incomplete.contains(&action) {
        difference.incomplete.push(action);
    }
    for ((before, after), example) in classes {
        let change = Change {
            action,
            profile: profile.map(str::to_owned),
            args: args.map(<[String]>::to_vec),
            patterns: patterns((old, &before), (new, &after)),
            old: before,
            new: after,
            example,
        };
        // With these arguments the same change as without them is the same change.
        let bare = Change { args: None, ..change.clone() };
        if !difference.changes.contains(&bare) {
            difference.changes.push(change);
        }
    }
}

/// Which rules stand on one side only: no rule of the same id, in the same layer, decides the same on the other side.
fn lone(old: &Policy, new: &Policy, profile: Option<&str>, action: Action) -> Vec<bool> {
    let own = |policy: &'_ Policy| rules(policy, None, action).count();
    let keyed = |policy| {
        let in_policy = own(policy);
        rules(policy, profile, action)
            .enumerate()
            .map(move |(index, rule)| ((rule.id.value.clone(), index < in_policy), rule))
            .collect::<Vec<_>>()
    };
    let (before, after) = (keyed(old), keyed(new));
    let other_side = |side: &[((String, bool), &Rule)], others: &[((String, bool), &Rule)]| {
        let others: BTreeMap<&(String, bool), &Rule> =
            others.iter().map(|(key, rule)| (key, *rule)).collect();
        let same = |rule: &Rule, key| others.get(key).is_some_and(|other| decides_the_same(rule, other));
        side.iter().map(|(key, rule)| !same(rule, key)).collect::<Vec<bool>>()
    };
    [other_side(&before, &after), other_side(&after, &before)].concat()
}

fn decides_the_same(rule: &Rule, other: &Rule) -> bool {
    rule.paths == other.paths
        && rule.unix == other.unix
        && rule.except == other.except
        && rule.args == other.args
        && rule.effect == other.effect
        && rule.shadow == other.shadow
}

/// What both layers say when no rule matches.
fn defaults(policy: &Policy, profile: Option<&str>, action: Action) -> (Effect, Option<Option<Effect>>) {
    let tighter = profile.and_then(|name| policy.profile(name));
    let theirs = tighter.map(|profile| {
        let section = profile.sections.get(action).and_then(|section| section.default.as_ref());
        let unstated = (!profile.inherit).then(|| Effect::unstated(action));
        section.map(|default| default.value.clone()).or(unstated)
    });
    (policy.default_for(action), theirs)
}

fn request(action: Action, bytes: &[u8], args: Option<&[String]>) -> Option<Request> {
    let name = bytes.to_vec();
    let is_path = bytes.first() == Some(&b'/');
    match action {
        Action::Connect => (is_path || bytes.first() == Some(&b'@')).then_some(Request::ConnectUnix(name)),
        _ if !is_path => None,
        Action::Exec => {
            let words = args.unwrap_or_default().iter().map(|word| word.clone().into_bytes());
            let argv = std::iter::once(name.clone()).chain(words).collect();
            Some(Request::Exec { path: name, argv })
        }
        Action::Load => Some(Request::Load(name)),
        Action::Write => Some(Request::Write(name)),
        Action::Read => Some(Request::Read(name)),
        Action::Listen | Action::Boundary => None,
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
