//! What guard's kernel half and host half must agree on.
//!
//! Two things live here and nothing else: the types that cross the boundary ([`abi`]), each with its layout
//! asserted, and the decision ([`decide`], [`budget`]), pure code over the words of a compiled policy ([`table`])
//! that the BPF programs, `guard policy explain`, replay and the tests all run.
#![no_std]

pub mod abi;
pub mod budget;
pub mod decide;
pub mod digest;
pub mod key;
pub mod limits;
pub mod nuls;
pub mod table;
