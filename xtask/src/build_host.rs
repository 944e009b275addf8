//! Static programs for the guests, from this repository.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::{paths, run};

/// No musl target is needed: glibc links statically for what these programs do.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// PID 1 of the guests.
pub(crate) fn guest_init() -> Result<PathBuf> {
    static_binary("guard-guest-init", "guest-init")
}

/// The program itself, with the BPF object inside.
pub(crate) fn guard() -> Result<PathBuf> {
    static_binary("guard-userspace", "guard")
}

/// The tests that run in guests.
pub(crate) fn guest_tests() -> Result<PathBuf> {
    static_binary("guard-tests", "guest-tests")
}

/// The demonstration.
pub(crate) fn demo() -> Result<PathBuf> {
    static_binary("guard-tests", "demo")
}

/// Cargo with one set of flags for all that runs in guests and for the host's tests: the dependencies are then
/// compiled once.
pub(crate) fn cargo(verb: &str) -> Command {
    let mut cargo = Command::new("cargo");
    run::clean_env(&mut cargo);
    cargo.current_dir(paths::root()).env("RUSTFLAGS", "-C target-feature=+crt-static");
    cargo.args([verb, "--locked", "--target", TRIPLE, "--profile", "guest"]);
    cargo
}

fn static_binary(package: &str, name: &str) -> Result<PathBuf> {
    run::loud(
        &format!("build {name} for the guests"),
        cargo("build").args(["--quiet", "-p", package, "--bin", name]),
    )?;
    Ok(paths::target().join(TRIPLE).join("guest").join(name))
}
