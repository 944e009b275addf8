//! `cargo xtask setup`: what the other commands need, installed once.

use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::debian::kernel::Promise;
use crate::{build_ebpf, debian, run};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Fetch kernels anew, to get the newest of each series
    #[arg(long)]
    refresh_kernels: bool,
    /// Make the guests' Debian anew, of today's packages
    #[arg(long)]
    refresh_root: bool,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    build_ebpf::ready()?;
    debian::qemu::Qemu::get()?;
    debian::qemu::busybox()?;
    if args.refresh_root {
        debian::root::forget()?;
    }
    debian::root::Root::get(&[])?;
    for series in debian::kernel::SERIES {
        if args.refresh_kernels {
            debian::kernel::forget(series)?;
        }
        match debian::kernel::Kernel::get(series.name) {
            Ok(kernel) => println!("{}: {}", kernel.series, kernel.release),
            // The matrix treats it the same way: a release candidate is a warning.
            Err(error) if series.promise == Promise::Warns => eprintln!("xtask: warning: {error:#}"),
            Err(error) => return Err(error),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What booting a guest needs of the machine.
pub(crate) fn guests() -> Result<()> {
    packages(&unpackers_missing())
}

/// Packages with the programs that unpack kernel modules, where those are missing.
pub(crate) fn unpackers_missing() -> Vec<&'static str> {
    let unpackers = [("xz", "xz-utils"), ("zstd", "zstd")];
    unpackers
        .into_iter()
        .filter(|(program, _)| run::which(program).is_none())
        .map(|(_, package)| package)
        .collect()
}

/// Installs the packages that are missing, as root and aloud; otherwise says how.
pub(crate) fn packages(wanted: &[&str]) -> Result<()> {
    let missing: Vec<_> = wanted.iter().copied().filter(|package| !installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if run::which("apt-get").is_none() {
        bail!("this machine lacks {list} (Debian's names) and has no apt-get to install them with");
    }
    let uid = run::quiet("ask who is running this", Command::new("id").arg("-u"))?;
    if uid.trim() != "0" {
        bail!(
            "packages are missing; run: sudo apt-get update && sudo apt-get install -y --no-install-recommends {list}"
        );
    }
    eprintln!("xtask: installing Debian packages: {list}");
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
        command
    };
    run::quiet("apt-get update", apt().args(["update", "-qq"]))?;
    run::quiet(
        &format!("apt-get install {list}"),
        apt().args(["install", "-qq", "-y", "--no-install-recommends"]).args(&missing),
    )?;
    Ok(())
}

fn installed(package: &str) -> bool {
    let status =
        run::quiet("ask dpkg", Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]));
    status.is_ok_and(|status| status == "installed")
}
