//! States → the arena's words, by row displacement (`guard_common::table` says how they are read).

use std::sync::Arc;

use guard_common::limits::ARENA_WORDS;
use guard_common::table;

use super::symbol::Map;
use super::{Dfa, State};

/// There is no room left in the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::compile) struct Full;

/// The words that are laid out so far.
#[derive(Debug)]
pub(in crate::compile) struct Packer {
    words: Vec<u64>,
    /// One bit for each word: taken. A few words longer than the arena, so that a look past its end is one
    /// look.
    taken: Vec<u64>,
    /// Where to start looking for room for a row with these bytes: before it there was none.
    hints: Map<Vec<u8>, u32>,
    /// No word before this one is free.
    floor: u32,
    automata: Map<Arc<Dfa>, u32>,
}

impl Packer {
    /// `front`: the words before the automata.
    pub(in crate::compile) fn new(front: Vec<u64>) -> Result<Self, Full> {
        let floor = front.len() as u32;
        let mut words = front;
        if words.len() > ARENA_WORDS as usize {
            return Err(Full);
        }
        words.resize(ARENA_WORDS as usize, 0);
        let mut this = Self {
            words,
            taken: vec![0; ARENA_WORDS as usize / 64 + 6],
            hints: Map::default(),
            floor,
            automata: Map::default(),
        };
        (0..floor).for_each(|index| this.take(index));
        (ARENA_WORDS..ARENA_WORDS + 6 * 64).for_each(|index| this.take(index));
        Ok(this)
    }

    /// Lays out an automaton and returns its start state. The same automaton is laid out once.
    pub(in crate::compile) fn add(&mut self, dfa: Arc<Dfa>) -> Result<u32, Full> {
        if let Some(&start) = self.automata.get(&dfa) {
            return Ok(start);
        }
        // Full rows first: what little they leave between them, the short ones fill.
        let mut order: Vec<u32> = (0..dfa.states.len() as u32).collect();
        order.sort_by_key(|&id| std::cmp::Reverse(dfa.states[id as usize].edges.len()));
        let mut at = vec![table::DEAD; dfa.states.len()];
        for id in order {
            if !is_dead(&dfa.states[id as usize], id) {
                at[id as usize] = self.place(&dfa.states[id as usize])?;
            }
        }
        for (state, &index) in dfa.states.iter().zip(&at).filter(|&(_, &index)| index != table::DEAD) {
            let header = u64::from(state.answer.0) << 32 | u64::from(at[state.default as usize]);
            self.words[index as usize] = header;
            for &(byte, next) in &state.edges {
                self.words[(index + 1 + u32::from(byte)) as usize] =
                    u64::from(index) << 32 | u64::from(at[next as usize]);
            }
        }
        let start = at[dfa.start as usize];
        self.automata.insert(dfa, start);
        Ok(start)
    }

    /// How many words are taken.
    pub(in crate::compile) fn used(&self) -> usize {
        let taken: u32 = self.taken[..ARENA_WORDS as usize / 64].iter().map(|word| word.count_ones()).sum();
        taken as usize
    }

    pub(in crate::compile) fn finish(self) -> Vec<u64> {
        self.words
    }

    fn take(&mut self, index: u32) {
        self.taken[index as usize / 64] |= 1 << (index % 64);
    }

    /// The 64 bits from `index` on.
    fn window(&self, index: u32) -> u64 {
        let (word, bit) = (index as usize / 64, index % 64);
        let Some(&first) = self.taken.get(word) else { return u64::MAX };
        let second = self.taken.get(word + 1).copied().unwrap_or(u64::MAX);
        if bit == 0 { first } else { first >> bit | second << (64 - bit) }
    }

    /// Finds room for a state and its edges, and takes it.
    fn place(&mut self, state: &State) -> Result<u32, Full> {
        let bytes: Vec<u8> = state.edges.iter().map(|&(byte, _)| byte).collect();
        while self.floor < ARENA_WORDS && self.window(self.floor) & 1 == 1 {
            self.floor += (!self.window(self.floor)).trailing_zeros().max(1);
        }
        let mut from = self.hints.get(&bytes).copied().unwrap_or(0).max(self.floor);
        let index = loop {
            if from >= ARENA_WORDS {
                return Err(Full);
            }
            let clash = bytes.iter().fold(self.window(from), |clash, &byte| {
                if clash == u64::MAX { clash } else { clash | self.window(from + 1 + u32::from(byte)) }
            });
            if clash != u64::MAX {
                break from + (!clash).trailing_zeros();
            }
            from += 64;
        };
        self.take(index);
        bytes.iter().for_each(|&byte| self.take(index + 1 + u32::from(byte)));
        self.hints.insert(bytes, index + 1);
        Ok(index)
    }
}

/// The state that the arena has already.
fn is_dead(state: &State, id: u32) -> bool {
    state.answer == table::Answer::NONE && state.default == id && state.edges.is_empty()
}
