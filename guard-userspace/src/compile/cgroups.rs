//! Which policies govern which cgroup paths.

use std::sync::Arc;

use guard_common::abi::Verdict;
use guard_common::limits::DOMAINS;
use guard_common::table::Answer;

use super::Error;
use super::automaton::{Budget, ByteSet, Dfa, Group, Labels, Language, Map};
use super::glob;
use crate::policy::glob::Flavor;
use crate::policy::model::{Policy, Selector};

const BUDGET: Budget = Budget { states: 60_000, work: 6_000_000 };

/// Domains for cgroups that other policies select than what they lie in. Each nesting that a cgroup tree could have
/// would be too many: what goes beyond these is blocked.
const UNIONS: usize = 240;

/// The automaton over cgroup paths: what selects a cgroup by its own path. Its answers carry the index of a set. What
/// governs it besides, because it governs something above, is joined one level at a time (`table::enter`): an
/// automaton that remembered it would need a state for every combination.
#[derive(Debug)]
pub(super) struct Cgroups {
    pub(super) dfa: Arc<Dfa>,
    /// The sets of policies, by index into what was asked about, that select some cgroup path.
    pub(super) sets: Vec<Vec<u32>>,
}

impl Cgroups {
    pub(super) fn new(policies: &[&Policy]) -> Result<Self, Error> {
        let mut language = Language::new();
        for policy in policies {
            let group =
                language.group(Group { answer: Answer::NONE, overrides: false, excepted: false, args: None });
            for selector in &policy.applies_to {
                add(&mut language, group, &selector.value);
            }
            add_runs(&mut language, group, &policy.name.value);
        }
        let mut sets: Vec<Vec<u32>> = Vec::new();
        let mut known: Map<Vec<u32>, u16> = Map::default();
        let mut label = |matching: &[u32]| {
            if matching.is_empty() {
                return Answer::NONE;
            }
            let set = *known.entry(matching.to_vec()).or_insert_with(|| {
                sets.push(matching.to_vec());
                (sets.len() - 1).min(usize::from(Answer::RULE_GATEWAY)) as u16
            });
            Answer::new(Verdict::Allow, set, 0)
        };
        let name = |&policy: &u32| policies[policy as usize].name.value.clone();
        let dfa = Dfa::build(&language, Labels::Sets(&mut label), BUDGET).map_err(|overflow| {
            Error::Selectors { policies: overflow.blame.iter().take(3).map(name).collect() }
        })?;
        if sets.len() >= DOMAINS as usize {
            return Err(Error::Domains { most: DOMAINS as usize - 1 });
        }
        Ok(Self { dfa: Arc::new(dfa), sets })
    }

    /// The sets, then the unions that cgroups in each other make, the ones of few sets first; none that `fits` refuses.
    pub(super) fn nested(&self, most: usize, fits: impl Fn(&[u32]) -> bool) -> Nested {
        let mut sets = self.sets.clone();
        let mut known: Map<Vec<u32>, usize> =
            sets.iter().enumerate().map(|(n, set)| (set.clone(), n)).collect();
        let most = sets.len() + most;
        let mut joins: Vec<Vec<Option<usize>>> = Vec::new();
        while joins.len() < sets.len() {
            let above = sets[joins.len()].clone();
            let mut row = Vec::with_capacity(self.sets.len());
            for own in &self.sets {
                let mut union = above.clone();
                union.extend(own);
                union.sort_unstable();
                union.dedup();
                let index = match known.get(&union) {
                    Some(&index) => Some(index),
                    None if sets.len() < most && fits(&union) => {
                        known.insert(union.clone(), sets.len());
                        sets.push(union);
                        Some(sets.len() - 1)
                    }
                    None => None,
                };
                row.push(index);
            }
            joins.push(row);
        }
        Nested { sets, joins }
    }

    /// A cgroup path that is selected by just the policies of this set.
    pub(super) fn example(&self, set: usize) -> String {
        let path = self.dfa.witness(|answer| !answer.is_none() && usize::from(answer.rule()) == set);
        String::from_utf8_lossy(&path.unwrap_or_default()).into_owned()
    }
}

/// What governs cgroups that lie in each other.
#[derive(Debug)]
pub(super) struct Nested {
    /// Those of [`Cgroups::sets`] first.
    pub(super) sets: Vec<Vec<u32>>,
    /// By what governs the cgroup above, by what selects the one below: what governs that. `None`: too much.
    pub(super) joins: Vec<Vec<Option<usize>>>,
}

/// How many unions are tried for, one after the other, until there are domains enough for them and their profiles.
pub(super) const UNIONS_TRIED: [usize; 3] = [UNIONS, UNIONS / 8, 0];

/// Where `guard run --policy NAME` puts a session: every policy governs those of its name, whatever else it
/// applies to.
pub const RUNS: &str = "/guard.slice/run:";

/// The sessions that `guard run` starts under the policy.
fn add_runs(language: &mut Language, group: u32, policy: &str) {
    let fragments = &mut language.fragments;
    let end = fragments.accept(group, false);
    let rest = fragments.star(ByteSet::ALL.without(b'/'), end);
    let root = fragments.bytes(format!("{RUNS}{policy}:").as_bytes(), rest);
    language.roots.push(root);
}

/// What a selector selects governs everything below it too.
fn add(language: &mut Language, group: u32, selector: &Selector) {
    let fragments = &mut language.fragments;
    let end = fragments.accept(group, false);
    let root = match selector {
        Selector::Cgroup(pattern) => glob::glob(fragments, pattern, end),
        Selector::Unit(pattern) => {
            // A unit's name is a whole component, so its wildcards stay inside one.
            let name = glob::tokens(fragments, &pattern.tokens, Flavor::Path, end);
            let name = fragments.dirs(name);
            fragments.bytes(b"/", name)
        }
    };
    language.roots.push(root);
}
