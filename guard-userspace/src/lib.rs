//! Everything of guard that runs in userspace; the binary `guard` is a thin front to it.
//!
//! In the order of the data's way: [`policy`] (text → what it says) → [`compile`] (→ what the kernel is told) →
//! [`kernel`] (loads the programs and tells them).
#![deny(unsafe_code)]

pub mod compile;
pub mod kernel;
pub mod policy;

mod sys;
