//! Fragments → one nondeterministic automaton over bytes in which patterns with a common beginning share it.
//!
//! A node is a set of fragments that the same steps lead to, so the cost is the length of all patterns and
//! not their number times the length of what they are matched against. Steps only lead to fragments of
//! smaller numbers; what goes round is a node's loop on itself.

use guard_common::table::Answer;

use super::Group;
use super::fragment::{Fragment, FragmentId, Fragments, Item};
use super::symbol::{Map, SetId, Symbol};

#[derive(Debug, Default)]
pub(super) struct Node {
    /// Bytes of this set lead back here.
    pub(super) looping: Option<SetId>,
    pub(super) bytes: Vec<(u8, u32)>,
    pub(super) sets: Vec<(SetId, u32)>,
    silent: Vec<u32>,
    pub(super) accepts: Vec<Item>,
    /// This node and those that no byte at all leads to, useless ones left out.
    pub(super) closure: Vec<u32>,
    /// The most that plain groups can still say from here.
    pub(super) best: Best,
    /// The items of groups with exceptions or arguments that can still be reached from here.
    pub(super) special: Vec<Item>,
}

/// An upper bound of answers: one compares by rank, and shadow verdicts are counted apart.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Best {
    rank: u32,
    shadow: u32,
}

impl Best {
    const fn join(self, other: Self) -> Self {
        Self {
            rank: if self.rank >= other.rank { self.rank } else { other.rank },
            shadow: if self.shadow >= other.shadow { self.shadow } else { other.shadow },
        }
    }

    pub(super) const fn of(group: &Group) -> Self {
        Self {
            rank: if group.overrides { u32::MAX } else { rank(group.answer) },
            shadow: group.answer.shadow_code(),
        }
    }

    /// Whether anything bounded by this could change `base`.
    pub(super) const fn beats(self, base: Answer) -> bool {
        let stricter =
            if base.shadow_code() >= base.verdict_code() { base.shadow_code() } else { base.verdict_code() };
        self.rank > rank(base) || self.shadow > stricter
    }
}

/// What answers are compared by: verdict, rule, profile.
const fn rank(answer: Answer) -> u32 {
    answer.with_shadow(None).with_args(false).0
}

#[derive(Debug)]
pub(super) struct Nfa {
    pub(super) nodes: Vec<Node>,
    pub(super) root: u32,
}

/// A node before it is one: how it was reached, and which fragments it stands for.
type Key = (Option<SetId>, Vec<FragmentId>);

struct Builder<'a> {
    fragments: &'a Fragments,
    ids: Map<Key, u32>,
    keys: Vec<Key>,
    nodes: Vec<Node>,
}

impl Nfa {
    pub(super) fn new(fragments: &Fragments, roots: &[FragmentId], groups: &[Group]) -> Self {
        let mut builder = Builder { fragments, ids: Map::default(), keys: Vec::new(), nodes: Vec::new() };
        let root = builder.node(None, roots.iter().copied());
        let mut at = 0;
        while at < builder.keys.len() {
            builder.expand(at);
            at += 1;
        }
        let order = builder.order();
        let mut nodes = builder.nodes;
        let helpers = add_directories(&mut nodes);
        for id in order {
            finish(&mut nodes, id, groups);
            if let Some(&helper) = helpers.get(&id) {
                finish(&mut nodes, helper, groups);
            }
        }
        Self { nodes, root }
    }

    /// The groups whose patterns lead through `node`, if there are at most `most` of them.
    pub(super) fn groups_behind(&self, node: u32, most: usize) -> Vec<u32> {
        let mut groups = Vec::new();
        let mut seen = vec![node];
        let mut at = 0;
        while at < seen.len() {
            let node = &self.nodes[seen[at] as usize];
            at += 1;
            for item in &node.accepts {
                if !groups.contains(&item.group) {
                    groups.push(item.group);
                }
            }
            let bytes = node.bytes.iter().map(|&(_, next)| next);
            let sets = node.sets.iter().map(|&(_, next)| next);
            for next in bytes.chain(sets).chain(node.silent.iter().copied()) {
                if !seen.contains(&next) {
                    seen.push(next);
                }
            }
            // A node before very much stands for nobody in particular.
            if groups.len() > most || seen.len() > 512 {
                return Vec::new();
            }
        }
        groups
    }
}

