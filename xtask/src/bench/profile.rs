//! The AppArmor profile of the comparison, compiled by Debian's parser.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::debian::apt::Apt;
use crate::{paths, run};

/// Where the guest finds it.
pub(super) const AT: &str = "/usr/share/guard-bench/apparmor";

const SOURCE: &str = "bench/apparmor.profile";

/// The compiled profile: Debian's parser, unpacked into `target/tools`, knows the features of its own kernel.
pub(super) fn compiled(kernel: &str) -> Result<PathBuf> {
    let dir = paths::tools().join("apparmor");
    if !dir.is_dir() {
        let suites = ["bookworm".to_owned()];
        let apt = Apt::open("apparmor", &suites, false)?;
        paths::build_dir(&dir, |part| apt.unpack(&["apparmor".to_owned()], part))
            .context("get AppArmor's parser")?;
    }
    let out = paths::target().join("bench").join(format!("apparmor-{kernel}"));
    paths::write(&out, b"")?;
    run::quiet(
        "compile the AppArmor profile",
        Command::new(dir.join("sbin/apparmor_parser"))
            .args(["--skip-kernel-load", "--skip-cache", "--config-file", "/dev/null", "--features-file"])
            .arg(dir.join("etc/apparmor.d/abi/3.0"))
            .args(["--base", "/nonexistent", "--ofile"])
            .arg(&out)
            .arg(paths::root().join(SOURCE)),
    )?;
    Ok(out)
}
