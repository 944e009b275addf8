//! Patterns as fragments: each says one step and what comes after it.
//!
//! Patterns are written from their end to their beginning and every fragment exists once, so patterns with a
//! common end share it. A fragment's number is larger than those of all fragments after it.

use std::hash::{Hash, Hasher};

use super::symbol::{ByteSet, Map, SetId, Symbol};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::compile) struct FragmentId(pub(super) u32);

/// What it means that a pattern matched: for its group or, as one of the group's exceptions, against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::compile) struct Item {
    pub(in crate::compile) group: u32,
    pub(in crate::compile) against: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fragment {
    Then(Symbol, FragmentId),
    Any(Box<[FragmentId]>),
    Accept(Item),
}

#[derive(Debug)]
pub(in crate::compile) struct Fragments {
    nodes: Vec<Fragment>,
    ids: Map<Fragment, FragmentId>,
    sets: Vec<ByteSet>,
    set_ids: Map<ByteSet, SetId>,
}

/// The tables that find what is there already say nothing more.
impl Hash for Fragments {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.nodes.hash(state);
        self.sets.hash(state);
    }
}

impl Fragments {
    pub(in crate::compile) fn new() -> Self {
        let mut this =
            Self { nodes: Vec::new(), ids: Map::default(), sets: Vec::new(), set_ids: Map::default() };
        let all = this.intern_set(ByteSet::ALL);
        debug_assert_eq!(all, SetId::ALL);
        this
    }

    pub(in crate::compile) fn accept(&mut self, group: u32, against: bool) -> FragmentId {
        self.intern(Fragment::Accept(Item { group, against }))
    }

    /// One byte of `set`, then `next`.
    pub(in crate::compile) fn set(&mut self, set: ByteSet, next: FragmentId) -> FragmentId {
        let symbol = match set.single() {
            Some(byte) => Symbol::Byte(byte),
            None => Symbol::Set(self.intern_set(set)),
        };
        self.intern(Fragment::Then(symbol, next))
    }

    /// Any number of bytes of `set`, then `next`.
    pub(in crate::compile) fn star(&mut self, set: ByteSet, next: FragmentId) -> FragmentId {
        let set = self.intern_set(set);
        self.intern(Fragment::Then(Symbol::Star(set), next))
    }

    pub(in crate::compile) fn dirs(&mut self, next: FragmentId) -> FragmentId {
        self.intern(Fragment::Then(Symbol::Dirs, next))
    }

    pub(in crate::compile) fn bytes(&mut self, bytes: &[u8], next: FragmentId) -> FragmentId {
        bytes.iter().rev().fold(next, |next, &byte| self.intern(Fragment::Then(Symbol::Byte(byte), next)))
    }

    /// Any of `choices`.
    pub(in crate::compile) fn any(&mut self, mut choices: Vec<FragmentId>) -> FragmentId {
        choices.sort_unstable();
        choices.dedup();
        match choices.as_slice() {
            [only] => *only,
            _ => self.intern(Fragment::Any(choices.into())),
        }
    }

    pub(super) fn get(&self, id: FragmentId) -> &Fragment {
        &self.nodes[id.0 as usize]
    }

    pub(super) fn symbols(&self) -> impl Iterator<Item = Symbol> + '_ {
        self.nodes.iter().filter_map(|node| match node {
            Fragment::Then(symbol, _) => Some(*symbol),
            Fragment::Any(_) | Fragment::Accept(_) => None,
        })
    }

    pub(super) fn byte_set(&self, id: SetId) -> &ByteSet {
        &self.sets[id.0 as usize]
    }

    /// Adds `id` to `into`, choices replaced by what can be chosen.
    pub(super) fn flatten(&self, id: FragmentId, into: &mut Vec<FragmentId>) {
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            match self.get(id) {
                Fragment::Any(choices) => open.extend_from_slice(choices),
                Fragment::Then(..) | Fragment::Accept(_) => into.push(id),
            }
        }
    }

    fn intern(&mut self, fragment: Fragment) -> FragmentId {
        if let Some(&id) = self.ids.get(&fragment) {
            return id;
        }
        let id = FragmentId(self.nodes.len() as u32);
        self.nodes.push(fragment.clone());
        self.ids.insert(fragment, id);
        id
    }

    fn intern_set(&mut self, set: ByteSet) -> SetId {
        if let Some(&id) = self.set_ids.get(&set) {
            return id;
        }
        let id = SetId(self.sets.len() as u32);
        self.sets.push(set);
        self.set_ids.insert(set, id);
        id
    }
}
