//! Automata of the compilation before: policies change one at a time, and most sections are as they were.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::symbol::Map;
use super::{Budget, Dfa, Labels, Language, Overflow};

type Outcome = Result<Arc<Dfa>, Overflow>;

/// What was built from which language since the last compilation that came to its end, or in it.
#[derive(Debug, Default)]
pub(in crate::compile) struct Memo {
    known: Map<[u8; 32], (Outcome, u64)>,
    turn: u64,
}

impl Memo {
    /// A compilation begins.
    pub(in crate::compile) fn begin(&mut self) {
        self.turn += 1;
    }

    /// It came to its end: what it had no use for is forgotten. One that fails forgets nothing, because the next one will be
    /// much like the one before.
    pub(in crate::compile) fn end(&mut self) {
        let now = self.turn;
        self.known.retain(|_, (_, used)| *used == now);
    }

    /// The automaton whose states are labelled with the join of the groups' answers.
    pub(in crate::compile) fn joined(&mut self, language: &Language, budget: Budget) -> Outcome {
        let (outcome, used) = self
            .known
            .entry(digest(language, budget))
            .or_insert_with(|| (Dfa::build(language, Labels::Join, budget).map(kept), 0));
        *used = self.turn;
        outcome.clone()
    }
}

/// It stays for as long as its policy does: without room to grow.
fn kept(mut dfa: Dfa) -> Arc<Dfa> {
    dfa.states.iter_mut().for_each(|state| state.edges.shrink_to_fit());
    dfa.states.shrink_to_fit();
    Arc::new(dfa)
}

fn digest(language: &Language, budget: Budget) -> [u8; 32] {
    let mut digester = Digester(Sha256::new());
    language.hash(&mut digester);
    budget.hash(&mut digester);
    digester.0.finalize().into()
}

/// A digest of everything that is hashed: two languages that are not the same have different ones.
struct Digester(Sha256);

impl Hasher for Digester {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest: [u8; 32] = self.0.clone().finalize().into();
        digest.iter().take(8).fold(0, |word, &byte| word << 8 | u64::from(byte))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FragmentId, Group};
    use super::*;
    use guard_common::abi::Verdict;
    use guard_common::table::Answer;

    const BUDGET: Budget = Budget { states: 100, work: 10_000 };

    fn language(path: &[u8]) -> Language {
        let mut language = Language::new();
        let answer = Answer::new(Verdict::Allow, 0, 0);
        let group = language.group(Group { answer, overrides: false, excepted: false, args: None });
        let end = language.fragments.accept(group, false);
        let root: FragmentId = language.fragments.bytes(path, end);
        language.roots.push(root);
        language
    }

    #[test]
    fn what_is_known_is_not_built_again_until_nobody_has_asked_for_it() {
        let mut memo = Memo::default();
        let built = |memo: &mut Memo, path: &[u8]| memo.joined(&language(path), BUDGET).expect("it is small");
        memo.begin();
        let first = built(&mut memo, b"/a");
        assert!(Arc::ptr_eq(&first, &built(&mut memo, b"/a")));
        assert_ne!(first, built(&mut memo, b"/b"));
        memo.end();
        memo.begin();
        memo.begin();
        assert!(Arc::ptr_eq(&first, &built(&mut memo, b"/a")), "one that fails forgets");
        memo.end();
        memo.begin();
        memo.end();
        let again = built(&mut memo, b"/a");
        assert!(!Arc::ptr_eq(&first, &again));
        assert_eq!(first, again);
    }

    #[test]
    fn what_one_budget_refuses_another_may_build() {
        let mut memo = Memo::default();
        let small = Budget { states: 1, ..BUDGET };
        for _ in 0..2 {
            assert!(memo.joined(&language(b"/a"), small).is_err());
            assert!(memo.joined(&language(b"/a"), BUDGET).is_ok());
        }
    }
}
