//! The subset construction: one state for each set of positions that the same bytes lead to.

use std::rc::Rc;

use guard_common::table::Answer;

use super::args::{self, Outcome};
use super::nfa::Nfa;
use super::symbol::{Map, SetId};
use super::{Budget, Dfa, Labels, Language, Overflow, State};

mod normalise;
mod partition;

use partition::{Partition, Partitions};

/// What tells states apart: what has been said for good, and the positions that can still change it. The
/// positions are nodes of the automaton for paths or, behind the NUL that ends a path, states of arguments.
/// The answer comes first, the positions behind it: one slice, which a table can be asked for as it is.
type Key = Rc<[u32]>;

struct Builder<'a, 'b> {
    language: &'a Language,
    nfa: Nfa,
    /// For each group with arguments, the number of the first of its arguments' states.
    args: Vec<u32>,
    labels: Labels<'b>,
    work: usize,
    ids: Map<Key, u32>,
    keys: Vec<Key>,
    partitions: Partitions,
    /// Room for sets that are being gathered.
    scratch: Vec<u32>,
}

pub(super) fn determinise(language: &Language, labels: Labels<'_>, budget: Budget) -> Result<Dfa, Overflow> {
    let nfa = Nfa::new(&language.fragments, &language.roots, &language.groups);
    let mut free = nfa.nodes.len() as u32;
    let mut first_state = |args: Option<u32>| {
        let first = free;
        free += args.map_or(0, |args| language.args[args as usize].states.len() as u32);
        first
    };
    let args = language.groups.iter().map(|group| first_state(group.args)).collect();
    let mut builder = Builder {
        language,
        nfa,
        args,
        labels,
        work: 0,
        ids: Map::default(),
        keys: Vec::new(),
        partitions: Partitions::default(),
        scratch: Vec::new(),
    };
    let mut root = builder.nfa.nodes[builder.nfa.root as usize].closure.clone();
    let start = builder.intern_nodes(Answer::NONE, &mut root);
    let mut states = Vec::new();
    while states.len() < builder.keys.len() {
        let state = builder.state(states.len() as u32, start);
        states.push(state);
        if builder.keys.len() > budget.states || builder.work > budget.work {
            return Err(Overflow { blame: builder.blame() });
        }
    }
    Ok(Dfa { states, start })
}

impl Builder<'_, '_> {
    /// The state for `base` and `positions`, which are in their one form.
    fn intern(&mut self, base: Answer, positions: &[u32]) -> u32 {
        let mut key = std::mem::take(&mut self.scratch);
        key.clear();
        key.push(base.0);
        key.extend_from_slice(positions);
        let id = match self.ids.get(key.as_slice()) {
            Some(&id) => id,
            None => {
                let id = self.keys.len() as u32;
                let key: Key = Rc::from(key.as_slice());
                self.keys.push(Rc::clone(&key));
                self.ids.insert(key, id);
                id
            }
        };
        self.scratch = key;
        id
    }

    /// The state for `base` and the nodes in `set`, which is used up.
    fn intern_nodes(&mut self, base: Answer, set: &mut Vec<u32>) -> u32 {
        self.work += set.len() + 1;
        let base = match self.labels {
            Labels::Join => normalise::nodes(&self.nfa, &self.language.groups, base, set),
            Labels::Sets(_) => {
                set.sort_unstable();
                set.dedup();
                base
            }
        };
        self.intern(base, set)
    }

    fn state(&mut self, id: u32, start: u32) -> State {
        let key = Rc::clone(&self.keys[id as usize]);
        let (base, positions) = (Answer(key[0]), &key[1..]);
        let mut state = match positions.first() {
            None => State { answer: self.label(base, &[]), default: id, edges: Vec::new() },
            Some(&first) if first < self.nfa.nodes.len() as u32 => self.node_state(base, positions),
            Some(_) => self.args_state(base, positions),
        };
        if id == start {
            // The kernel walks whole blocks; what it pads the first with must lead nowhere.
            state.edges.retain(|&(byte, _)| byte != 0);
            state.edges.insert(0, (0, start));
        }
        state.edges.retain(|&(_, next)| next != state.default);
        state
    }

    fn label(&mut self, base: Answer, matching: &[u32]) -> Answer {
        match &mut self.labels {
            Labels::Join => base,
            Labels::Sets(label) => label(matching),
        }
    }

    fn node_state(&mut self, base: Answer, nodes: &[u32]) -> State {
        let (answer, conditional) = self.judge(base, nodes);
        let (classes, partition) = self.class_targets(nodes);
        let mut bytes: Vec<(u8, u32)> = Vec::new();
        for &node in nodes {
            bytes.extend_from_slice(&self.nfa.nodes[node as usize].bytes);
        }
        bytes.sort_unstable();
        let mut set = Vec::new();
        let mut ids = Vec::with_capacity(classes.len());
        for targets in &classes {
            set.clone_from(targets);
            ids.push(self.intern_nodes(base, &mut set));
        }
        let mut next: [u32; 256] = partition.class.map(|class| ids[usize::from(class)]);
        for same in bytes.chunk_by(|a, b| a.0 == b.0) {
            let byte = usize::from(same[0].0);
            set.clear();
            set.extend_from_slice(&classes[usize::from(partition.class[byte])]);
            for &(_, node) in same {
                set.extend_from_slice(&self.nfa.nodes[node as usize].closure);
            }
            next[byte] = self.intern_nodes(base, &mut set);
        }
        if !conditional.is_empty() {
            let first: Vec<u32> =
                conditional.iter().map(|&group| self.args[group as usize] + args::START).collect();
            next[0] = self.intern_args(answer.with_args(false), first);
        }
        row(answer, ids[partition.largest], &next)
    }

