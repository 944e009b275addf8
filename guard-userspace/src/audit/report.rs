//! What shadow mode would have blocked, and whether it is safe to enforce.

use std::collections::{BTreeMap, BTreeSet};

use super::filter::is_policy;
use super::read::Entry;

/// Different objects and programs that are shown of each kind of hit.
const SHOWN: usize = 3;

/// One way in which calls would have ended otherwise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    pub action: String,
    pub verdict: String,
    pub rule: String,
    /// `policy` or `policy/profile`.
    pub policy: String,
}

/// How often, by whom, on what.
#[derive(Clone, Debug, Default)]
pub struct Hit {
    pub count: u64,
    pub sessions: BTreeSet<String>,
    pub programs: BTreeSet<String>,
    pub examples: Vec<String>,
    pub reason: String,
    pub first: String,
    pub last: String,
}

/// What the log says of one policy since its text is what it is.
#[derive(Debug, Default)]
pub struct Report {
    policy: String,
    /// `enforce` or `shadow`, as the last generation had it.
    pub mode: Option<String>,
    sha256: Option<String>,
    pub hits: BTreeMap<Way, Hit>,
    /// Decisions of sessions that the policy governs.
    pub decisions: u64,
    pub sessions: BTreeSet<String>,
    /// The same under earlier texts of the policy, which count for nothing.
    pub earlier: u64,
    /// Events that were lost: what they would have told is not known.
    pub lost: u64,
    /// Decisions while not everything that was promised was enforced.
    pub degraded: u64,
    pub since: Option<String>,
    pub until: Option<String>,
    /// Sessions that began under the policy.
    governed: BTreeSet<String>,
}

impl Report {
    pub fn new(policy: &str) -> Self {
        Self { policy: policy.to_owned(), ..Self::default() }
    }

    /// Takes note of one record.
    pub fn take(&mut self, entry: &Entry<'_>) {
        match &*entry.kind {
            "generation" => self.generation(entry),
            "session-start" if entry.policy.split(' ').any(|name| is_policy(&self.policy, name)) => {
                self.governed.insert(entry.session.clone().into_owned());
            }
            "lost" => self.lost = self.lost.saturating_add(entry.count),
            "decision" => self.decision(entry),
            _ => {}
        }
    }

    /// A new text begins a new count.
    fn generation(&mut self, entry: &Entry<'_>) {
        let of = |list: &str| {
            let mut pairs = list.split(' ').filter_map(|pair| pair.split_once('='));
            pairs.find(|(name, _)| *name == self.policy).map(|(_, value)| value.to_owned())
        };
        self.mode = of(&entry.policies);
        let Some(text) = of(&entry.texts) else { return };
        if self.sha256.as_ref().is_some_and(|known| *known != text) {
            self.earlier += self.decisions;
            (self.decisions, self.lost, self.degraded) = (0, 0, 0);
            (self.since, self.until) = (None, None);
            self.hits.clear();
            self.sessions.clear();
        }
        self.sha256 = Some(text);
    }

    fn decision(&mut self, entry: &Entry<'_>) {
        let would =
            entry.candidate_verdict.as_ref().filter(|_| is_policy(&self.policy, &entry.candidate_policy));
        let own = is_policy(&self.policy, &entry.policy);
        if would.is_none() && !own && !self.governed.contains(&*entry.session) {
            return;
        }
        self.decisions += 1;
        self.sessions.insert(entry.session.clone().into_owned());
        self.degraded += u64::from(entry.degraded);
        let time = entry.time.clone().into_owned();
        self.since.get_or_insert_with(|| time.clone());
        self.until = Some(time);
        if let Some(verdict) = would {
            self.hit(entry, verdict, &entry.candidate_rule, &entry.candidate_policy);
        } else if own && entry.shadowed && entry.candidate_verdict.is_none() {
            // No rule would have blocked it, but the boundary, or what could not be told.
            self.hit(entry, "block", &entry.rule, &entry.policy);
        }
    }

    fn hit(&mut self, entry: &Entry<'_>, verdict: &str, rule: &str, policy: &str) {
        let way = Way {
            action: entry.action.clone().into_owned(),
            verdict: verdict.to_owned(),
            rule: rule.to_owned(),
            policy: policy.to_owned(),
        };
        let hit = self.hits.entry(way).or_insert_with(|| Hit {
            first: entry.time.clone().into_owned(),
            reason: entry.reason.clone().into_owned(),
            ..Hit::default()
        });
        hit.count += 1;
        hit.last = entry.time.clone().into_owned();
        hit.sessions.insert(entry.session.clone().into_owned());
        if hit.programs.len() < SHOWN {
            hit.programs.insert(entry.exe.clone().into_owned());
        }
        let object = entry.object.clone().into_owned();
        if hit.examples.len() < SHOWN && !hit.examples.contains(&object) {
            hit.examples.push(object);
        }
    }

    /// Calls that would have ended otherwise.
    pub fn count(&self) -> u64 {
        self.hits.values().map(|hit| hit.count).sum()
    }

    /// Why it is not safe to enforce; empty if it is, as far as the log can tell.
    pub fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        if self.decisions == 0 {
            doubts.push("nothing is recorded under this text of the policy".to_owned());
        }
        if !self.hits.is_empty() {
            doubts.push(format!("{} recorded calls would end otherwise", self.count()));
        }
        if self.lost > 0 {
            doubts.push(format!("{} events were lost; what they would have told is not known", self.lost));
        }
        if self.degraded > 0 {
            doubts.push(format!("{} decisions were made while degraded", self.degraded));
        }
        doubts
    }
}
