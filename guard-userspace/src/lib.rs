//! Everything of guard that runs in userspace; the binary `guard` is a thin front to it.
//!
//! In the order of the data's way: [`policy`] (text → what it says) → [`compile`] (→ what the kernel is told) →
//! [`kernel`] (loads the programs and tells them) → [`events`] (what they send) → [`audit`] (what is written down of
//! it) → [`sinks`] and [`metrics`] (what others are told of it); [`daemon`] keeps it all going, [`control`] is how the commands speak with it, [`why`] what it tells agents, and [`status`] says what the kernel holds.
#![deny(unsafe_code)]

pub mod approvals;
pub mod audit;
pub mod bench;
pub mod compile;
pub mod config;
pub mod control;
pub mod daemon;
pub mod discover;
pub mod doctor;
pub mod drill;
pub mod events;
pub mod kernel;
pub mod metrics;
pub mod policy;
pub mod sinks;
pub mod status;
pub mod why;

mod sys;
