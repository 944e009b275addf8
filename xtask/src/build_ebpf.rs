//! `cargo xtask build-ebpf`: the kernel half, one object for all kernels.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::{paths, run, setup};

const LINKER_VERSION: &str = "0.13.0";
/// The LLVM bpf-linker is built against; a compiler with a newer one writes bitcode it cannot read.
const LLVM: u32 = 22;
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
const OBJCOPY: &str = "/usr/lib/llvm-22/bin/llvm-objcopy";
const LLVM_PACKAGES: &[&str] = &["llvm-22", "llvm-22-dev", "libpolly-22-dev", "libzstd-dev", "zlib1g-dev"];
const DEBIAN_RUST: &[&str] = &["rustc-web", "rust-web-src", "cargo-web", "rust-web-clippy"];
const TARGET: &str = "bpfel-unknown-none";

pub(crate) fn main() -> Result<ExitCode> {
    let object = build()?;
    println!("{}", object.display());
    Ok(ExitCode::SUCCESS)
}

/// A compiler that can build `core` for the BPF target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Toolchain {
    RustupNightly,
    Debian,
}

impl Toolchain {
    /// rustup's nightly if it has the library's source and an LLVM that bpf-linker can read, else Debian's.
    fn choose() -> Self {
        if nightly_usable() { Self::RustupNightly } else { Self::Debian }
    }

    fn cargo(self, verb: &str) -> Command {
        let mut command = match (self, verb) {
            (Self::RustupNightly, _) => Command::new("cargo"),
            // By its path: cargo would take another toolchain's from the PATH.
            (Self::Debian, "clippy") => Command::new("/usr/bin/cargo-clippy"),
            (Self::Debian, _) => Command::new("/usr/bin/cargo"),
        };
        run::clean_env(&mut command).arg(verb);
        match self {
            Self::RustupNightly => command.env("RUSTUP_TOOLCHAIN", "nightly"),
            // Debian's stable compiler, allowed to build `core` from its source package.
            Self::Debian => command
                .env("CARGO", "/usr/bin/cargo")
                .env("RUSTC", "/usr/bin/rustc")
                .env("RUSTC_BOOTSTRAP", "1"),
        };
        command
    }
}

fn nightly_usable() -> bool {
    let ask = |args: &[&str]| {
        let mut rustc = Command::new("rustc");
        run::quiet("ask nightly", run::clean_env(&mut rustc).env("RUSTUP_TOOLCHAIN", "nightly").args(args))
            .ok()
    };
    let Some(sysroot) = run::which("rustup").and_then(|_| ask(&["--print", "sysroot"])) else { return false };
    let source = PathBuf::from(sysroot.trim()).join("lib/rustlib/src/rust/library/core/Cargo.toml");
    let llvm = ask(&["-vV"]).and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("LLVM version: "))?.to_owned();
        line.split('.').next()?.parse::<u32>().ok()
    });
    source.is_file() && llvm.is_some_and(|llvm| llvm <= LLVM)
}

/// Everything the build needs, installed or built where it is missing; the compiler and bpf-linker to use.
pub(crate) fn ready() -> Result<(Toolchain, PathBuf)> {
    let toolchain = Toolchain::choose();
    let program = paths::tools().join("bin/bpf-linker");
    let linker_is_there = is_pinned(&program);
    // All at once, so that someone who is not root is told once.
    let mut packages = Vec::new();
    if toolchain == Toolchain::Debian {
        packages.extend(DEBIAN_RUST);
    }
    if !linker_is_there || !Path::new(OBJCOPY).is_file() {
        packages.extend(LLVM_PACKAGES);
    }
    packages.extend(setup::unpackers_missing());
    setup::packages(&packages)?;
    if !linker_is_there {
        build_linker(&program)?;
    }
    Ok((toolchain, program))
}

fn is_pinned(program: &Path) -> bool {
    let version = || run::quiet("ask bpf-linker its version", Command::new(program).arg("--version"));
    program.is_file() && version().is_ok_and(|text| text.trim().ends_with(LINKER_VERSION))
}

