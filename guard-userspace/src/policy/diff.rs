//! What changes between two policies: not their text, but which requests get another answer.
//!
//! Every request falls into a class by the rules it matches in both. The walk over both policies' globs visits each
//! class once and keeps the shortest request as its example; addresses fall into boxes between the rules' own
//! boundaries. The built-in baseline is the same on both sides and left out.

mod addresses;
mod paths;

use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

use super::decide::{Decider as _, Plain, Why};
use super::model::{Action, Effect, Policy, Request, Rule, Verdict, written};

/// What one side says of a class.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Said {
    pub verdict: Verdict,
    /// `None`: no rule, the section's default.
    pub rule: Option<String>,
    pub how: How,
}

/// What a verdict is carried out with.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    #[default]
    Plain,
    /// A throttle's budget.
    Budget { count: u32, per: Duration, burst: u32 },
    /// The profile that a sandbox puts the task into.
    Profile(String),
}

impl How {
    fn of(effect: &Effect) -> Self {
        match effect {
            Effect::Throttle(budget) => {
                Self::Budget { count: budget.count, per: budget.per, burst: budget.burst }
            }
            Effect::Sandbox { profile } => Self::Profile(profile.value.clone()),
            Effect::Allow | Effect::Escalate | Effect::Block => Self::Plain,
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain => Ok(()),
            Self::Budget { count, per, burst } => write!(f, "{count}/{} burst {burst}", written(*per)),
            Self::Profile(name) => f.write_str(name),
        }
    }
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    Laxer,
    Stricter,
    /// Neither, as far as can be said: another profile, or a budget that is larger in one way and smaller in another.
    Other,
}

impl Change {
    pub fn direction(&self) -> Direction {
        match self.new.verdict.cmp(&self.old.verdict) {
            Ordering::Less => return Direction::Laxer,
            Ordering::Greater => return Direction::Stricter,
            Ordering::Equal => {}
        }
        let (
            How::Budget { count: old, per: before, burst: old_burst },
            How::Budget { count: new, per: after, burst: new_burst },
        ) = (&self.old.how, &self.new.how)
        else {
            return Direction::Other;
        };
        // old / before against new / after, without dividing.
        let rate = (u128::from(*new) * before.as_nanos()).cmp(&(u128::from(*old) * after.as_nanos()));
        match (rate, new_burst.cmp(old_burst)) {
            (Ordering::Greater | Ordering::Equal, Ordering::Greater | Ordering::Equal) => Direction::Laxer,
            (Ordering::Less | Ordering::Equal, Ordering::Less | Ordering::Equal) => Direction::Stricter,
            (Ordering::Less, Ordering::Greater) | (Ordering::Greater, Ordering::Less) => Direction::Other,
        }
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
        (change.profile.clone(), change.direction(), change.action, change.example.clone())
    });
    difference
}

/// What a policy says of a request, the effect of its rule included.
fn said(policy: &Policy, request: &Request, profile: Option<&str>) -> Said {
    let decision = Plain(policy).decide(request, profile);
    let (rule, how) = match decision.why {
        Why::Rule(id) => {
            let how = rule(policy, &id).map(|rule| How::of(&rule.effect.value));
            (Some(id), how.unwrap_or_default())
        }
        Why::Baseline(id) => (Some(id), How::Plain),
        Why::Gateway => (Some("gateway".to_owned()), How::Plain),
        Why::Default => (None, How::Plain),
    };
    Said { verdict: decision.verdict, rule, how }
}

/// Whether a request is answered differently: by another verdict, or by the same one with another budget or profile.
fn differ(before: &Said, after: &Said) -> bool {
    before.verdict != after.verdict || before.how != after.how
}

/// The rule with this id, wherever it stands.
fn rule<'a>(policy: &'a Policy, id: &str) -> Option<&'a Rule> {
    let profiles = policy.profiles.iter().map(|profile| &profile.sections);
    std::iter::once(&policy.sections)
        .chain(profiles)
        .flat_map(|sections| sections.iter())
        .flat_map(|(_, section)| &section.rules)
        .find(|rule| rule.id.value == id)
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
    let candidate = |policy: &Policy| limit(policy.candidate_for.as_ref().map(|name| name.value.clone()));
    note("candidate_for", candidate(old), candidate(new));
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
    let pending = |policy: &Policy| {
        [policy.escalation.max_pending, policy.escalation.max_pending_per_session]
            .map(|count| count.to_string())
    };
    let names = ["escalation max_pending", "escalation max_pending_per_session"];
    for ((name, before), after) in names.into_iter().zip(pending(old)).zip(pending(new)) {
        note(name, before, after);
    }
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
        let rule = rule(policy, said.rule.as_deref()?)?;
        let globs = rule.paths.iter().chain(&rule.unix).map(|glob| glob.text.clone());
        let nets = rule.to.iter().map(|target| target.text.clone());
        Some(globs.chain(nets).chain(rule.ports.iter().map(|target| target.text.clone())).collect())
    };
    find(first).or_else(|| find(second)).unwrap_or_default()
}
