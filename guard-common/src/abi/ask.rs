//! A question put to the decision in the kernel by the parity test. The program that takes it is never attached.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::limits::PATH_MAX;

/// The question, and the answer in it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ask {
    pub domain: u32,
    /// [`super::Action`] by its number.
    pub action: u32,
    /// An address key as the three words that end in it; all zero where the object is bytes.
    pub key: [u64; 3],
    /// Where the object begins in `bytes`, at whose end it ends.
    pub start: u64,
    /// Words of argv, the program's own name among them, and bytes, each word's NUL among them.
    pub argc: u64,
    pub argv_length: u64,
    /// Why nothing could be decided; 0 if something was.
    pub reason: u64,
    pub answer: u32,
    pub policy: u32,
    pub shadow: u32,
    pub shadow_policy: u32,
    pub bytes: [u8; PATH_MAX],
    pub argv: [u8; PATH_MAX],
}

const _: () = assert!(size_of::<Ask>() == 80 + 2 * PATH_MAX);
