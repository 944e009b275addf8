//! One automaton for a whole section: patterns with their groups in, a minimal deterministic automaton out.
//!
//! Order of the data's way: [`Fragments`] (patterns, common ends shared) → `nfa` (common beginnings shared) →
//! `subset` (deterministic; what cannot change an answer any more is left out) → `minimise` → `pack` (the
//! arena's words). General regex engines explode on path globs: `/x/**` in a set of rules keeps every other
//! rule's position alive for ever. Here a rule that has matched whatever follows becomes part of the state's
//! *base*, and positions that cannot beat the base are dropped.

mod args;
mod fragment;
mod memo;
mod minimise;
mod nfa;
mod pack;
mod subset;
mod symbol;

use guard_common::table::Answer;

pub(super) use args::{Args, Readings};
pub(super) use fragment::{FragmentId, Fragments};
pub(super) use memo::Memo;
pub(super) use pack::{Full, Packer};
pub(super) use symbol::{ByteSet, Map};

/// What all patterns with the same meaning say when one of them matches and none of their exceptions does.
#[derive(Debug, Clone, Hash)]
pub(super) struct Group {
    /// What it says; for a shadow rule, nothing but the shadow verdict.
    pub(super) answer: Answer,
    /// Says the last word, whatever the other groups say.
    pub(super) overrides: bool,
    /// There are patterns against it.
    pub(super) excepted: bool,
    /// Index of the arguments that must follow the path.
    pub(super) args: Option<u32>,
}

impl Group {
    /// A match of such a group may still be undone or be incomplete.
    const fn is_special(&self) -> bool {
        self.excepted || self.args.is_some()
    }
}

/// Everything an automaton is built from.
#[derive(Debug, Hash)]
pub(super) struct Language {
    pub(super) fragments: Fragments,
    pub(super) roots: Vec<FragmentId>,
    pub(super) groups: Vec<Group>,
    pub(super) args: Vec<Args>,
}

impl Language {
    pub(super) fn new() -> Self {
        Self { fragments: Fragments::new(), roots: Vec::new(), groups: Vec::new(), args: Vec::new() }
    }

    /// Adds a group and returns its number.
    pub(super) fn group(&mut self, group: Group) -> u32 {
        self.groups.push(group);
        self.groups.len() as u32 - 1
    }
}

/// How the states of an automaton are labelled.
pub(super) enum Labels<'a> {
    /// With the join of the groups' answers.
    Join,
    /// With what is made of the groups that match, in ascending order.
    Sets(&'a mut dyn FnMut(&[u32]) -> Answer),
}

/// What building one automaton may cost. Counted, not timed: the same policy is refused everywhere or nowhere.
#[derive(Debug, Clone, Copy, Hash)]
pub(super) struct Budget {
    pub(super) states: usize,
    /// Positions looked at; stands for time, and bounds memory together with the states.
    pub(super) work: usize,
}

/// The budget is spent; the groups that spent most of it, worst first.
#[derive(Debug, Clone)]
pub(super) struct Overflow {
    pub(super) blame: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) answer: Answer,
    /// Where every byte without an edge leads to.
    pub(super) default: u32,
    /// In ascending order of bytes; none leads to where the default does.
    pub(super) edges: Vec<(u8, u32)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Dfa {
    pub(super) states: Vec<State>,
    pub(super) start: u32,
}

impl Dfa {
    pub(super) fn build(language: &Language, labels: Labels<'_>, budget: Budget) -> Result<Self, Overflow> {
        subset::determinise(language, labels, budget).map(|dfa| minimise::minimise(&dfa))
    }

    /// The shortest bytes, and among those the most readable, that lead to a state with this answer.
    pub(super) fn witness(&self, wanted: impl Fn(Answer) -> bool) -> Option<Vec<u8>> {
        let mut from: Vec<Option<(u32, u8)>> = vec![None; self.states.len()];
        let mut open = vec![self.start];
        let mut at = 0;
        while let Some(&id) = open.get(at) {
            at += 1;
            let state = &self.states[id as usize];
            if wanted(state.answer) {
                return Some(self.spell(&from, id));
            }
            let free = |byte: &u8| state.edges.iter().all(|(other, _)| other != byte);
            let other = (b'a'..=b'z').chain(1..=u8::MAX).find(free).map(|byte| (byte, state.default));
            for (byte, next) in state.edges.iter().copied().chain(other) {
                if next != self.start && from[next as usize].is_none() {
                    from[next as usize] = Some((id, byte));
                    open.push(next);
                }
            }
        }
        None
    }

    fn spell(&self, from: &[Option<(u32, u8)>], mut at: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some((before, byte)) = from[at as usize] {
            bytes.push(byte);
            at = before;
        }
        bytes.reverse();
        bytes
    }
}