impl Builder<'_> {
    fn node(&mut self, looping: Option<SetId>, parts: impl Iterator<Item = FragmentId>) -> u32 {
        let mut flat = Vec::new();
        parts.for_each(|part| self.fragments.flatten(part, &mut flat));
        flat.sort_unstable();
        flat.dedup();
        let key = (looping, flat);
        if let Some(&id) = self.ids.get(&key) {
            return id;
        }
        let id = self.keys.len() as u32;
        self.keys.push(key.clone());
        self.ids.insert(key, id);
        id
    }

    fn expand(&mut self, id: usize) {
        let (looping, fragments) = self.keys[id].clone();
        let mut node = Node { looping, ..Node::default() };
        let mut steps = Vec::new();
        for fragment in fragments {
            match self.fragments.get(fragment) {
                Fragment::Then(symbol, next) => steps.push((*symbol, *next)),
                Fragment::Accept(item) => node.accepts.push(*item),
                Fragment::Any(_) => unreachable!("choices were replaced by what can be chosen"),
            }
        }
        steps.sort_unstable();
        for same in steps.chunk_by(|a, b| a.0 == b.0) {
            let parts = same.iter().map(|&(_, next)| next);
            match same[0].0 {
                Symbol::Byte(byte) => node.bytes.push((byte, self.node(None, parts))),
                Symbol::Set(set) => node.sets.push((set, self.node(None, parts))),
                Symbol::Star(set) => node.silent.push(self.node(Some(set), parts)),
                // Marked by an impossible loop until the helper node exists.
                Symbol::Dirs => node.silent.push(self.node(None, parts) | DIRECTORIES),
            }
        }
        node.accepts.sort_unstable();
        debug_assert_eq!(self.nodes.len(), id);
        self.nodes.push(node);
    }

    /// Nodes so that each comes after all that it leads to.
    fn order(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.keys.len() as u32).collect();
        order.sort_by_key(|&id| self.keys[id as usize].1.last().copied());
        order
    }
}

/// Marks a silent step that any bytes ending in `/` may take the place of.
const DIRECTORIES: u32 = 1 << 31;

/// Gives each node behind directories a helper that reads them: round on every byte, on at each `/`.
fn add_directories(nodes: &mut Vec<Node>) -> Map<u32, u32> {
    let mut helpers = Map::default();
    for id in 0..nodes.len() {
        let mut silent = std::mem::take(&mut nodes[id].silent);
        for index in 0..silent.len() {
            if silent[index] & DIRECTORIES == 0 {
                continue;
            }
            silent[index] &= !DIRECTORIES;
            let behind = silent[index];
            let helper = *helpers.entry(behind).or_insert_with(|| {
                let bytes = vec![(b'/', behind)];
                nodes.push(Node { looping: Some(SetId::ALL), bytes, ..Node::default() });
                nodes.len() as u32 - 1
            });
            silent.push(helper);
        }
        nodes[id].silent = silent;
    }
    helpers
}

/// Computes what depends on the nodes behind `id`, all of which are finished.
fn finish(nodes: &mut [Node], id: u32, groups: &[Group]) {
    let node = &nodes[id as usize];
    let mut closure = Vec::new();
    if node.looping.is_some() || !node.bytes.is_empty() || !node.sets.is_empty() || !node.accepts.is_empty() {
        closure.push(id);
    }
    let mut best = Best::default();
    let mut special = Vec::new();
    for item in &node.accepts {
        let group = &groups[item.group as usize];
        if group.is_special() {
            special.push(*item);
        } else {
            best = best.join(Best::of(group));
        }
    }
    let bytes = node.bytes.iter().map(|&(_, next)| next);
    let sets = node.sets.iter().map(|&(_, next)| next);
    for next in bytes.chain(sets).chain(node.silent.iter().copied()) {
        let next = &nodes[next as usize];
        best = best.join(next.best);
        special.extend_from_slice(&next.special);
    }
    for &next in &node.silent {
        closure.extend_from_slice(&nodes[next as usize].closure);
    }
    closure.sort_unstable();
    closure.dedup();
    special.sort_unstable();
    special.dedup();
    let node = &mut nodes[id as usize];
    node.closure = closure;
    node.best = best;
    node.special = special;
}