/// Builds bpf-linker, once for all later builds.
fn build_linker(program: &Path) -> Result<()> {
    eprintln!("xtask: building bpf-linker {LINKER_VERSION} into target/tools (once, about a minute)");
    let build_dir = paths::target().join("bpf-linker-build");
    let root = paths::beside(&paths::tools().join("bpf-linker"));
    let mut cargo = Command::new("cargo");
    run::clean_env(&mut cargo)
        .args(["install", "bpf-linker", "--quiet", "--locked", "--version", LINKER_VERSION])
        .args(["--no-default-features", "--features", "llvm-22", "--root"])
        .arg(&root)
        .arg("--target-dir")
        .arg(&build_dir)
        .env("LLVM_SYS_221_PREFIX", LLVM_PREFIX)
        // Without these two its build script finds another LLVM on the PATH and does not link.
        .env("LLVM_PREFIX", LLVM_PREFIX)
        .env("RUSTFLAGS", format!("-L {LLVM_PREFIX}/lib"));
    let built = run::loud("build bpf-linker", &mut cargo).and_then(|()| {
        fs::create_dir_all(paths::tools().join("bin")).context("create target/tools/bin")?;
        fs::rename(root.join("bin/bpf-linker"), program).context("put bpf-linker in place")
    });
    let _ = fs::remove_dir_all(&root);
    if built.is_ok() {
        let _ = fs::remove_dir_all(&build_dir);
    }
    built
}

/// The build of the BPF crate, with `verb` one of cargo's commands.
fn cargo(verb: &str, source: &Path, target: &Path) -> Result<Command> {
    let (toolchain, linker) = ready()?;
    let linker = format!("linker={}", linker.display());
    let flags = ["-C", &linker, "-C", "link-arg=--btf", "-C", "debuginfo=2", "-C", "target-cpu=v3"];
    let flags: Vec<String> = flags.map(str::to_owned).into_iter().chain(paths::remaps(source)).collect();
    let flags = flags.join("\u{1f}");
    let mut cargo = toolchain.cargo(verb);
    cargo
        .current_dir(source)
        .args(["--quiet", "--locked", "--package", "guard-ebpf", "--target", TARGET, "-Z", "build-std=core"])
        .arg("--target-dir")
        .arg(target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags);
    Ok(cargo)
}

/// Lints the BPF crate with warnings denied.
pub(crate) fn clippy() -> Result<()> {
    let mut cargo = cargo("clippy", &paths::root(), &build_dir())?;
    run::loud("lint guard-ebpf", cargo.args(["--profile", "bpf", "--", "-D", "warnings"]))
}

/// Builds the object; gives back its path.
pub(crate) fn build() -> Result<PathBuf> {
    let object = paths::target().join("bpf/guard-ebpf.o");
    build_from(&paths::root(), &build_dir(), &object)?;
    Ok(object)
}

fn build_dir() -> PathBuf {
    paths::target().join("bpf-build")
}

/// Leaves the types that the kernel reads and takes out what debuggers would: four fifths of the object, which guard
/// carries within it.
fn strip(linked: &Path, to: &Path) -> Result<()> {
    run::loud("strip guard-ebpf", Command::new(OBJCOPY).arg("--strip-debug").arg(linked).arg(to))
}

/// The same from another copy of the source, in another directory.
pub(crate) fn build_from(source: &Path, target: &Path, object: &Path) -> Result<()> {
    run::loud("build guard-ebpf", cargo("build", source, target)?.args(["--profile", "bpf"]))?;
    let linked = target.join(TARGET).join("bpf/guard-ebpf");
    let built = linked.with_extension("stripped");
    strip(&linked, &built)?;
    let bytes = fs::read(&built).with_context(|| format!("read {}", built.display()))?;
    // e_machine 247 is EM_BPF: a linker that fell back to the host's would still leave an ELF file.
    if !bytes.starts_with(b"\x7fELF") || bytes.get(18..20) != Some(&247u16.to_le_bytes()) {
        bail!("{} is not a BPF object", built.display());
    }
    // Unchanged content keeps its time stamp, so that guard is not linked anew for nothing.
    if fs::read(object).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    paths::write(object, &bytes)
}
