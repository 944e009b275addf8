//! Which policies govern which cgroup paths.

use guard_common::abi::Verdict;
use guard_common::limits::DOMAINS;
use guard_common::table::Answer;

use super::Error;
use super::automaton::{Budget, ByteSet, Dfa, Group, Labels, Language, Map};
use super::glob;
use crate::policy::glob::Flavor;
use crate::policy::model::{Policy, Selector};

const BUDGET: Budget = Budget { states: 60_000, work: 6_000_000 };

/// The automaton over cgroup paths. Its answers carry, where a domain's id will be, the index of a set.
#[derive(Debug)]
pub(super) struct Cgroups {
    pub(super) dfa: Dfa,
    /// The sets of policies, by index into what was asked about, that some cgroup path is governed by.
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
        Ok(Self { dfa, sets })
    }

    /// A cgroup path that is governed by just the policies of this set.
    pub(super) fn example(&self, set: usize) -> String {
        let path = self.dfa.witness(|answer| !answer.is_none() && usize::from(answer.rule()) == set);
        String::from_utf8_lossy(&path.unwrap_or_default()).into_owned()
    }

    /// Puts the domains' ids in the place of the sets' indices.
    pub(super) fn number(&mut self, id: impl Fn(usize) -> u16) {
        for state in self.dfa.states.iter_mut().filter(|state| !state.answer.is_none()) {
            state.answer = Answer::new(Verdict::Allow, id(usize::from(state.answer.rule())), 0);
        }
    }
}

/// What a selector selects governs everything below it too.
fn add(language: &mut Language, group: u32, selector: &Selector) {
    let fragments = &mut language.fragments;
    let end = fragments.accept(group, false);
    let rest = fragments.star(ByteSet::ALL, end);
    let below = fragments.set(ByteSet::ALL, rest);
    let below = fragments.bytes(b"/", below);
    let end = fragments.any(vec![end, below]);
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
