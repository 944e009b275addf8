//! `cargo xtask demo`: the main job, seen.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::debian::kernel;
use crate::guest::{Ended, Failure, Guest, Stream};
use crate::{build_ebpf, build_host, paths, run};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Use this host, if `guard doctor` says that it can; as root
    #[arg(long, conflicts_with = "kernel")]
    host: bool,
    /// Which series of kernels the guest runs
    #[arg(long, value_parser = kernel::names(), default_value = "6.12")]
    kernel: String,
}

const POLICY: &str = "policies/demo.yaml";
const POLICY_AT: &str = "/etc/guard/policies/demo.yaml";
const AUDIT_AT: &str = "/var/lib/guard/audit";

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    build_ebpf::build()?;
    let guard = build_host::guard()?;
    let demo = build_host::demo()?;
    if args.host { on_host(&guard, &demo) } else { in_guest(&args.kernel, &guard, &demo) }
}

fn in_guest(kernel: &str, guard: &Path, demo: &Path) -> Result<ExitCode> {
    let guest = Guest::new(kernel)?
        .file(guard, "/usr/local/bin/guard")
        .file(demo, "/usr/local/bin/demo")
        .plain_file(paths::root().join(POLICY), POLICY_AT)
        .fetch(AUDIT_AT)
        .timeout(Duration::from_secs(180));
    println!("booting Linux {} in a guest\n", guest.release());
    let outcome = guest.stream(&["demo".to_owned()], &mut |stream, bytes| {
        let _ = match stream {
            Stream::Out => std::io::stdout().write_all(bytes).and_then(|()| std::io::stdout().flush()),
            Stream::Err => std::io::stderr().write_all(bytes),
        };
    });
    let Ended { status, console_log, files } = match outcome {
        Ok(ended) => ended,
        Err(error) if error.is::<Failure>() => {
            eprintln!("xtask: {error}");
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => return Err(error),
    };
    let log = keep(&files)?;
    if !status.success() {
        eprintln!("xtask: the demo failed ({status:?}); the guest's console is in {}", console_log.display());
        return Ok(ExitCode::from(status.code()));
    }
    println!("audit log: {}", log.display());
    Ok(ExitCode::SUCCESS)
}

/// Keeps the guest's audit log, in place of the last demo's; gives back where.
fn keep(files: &[(String, Vec<u8>)]) -> Result<std::path::PathBuf> {
    let dir = paths::target().join("demo");
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", dir.display()));
        }
        Ok(()) | Err(_) => {}
    }
    let mut shown = dir.join("audit");
    for (path, content) in files {
        let inside = Path::new(path).strip_prefix(AUDIT_AT).unwrap_or(Path::new(path));
        let file = dir.join("audit").join(inside);
        paths::write(&file, content)?;
        if files.len() == 1 {
            shown = file;
        }
    }
    Ok(shown)
}

/// The same show on this host, in a mount namespace of its own: the host's own guard, its policies and its log
/// are not touched.
fn on_host(guard: &Path, demo: &Path) -> Result<ExitCode> {
    let uid = run::quiet("ask who is running this", Command::new("id").arg("-u"))?;
    if uid.trim() != "0" {
        bail!(
            "demo --host loads programs into this host's kernel: run it as root, or without --host in a guest"
        );
    }
    let doctor = Command::new(guard).arg("doctor").status().context("run guard doctor")?;
    if !doctor.success() {
        eprintln!(
            "xtask: guard doctor says that this host cannot enforce; `cargo xtask demo` shows it in a guest"
        );
        return Ok(ExitCode::from(3));
    }
    let script = "set -e; for dir in /etc/guard /var/lib/guard /run/guard /workspace; do \
                  mkdir -p $dir; mount -t tmpfs tmpfs $dir; done; \
                  mkdir -p /etc/guard/policies; cp \"$1\" /etc/guard/policies/demo.yaml; \
                  code=0; \"$2\" || code=$?; mkdir -p \"$3\"; cp -r /var/lib/guard/audit \"$3/\"; exit $code";
    let kept = paths::target().join("demo");
    let path = std::env::var("PATH").unwrap_or_default();
    let bin = guard.parent().unwrap_or(Path::new("/"));
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "demo"])
        .arg(paths::root().join(POLICY))
        .arg(demo)
        .arg(&kept)
        .env("PATH", format!("{}:{path}", bin.display()))
        .status()
        .context("start the demo on this host")?;
    if status.success() {
        println!("audit log: {}", kept.join("audit").display());
    }
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
