//! Ring bytes → typed [`Event`]: parsed, never transmuted.
//!
//! A number that stands for no value of its enum makes a [`Corrupt`] event, which is counted and recorded as such:
//! whatever the kernel sent, something is known to have happened.

mod address;
mod parse;
mod sequence;

pub use address::{Peer, Protocol};
pub use parse::{Corrupt, Event, Field, Flags};
pub use sequence::{Gap, Sequences};

#[cfg(test)]
pub(crate) use parse::tests as parse_tests;
