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

/// The same as it is packaged: optimised, which takes minutes to build.
pub(crate) fn released_guard() -> Result<PathBuf> {
    let mut cargo = cargo_for("build", "release");
    run::loud("build guard for release", cargo.args(["--quiet", "-p", "guard-userspace", "--bin", "guard"]))?;
    Ok(paths::target().join(TRIPLE).join("release").join("guard"))
}

/// The demonstration.
pub(crate) fn demo() -> Result<PathBuf> {
    static_binary("guard-tests", "demo")
}

/// The measurement.
pub(crate) fn bench() -> Result<PathBuf> {
    static_binary("guard-bench", "guard-bench")
}

/// Cargo with one set of flags for all that runs in guests and for the host's tests: the dependencies are then
/// compiled once.
pub(crate) fn cargo(verb: &str) -> Command {
    cargo_for(verb, "guest")
}

fn cargo_for(verb: &str, profile: &str) -> Command {
    let mut cargo = Command::new("cargo");
    run::clean_env(&mut cargo);
    cargo.current_dir(paths::root()).env("RUSTFLAGS", "-C target-feature=+crt-static");
    cargo.args([verb, "--locked", "--target", TRIPLE, "--profile", profile]);
    cargo
}

/// Every program and test of the host crates at once, as `cargo test` wants them: built one by one, with fewer
/// features of their dependencies asked for, those would be compiled again. Gives back where the programs are.
pub(crate) fn everything() -> Result<PathBuf> {
    let mut cargo = cargo("build");
    cargo.args([
        "--quiet",
        "--workspace",
        "--exclude",
        "guard-ebpf",
        "--lib",
        "--bins",
        "--tests",
        "--examples",
    ]);
    run::loud("build the host crates", &mut cargo)?;
    Ok(programs())
}

fn programs() -> PathBuf {
    paths::target().join(TRIPLE).join("guest")
}

fn static_binary(package: &str, name: &str) -> Result<PathBuf> {
    run::loud(
        &format!("build {name} for the guests"),
        cargo("build").args(["--quiet", "-p", package, "--bin", name]),
    )?;
    Ok(programs().join(name))
}
