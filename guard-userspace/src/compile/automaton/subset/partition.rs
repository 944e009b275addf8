//! Bytes that a choice of sets does not tell apart.

use std::rc::Rc;

use super::super::fragment::Fragments;
use super::super::symbol::{Map, SetId};

#[derive(Debug)]
pub(super) struct Partition {
    /// For each byte, its class.
    pub(super) class: [u8; 256],
    /// For each class, one of its bytes.
    pub(super) representatives: Vec<u8>,
    /// The class with the most bytes.
    pub(super) largest: usize,
}

/// The partitions met so far: the same few sets come together in most states.
#[derive(Debug, Default)]
pub(super) struct Partitions(Map<Vec<SetId>, Rc<Partition>>);

impl Partitions {
    pub(super) fn get(&mut self, fragments: &Fragments, sets: Vec<SetId>) -> Rc<Partition> {
        if let Some(partition) = self.0.get(&sets) {
            return Rc::clone(partition);
        }
        let mut kinds: Map<Vec<bool>, u8> = Map::default();
        let mut partition = Partition { class: [0; 256], representatives: Vec::new(), largest: 0 };
        for byte in 0..=u8::MAX {
            let kind = sets.iter().map(|&set| fragments.byte_set(set).contains(byte)).collect();
            let class = *kinds.entry(kind).or_insert_with(|| {
                partition.representatives.push(byte);
                (partition.representatives.len() - 1) as u8
            });
            partition.class[usize::from(byte)] = class;
        }
        let mut sizes = vec![0; partition.representatives.len()];
        partition.class.iter().for_each(|&class| sizes[usize::from(class)] += 1);
        let largest = sizes.iter().max().and_then(|most| sizes.iter().position(|size| size == most));
        partition.largest = largest.unwrap_or(0);
        let partition = Rc::new(partition);
        self.0.insert(sets, Rc::clone(&partition));
        partition
    }
}
