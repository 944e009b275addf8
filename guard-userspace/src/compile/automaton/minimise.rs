//! States that no bytes tell apart become one.
//!
//! States that do not lie on a common circle are numbered from the end of the automaton on by what they say
//! and where they lead, which is linear; only the circles need refinement in rounds. Two circles that say the
//! same are not found to be one: the automaton stays right and could in theory be a little smaller.

use super::symbol::Map;
use super::{Dfa, State};

mod circles;

/// Stands for "the state itself" where rows are compared.
const SELF: u32 = u32::MAX;

struct Classes {
    /// For each old state its new one, once known.
    of: Vec<u32>,
    states: Vec<State>,
    /// New states that lead only to themselves and to earlier ones, by what they say and where they lead.
    known: Map<State, u32>,
}

pub(super) fn minimise(dfa: &Dfa) -> Dfa {
    let mut classes = Classes { of: vec![SELF; dfa.states.len()], states: Vec::new(), known: Map::default() };
    circles::each(&dfa.states, |circle| match circle {
        [only] => classes.single(dfa, *only),
        _ => classes.circle(dfa, circle),
    });
    Dfa { start: classes.of[dfa.start as usize], states: classes.states }
}

impl Classes {
    /// A state that leads to none but itself and states that have their class.
    fn single(&mut self, dfa: &Dfa, id: u32) {
        let old = &dfa.states[id as usize];
        let row = mapped(old, |next| if next == id { SELF } else { self.of[next as usize] });
        let class = match self.known.get(&row) {
            Some(&class) => class,
            None => {
                let class = self.states.len() as u32;
                self.states.push(mapped(&row, |next| if next == SELF { class } else { next }));
                self.known.insert(row, class);
                class
            }
        };
        self.of[id as usize] = class;
    }

    /// States that lead round to each other: told apart in rounds until no round tells more apart.
    fn circle(&mut self, dfa: &Dfa, circle: &[u32]) {
        let first = self.states.len() as u32;
        // While a round runs, `of` holds the last round's classes, numbered behind those that are known.
        let mut count = 0;
        circle.iter().for_each(|&id| self.of[id as usize] = first);
        loop {
            let mut rows: Map<(u32, State), u32> = Map::default();
            let mut members: Vec<u32> = Vec::new();
            let next: Vec<u32> = circle
                .iter()
                .map(|&id| {
                    let row = mapped(&dfa.states[id as usize], |next| self.of[next as usize]);
                    *rows.entry((self.of[id as usize], row)).or_insert_with(|| {
                        members.push(id);
                        first + members.len() as u32 - 1
                    })
                })
                .collect();
            circle.iter().zip(&next).for_each(|(&id, &class)| self.of[id as usize] = class);
            if members.len() == count {
                for &id in &members {
                    self.states.push(mapped(&dfa.states[id as usize], |next| self.of[next as usize]));
                }
                return;
            }
            count = members.len();
        }
    }
}

/// The state with other numbers, edges that the default now covers left out.
fn mapped(state: &State, to: impl Fn(u32) -> u32) -> State {
    let default = to(state.default);
    let edges = state.edges.iter().map(|&(byte, next)| (byte, to(next)));
    State { answer: state.answer, default, edges: edges.filter(|&(_, next)| next != default).collect() }
}
