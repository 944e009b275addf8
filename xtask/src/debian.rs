//! Packages from the machine's own configured Debian mirror, without touching the machine.

pub(crate) mod apt;
pub(crate) mod kernel;
pub(crate) mod modules;
pub(crate) mod qemu;
pub(crate) mod root;
mod sources;
