//! Everything of guard that runs in userspace; the binary `guard` is a thin front to it.
//!
//! The modules stand in the order of the data's way: policy text comes in at the top.
#![deny(unsafe_code)]

pub mod policy;

pub mod kernel;

mod sys;
