//! The naive oracle: what a request is answered, worked out one rule at a time from the words of the policy
//! language. It shares no code with the compiler or with the matching of `guard policy explain`; the only thing
//! it takes from guard is the text of the baseline.
//!
//! `model` says what a policy says, `glob` and `args` what a pattern means, `judge` what is answered, `generate`
//! makes policies and requests up, `lower` writes a policy down in guard's own types.

pub mod args;
pub mod generate;
pub mod glob;
pub mod judge;
pub mod lower;
pub mod model;
pub mod random;
