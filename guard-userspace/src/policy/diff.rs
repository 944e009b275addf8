//! What changes between two policies: not their text, but which requests get another answer.
//!
//! Every request falls into a class by the rules it matches in both. The walk over both policies' globs visits each
//! class once and keeps the shortest request as its example; addresses fall into boxes between the rules' own
//! boundaries. The built-in baseline is the same on both sides and left out.

mod addresses;
mod paths;

use super::decide::Why;
use super::model::{Action, Policy, Verdict};

/// What one side says of a class.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Said {
    pub verdict: Verdict,
    /// `None`: no rule, the section's default.
    pub rule: Option<String>,
}

/// One class of requests whose answer changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub action: Action,
    pub profile: Option<String>,
    /// Only command lines with these arguments, for rules that have `args`.
    pub args: Option<Vec<String>>,
    pub old: Said,
    pub new: Said,
    /// The shortest request of the class.
    pub example: String,
    /// The patterns or addresses of the rule that makes the change, as written.
    pub patterns: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Laxer,
    Stricter,
}

impl Change {
    pub fn direction(&self) -> Direction {
        if self.new.verdict < self.old.verdict { Direction::Laxer } else { Direction::Stricter }
    }
}

/// The changes, and the sections whose classes are too many to visit all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    pub changes: Vec<Change>,
    pub incomplete: Vec<Action>,
    /// Differences outside the rules: gateway, limits, boundary and so on, each a sentence.
    pub settings: Vec<String>,
}

impl Difference {
    pub const fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.incomplete.is_empty() && self.settings.is_empty()
    }
}

/// Compares two policies, profile by profile where both have one of a name.
pub fn diff(old: &Policy, new: &Policy) -> Difference {
    let mut difference = Difference { settings: settings(old, new), ..Difference::default() };
    let shared = old.profiles.iter().filter(|profile| new.profile(&profile.name).is_some());
    let lives = std::iter::once(None).chain(shared.map(|profile| Some(profile.name.as_str())));
    for profile in lives {
        paths::compare(old, new, profile, &mut difference);
        addresses::compare(old, new, profile, &mut difference);
    }
    // A change that the policy itself has is no news in its profiles.
    let own: Vec<Change> =
        difference.changes.iter().filter(|change| change.profile.is_none()).cloned().collect();
    difference.changes.retain(|change| {
        let same = |own: &Change| Change { profile: change.profile.clone(), ..own.clone() } == *change;
        change.profile.is_none() || !own.iter().any(same)
    });
    difference.changes.sort_by_key(|change| {
        (
            change.profile.clone(),
            change.direction() == Direction::Stricter,
            change.action,
            change.example.clone(),
        )
    });
    difference
}

fn said(decision: super::decide::Decision) -> Said {
    let rule = match decision.why {
        Why::Rule(id) | Why::Baseline(id) => Some(id),
        Why::Gateway => Some("gateway".to_owned()),
        Why::Default => None,
    };
    Said { verdict: decision.verdict, rule }
}

fn settings(old: &Policy, new: &Policy) -> Vec<String> {
    let mut found = Vec::new();
    let mut note = |what: &str, before: String, after: String| {
        if before != after {
            found.push(format!("{what}: {before} → {after}"));
        }
    };
    let opened = |policy: &Policy| {
        let names: Vec<&str> = policy.boundary.allow.iter().map(|item| item.value.name()).collect();
        if names.is_empty() { "closed".to_owned() } else { names.join(", ") }
    };
    let limit = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
    note("mode", old.mode.name().to_owned(), new.mode.name().to_owned());
    note("boundary", opened(old), opened(new));
    let limits = |policy: &Policy| {
        let limits = &policy.limits;
        [
            limit(limits.max_runtime.as_ref().map(|time| format!("{:?}", time.value))),
            limit(limits.max_tasks.as_ref().map(|count| count.value.to_string())),
            limit(limits.max_memory.as_ref().map(|size| format!("{} B", size.value))),
            limit(limits.max_bytes_out.as_ref().map(|size| format!("{} B", size.value))),
        ]
    };
    let names = ["max_runtime", "max_tasks", "max_memory", "max_bytes_out"];
    for ((name, before), after) in names.into_iter().zip(limits(old)).zip(limits(new)) {
        note(name, before, after);
    }
    let selectors =
        |policy: &Policy| policy.applies_to.iter().map(|s| selector(&s.value)).collect::<Vec<_>>().join(", ");
    note("applies_to", selectors(old), selectors(new));
    let names = |policy: &Policy| {
        let names: Vec<&str> = policy.profiles.iter().map(|profile| profile.name.as_str()).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    note("profiles", names(old), names(new));
    let wait =
        |policy: &Policy| limit(policy.escalation.timeout.as_ref().map(|time| format!("{:?}", time.value)));
    note("escalation timeout", wait(old), wait(new));
    note("audit", format!("{:?}", old.audit), format!("{:?}", new.audit));
    found
}

fn selector(selector: &super::model::Selector) -> String {
    match selector {
        super::model::Selector::Cgroup(glob) => format!("cgroup {}", glob.text),
        super::model::Selector::Unit(glob) => format!("unit {}", glob.text),
    }
}

/// The patterns of the rule that decides the change: the stricter side's if it is a rule, else the other's.
fn patterns(old: (&Policy, &Said), new: (&Policy, &Said)) -> Vec<String> {
    let (first, second) = if new.1.verdict >= old.1.verdict { (new, old) } else { (old, new) };
    let find = |(policy, said): (&Policy, &Said)| {
        let id = said.rule.as_deref()?;
        let profiles = policy.profiles.iter().map(|profile| &profile.sections);
        let mut rules = std::iter::once(&policy.sections)
            .chain(profiles)
            .flat_map(|s| s.iter())
            .flat_map(|(_, s)| &s.rules);
        let rule = rules.find(|rule| rule.id.value == id)?;
        let globs = rule.paths.iter().chain(&rule.unix).map(|glob| glob.text.clone());
        let nets = rule.to.iter().map(|target| target.text.clone());
        Some(globs.chain(nets).chain(rule.ports.iter().map(|target| target.text.clone())).collect())
    };
    find(first).or_else(|| find(second)).unwrap_or_default()
}
