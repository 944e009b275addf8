//! Strongly connected components, those that others lead to first (Tarjan's algorithm without recursion:
//! a path may be longer than the stack is deep).

use super::super::State;

struct Frame {
    state: u32,
    /// The next successor to look at; 0 is the default, then the edges.
    at: usize,
}

const UNSEEN: u32 = u32::MAX;
/// Larger than every index: the component is complete.
const DONE: u32 = u32::MAX - 1;

/// Calls `each` with every component in an order in which all that a component leads to comes before it.
pub(super) fn each(states: &[State], mut each: impl FnMut(&[u32])) {
    let mut low = vec![UNSEEN; states.len()];
    let mut open = Vec::new();
    let mut frames = Vec::new();
    let mut index = 0;
    for root in 0..states.len() as u32 {
        if low[root as usize] != UNSEEN {
            continue;
        }
        let mut indices = Vec::new();
        let mut enter = |state: u32, low: &mut Vec<u32>, open: &mut Vec<u32>, frames: &mut Vec<Frame>| {
            low[state as usize] = index;
            open.push(state);
            frames.push(Frame { state, at: 0 });
            index += 1;
            index - 1
        };
        indices.push(enter(root, &mut low, &mut open, &mut frames));
        while let Some(frame) = frames.last_mut() {
            let state = frame.state as usize;
            if let Some(next) = successor(&states[state], frame.at) {
                frame.at += 1;
                if low[next as usize] == UNSEEN {
                    indices.push(enter(next, &mut low, &mut open, &mut frames));
                } else if low[next as usize] != DONE {
                    low[state] = low[state].min(low[next as usize]);
                }
                continue;
            }
            let own = indices.pop().unwrap_or(0);
            if low[state] == own {
                let from = open.iter().rposition(|&id| id as usize == state).unwrap_or(0);
                open[from..].iter().for_each(|&id| low[id as usize] = DONE);
                open[from..].sort_unstable();
                each(&open[from..]);
                open.truncate(from);
            }
            frames.pop();
            if let Some(parent) = frames.last() {
                let (parent, low_here) = (parent.state as usize, low[state]);
                if low_here != DONE {
                    low[parent] = low[parent].min(low_here);
                }
            }
        }
    }
}

fn successor(state: &State, at: usize) -> Option<u32> {
    match at {
        0 => Some(state.default),
        _ => state.edges.get(at - 1).map(|&(_, next)| next),
    }
}
