//! What one step of a pattern can be: a byte, a set of bytes, a run of them, or directories.

use std::hash::{BuildHasherDefault, Hasher};

/// A set of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::compile) struct ByteSet([u64; 4]);

impl ByteSet {
    pub(in crate::compile) const EMPTY: Self = Self([0; 4]);
    pub(in crate::compile) const ALL: Self = Self([u64::MAX; 4]);

    pub(in crate::compile) fn range(first: u8, last: u8) -> Self {
        let mut set = Self::EMPTY;
        (first..=last).for_each(|byte| set.insert(byte));
        set
    }

    pub(in crate::compile) fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }

    pub(in crate::compile) fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    pub(in crate::compile) fn without(mut self, byte: u8) -> Self {
        self.0[usize::from(byte >> 6)] &= !(1 << (byte & 63));
        self
    }

    /// The set's one byte, if it has exactly one.
    pub(super) fn single(&self) -> Option<u8> {
        let mut bytes = (0..=u8::MAX).filter(|&byte| self.contains(byte));
        match (bytes.next(), bytes.next()) {
            (Some(byte), None) => Some(byte),
            (Some(_) | None, _) => None,
        }
    }
}

/// An interned [`ByteSet`]; number 0 is [`ByteSet::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::compile) struct SetId(pub(super) u32);

impl SetId {
    pub(super) const ALL: Self = Self(0);
}

/// One step of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::compile) enum Symbol {
    Byte(u8),
    /// One byte of a set.
    Set(SetId),
    /// Any number of bytes of a set.
    Star(SetId),
    /// Nothing, or any bytes that end in `/`.
    Dirs,
}

/// A hash for tables that are never iterated. The default one resists chosen keys; here a policy's author
/// could at worst slow the compiler of their own policy, which has a budget.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::compile) struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        // The table takes its buckets from one end of the word and the product mixes towards the other.
        self.0.rotate_left(26)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}

/// A table that is only ever asked, never listed: listing it would make the plan depend on hashes.
pub(in crate::compile) type Map<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<Mixer>>;
