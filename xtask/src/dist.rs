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
    let object = build_ebpf::build()?;
    let made = make(&paths::root(), &object, "dist")?;
    println!("{}", made.display());
    if args.check {
        let again = again()?;
        let same = std::fs::read(&made).context("read the package")?
            == std::fs::read(&again).context("read the second package")?;
        if !same {
            bail!("two builds differ: compare {} and {}", made.display(), again.display());
        }
        println!("the second build, from another directory, has the same bytes");
    }
    Ok(ExitCode::SUCCESS)
}

/// The package once more, from a copy of the source in another place, and from nothing.
fn again() -> Result<PathBuf> {
    let directory = paths::target().join("dist-again");
    if directory.exists() {
        std::fs::remove_dir_all(&directory).context("remove the last second build")?;
    }
    let source = directory.join("a/source/of/its/own");
    let mut git = Command::new("git");
    git.current_dir(paths::root()).args(["ls-files", "-z", "--cached"]);
    for name in run::quiet("ask git which files there are", &mut git)?.split_terminator('\0') {
        let (from, to) = (paths::root().join(name), source.join(name));
        // Policies that must be refused: one is a link to itself.
        if from.is_symlink() {
            continue;
        }
        let bytes = std::fs::read(from).with_context(|| format!("read {name}"))?;
        paths::write(&to, &bytes)?;
    }
    let object = directory.join("guard-ebpf.o");
    build_ebpf::build_from(&source, &directory.join("bpf-build"), &object)?;
    make(&source, &object, "dist-again")
}

fn make(source: &Path, object: &Path, directory: &str) -> Result<PathBuf> {
    let target = paths::target().join(directory);
    let guard = release(source, object, &target.join("build"))?;
    Package::of(&guard, VERSION.to_owned(), epoch()?).write(&target)
}

/// All crates have the version of the workspace.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The programs as they are given away: static, optimised, without a path of this machine in it.
fn release(source: &Path, object: &Path, target: &Path) -> Result<PathBuf> {
    const TRIPLE: &str = "x86_64-unknown-linux-gnu";
    let mut cargo = Command::new("cargo");
    run::clean_env(&mut cargo);
    let flags = ["-C", "target-feature=+crt-static"].map(str::to_owned).into_iter();
    let flags: Vec<String> = flags.chain(paths::remaps(source)).collect();
    cargo.current_dir(source).env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    cargo.env("CARGO_INCREMENTAL", "0").env("GUARD_BPF_OBJECT", object);
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
