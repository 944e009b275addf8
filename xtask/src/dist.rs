//! `cargo xtask dist`: the package, as it is given away. Two runs on the same commit give the same bytes.

mod deb;
mod sbom;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::{build_ebpf, paths, run};

pub(crate) use deb::Package;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Make everything twice, the second time from nothing, and compare
    #[arg(long)]
    check: bool,
    /// Package this program, and the `guard-attempt` beside it, instead of building them
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    program: Option<PathBuf>,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    if let Some(guard) = &args.program {
        let package = Package::of(guard, VERSION.to_owned(), epoch()?);
        println!("{}", package.write(&paths::target().join("dist-program"))?.display());
        return Ok(ExitCode::SUCCESS);
    }
    build_ebpf::build()?;
    let made = make("dist")?;
    println!("{}", made.display());
    if args.check {
        let again = make("dist-again")?;
        let same = std::fs::read(&made).context("read the package")?
            == std::fs::read(&again).context("read the second package")?;
        if !same {
            bail!("two builds differ: compare {} and {}", made.display(), again.display());
        }
        println!("the second build has the same bytes");
    }
    Ok(ExitCode::SUCCESS)
}

fn make(directory: &str) -> Result<PathBuf> {
    let target = paths::target().join(directory);
    let guard = release(&target.join("build"))?;
    Package::of(&guard, VERSION.to_owned(), epoch()?).write(&target)
}

/// All crates have the version of the workspace.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The programs as they are given away: static, optimised, without a path of this machine in it.
fn release(target: &Path) -> Result<PathBuf> {
    const TRIPLE: &str = "x86_64-unknown-linux-gnu";
    let mut cargo = Command::new("cargo");
    run::clean_env(&mut cargo);
    let home =
        std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")));
    let flags = format!(
        "-C target-feature=+crt-static --remap-path-prefix={}=/guard --remap-path-prefix={}=/cargo",
        paths::root().display(),
        home.unwrap_or_else(|_| "/nowhere".to_owned())
    );
    cargo.current_dir(paths::root()).env("RUSTFLAGS", flags).env("CARGO_INCREMENTAL", "0");
    cargo.env("SOURCE_DATE_EPOCH", epoch()?.to_string()).env("CARGO_TARGET_DIR", target);
    cargo.args([
        "build",
        "--locked",
        "--quiet",
        "--release",
        "--target",
        TRIPLE,
        "-p",
        "guard-userspace",
        "--bins",
    ]);
    run::loud("build guard as it is given away", &mut cargo)?;
    Ok(target.join(TRIPLE).join("release/guard"))
}

/// When the commit was made; `SOURCE_DATE_EPOCH` says otherwise.
pub(crate) fn epoch() -> Result<u64> {
    if let Ok(epoch) = std::env::var("SOURCE_DATE_EPOCH") {
        return epoch.parse().with_context(|| format!("SOURCE_DATE_EPOCH={epoch}: write seconds since 1970"));
    }
    let mut git = Command::new("git");
    git.current_dir(paths::root()).args(["log", "-1", "--format=%ct"]);
    let text = run::quiet("ask git when the commit was made", &mut git)?;
    text.trim().parse().context("read when the commit was made")
}