    /// For each class of bytes that the sets at `nodes` do not tell apart, the nodes they lead to.
    fn class_targets(&mut self, nodes: &[u32]) -> (Vec<Vec<u32>>, Rc<Partition>) {
        let mut steps: Vec<(SetId, u32)> = Vec::new();
        for &id in nodes {
            let node = &self.nfa.nodes[id as usize];
            if let Some(set) = node.looping {
                steps.push((set, id));
            }
            steps.extend_from_slice(&node.sets);
        }
        steps.sort_unstable();
        let mut sets: Vec<SetId> = steps.iter().map(|&(set, _)| set).collect();
        sets.dedup();
        let partition = self.partitions.get(&self.language.fragments, sets);
        let mut classes = vec![Vec::new(); partition.representatives.len()];
        for (targets, &byte) in classes.iter_mut().zip(&partition.representatives) {
            for &(set, node) in &steps {
                if self.language.fragments.byte_set(set).contains(byte) {
                    targets.extend_from_slice(&self.nfa.nodes[node as usize].closure);
                }
            }
            targets.sort_unstable();
            targets.dedup();
        }
        (classes, partition)
    }

    /// The answer of a state, and the groups that ask for arguments and could still change it.
    fn judge(&mut self, base: Answer, nodes: &[u32]) -> (Answer, Vec<u32>) {
        let mut matching = Vec::new();
        let mut against = Vec::new();
        for &node in nodes {
            for item in &self.nfa.nodes[node as usize].accepts {
                if item.against { &mut against } else { &mut matching }.push(item.group);
            }
        }
        matching.sort_unstable();
        matching.dedup();
        matching.retain(|group| !against.contains(group));
        if let Labels::Sets(_) = self.labels {
            return (self.label(base, &matching), Vec::new());
        }
        let groups = &self.language.groups;
        let last_word = matching.iter().map(|&group| &groups[group as usize]).find(|group| group.overrides);
        if let Some(group) = last_word {
            return (group.answer, Vec::new());
        }
        let (conditional, plain): (Vec<u32>, Vec<u32>) =
            matching.iter().partition(|&&group| groups[group as usize].args.is_some());
        let answer = plain.iter().fold(base, |answer, &group| answer.join(groups[group as usize].answer));
        let answer = normalise::answer(answer);
        let open = conditional.into_iter().filter(|&group| normalise::beats(&groups[group as usize], answer));
        let open: Vec<u32> = open.collect();
        (answer.with_args(!open.is_empty()), open)
    }

    fn intern_args(&mut self, mut base: Answer, mut positions: Vec<u32>) -> u32 {
        self.work += positions.len() + 1;
        let language = self.language;
        positions.sort_unstable();
        positions.dedup();
        positions.retain(|&position| {
            let (group, state) = self.argument(position);
            let group = &language.groups[group as usize];
            match language.args[group.args.unwrap_or(0) as usize].states[state as usize].outcome {
                Outcome::Open => true,
                Outcome::Failed => false,
                Outcome::Matched => {
                    base = normalise::answer(base.join(group.answer));
                    false
                }
            }
        });
        positions
            .retain(|&position| normalise::beats(&language.groups[self.argument(position).0 as usize], base));
        self.intern(base, &positions)
    }

    /// The group and the state of its arguments behind a position.
    fn argument(&self, position: u32) -> (u32, u32) {
        // Groups without arguments take no numbers, so the last group that begins here or before has some.
        let group = self.args.partition_point(|&first| first <= position) - 1;
        (group as u32, position - self.args[group])
    }

    fn args_state(&mut self, base: Answer, positions: &[u32]) -> State {
        let language = self.language;
        let rows: Vec<_> = positions
            .iter()
            .map(|&position| {
                let (group, state) = self.argument(position);
                let args = language.groups[group as usize].args.unwrap_or(0);
                (self.args[group as usize], &language.args[args as usize].states[state as usize])
            })
            .collect();
        let mut bytes: Vec<u8> =
            rows.iter().flat_map(|(_, row)| row.edges.iter().map(|&(byte, _)| byte)).collect();
        bytes.sort_unstable();
        bytes.dedup();
        let default = rows.iter().map(|(first, row)| first + row.default).collect();
        let default = self.intern_args(base, default);
        let mut next = [default; 256];
        for byte in bytes {
            let target = rows.iter().map(|(first, row)| {
                let edge = row.edges.binary_search_by_key(&byte, |&(byte, _)| byte);
                first + edge.map_or(row.default, |index| row.edges[index].1)
            });
            next[usize::from(byte)] = self.intern_args(base, target.collect());
        }
        row(base, default, &next)
    }

    /// The groups whose positions fill the most states.
    fn blame(&self) -> Vec<u32> {
        let mut weight = vec![0usize; self.language.groups.len()];
        let mut seen = vec![0usize; self.nfa.nodes.len()];
        for &position in self.keys.iter().flat_map(|key| key[1..].iter()) {
            if let Some(count) = seen.get_mut(position as usize) {
                *count += 1;
            } else {
                weight[self.argument(position).0 as usize] += 1;
            }
        }
        // A position that is not on every path stands for itself; one before everything stands for nobody.
        for (node, &count) in seen.iter().enumerate() {
            for group in self.nfa.groups_behind(node as u32, 8) {
                weight[group as usize] += count;
            }
        }
        let mut order: Vec<u32> = (0..weight.len() as u32).collect();
        order.sort_by_key(|&group| std::cmp::Reverse(weight[group as usize]));
        order.retain(|&group| weight[group as usize] > 0);
        order
    }
}

fn row(answer: Answer, default: u32, next: &[u32; 256]) -> State {
    let edges = (0..=u8::MAX).zip(next.iter().copied()).filter(|&(_, next)| next != default).collect();
    State { answer, default, edges }
}
