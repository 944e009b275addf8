//! Static programs for the guests, from this repository.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::{paths, run};

/// No musl target is needed: glibc links statically for what these programs do.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

pub(crate) fn guest_init() -> Result<PathBuf> {
    let mut built = static_binaries("guard-guest-init", &["guest-init"], "release")?;
    Ok(built.remove(0))
}

/// Builds programs of a package statically; gives back their paths in the order asked for.
pub(crate) fn static_binaries(package: &str, names: &[&str], profile: &str) -> Result<Vec<PathBuf>> {
    let mut cargo = Command::new("cargo");
    run::clean_env(&mut cargo);
    cargo.current_dir(paths::root()).env("RUSTFLAGS", "-C target-feature=+crt-static");
    cargo.args([
        "build",
        "--quiet",
        "--locked",
        "--target",
        TRIPLE,
        "--profile",
        profile,
        "--package",
        package,
    ]);
    for name in names {
        cargo.args(["--bin", name]);
    }
    run::loud(&format!("build {package} for the guests"), &mut cargo)?;
    let dir = paths::target().join(TRIPLE).join(if profile == "dev" { "debug" } else { profile });
    Ok(names.iter().map(|name| dir.join(name)).collect())
}
