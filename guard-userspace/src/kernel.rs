//! The kernel half from the host's side: what this kernel is, what is loaded, what it holds.

mod ask;
mod attach;
pub mod btf;
mod checks;
mod data;
mod error;
mod facts;
#[cfg(test)]
mod frames;
mod govern;
mod holds;
pub mod hooks;
mod install;
mod leftovers;
mod load;
mod pins;
mod spent;
mod symbols;
mod why;

pub use ask::Asker;
pub use error::LoadError;
pub use facts::FactError;
pub use govern::Governed;
pub use holds::go_on;
pub use hooks::Tier;
pub use install::{Arenas, InstallError};
pub(crate) use load::forget_object;
pub use load::{HookState, Kernel, build_id, facts, fitness, probe, refuse_old_kernels};
pub use pins::Pins;
pub use symbols::ways_agree as symbols_agree;
pub use why::WhyMarks;
