//! `cargo xtask vm`: one command in a guest.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::debian::kernel;
use crate::debian::root::Root;
use crate::guest::{Failure, Guest, LSMS, Stream};
use crate::paths;

/// The guest did not end in time, as `timeout` has it.
const TIMED_OUT: u8 = 124;
/// The guest failed: the command's own status is not known.
const GUEST_FAILED: u8 = 125;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which series of kernels
    #[arg(long, value_parser = kernel::names())]
    kernel: String,
    /// Boot a Debian with systemd instead of busybox
    #[arg(long)]
    debian: bool,
    /// More Debian packages for that root (each list is an image of its own)
    #[arg(long, value_name = "A,B", value_delimiter = ',', requires = "debian")]
    package: Vec<String>,
    /// Lay this directory's content over the guest's root (may be given again)
    #[arg(long, value_name = "DIR")]
    overlay: Vec<PathBuf>,
    /// Put a file of the host into the guest, executable (may be given again)
    #[arg(long, value_name = "HOST:GUEST")]
    file: Vec<String>,
    /// Set a variable in the command's environment (may be given again)
    #[arg(long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// Bring a file, or the files below a directory, back when the command has ended (may be given again)
    #[arg(long, value_name = "GUEST:HOST")]
    fetch: Vec<String>,
    /// Load more kernel modules, by name
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    modules: Vec<String>,
    /// Seconds until a guest that has not ended is a failure, boot included
    #[arg(long, value_name = "S", default_value_t = 120)]
    timeout: u64,
    #[arg(long, value_name = "N", default_value_t = 2)]
    smp: u32,
    /// Memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    mem: u32,
    /// More words for the kernel's command line
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    append: String,
    /// The kernel's LSM list
    #[arg(long, value_name = "LIST", default_value = LSMS)]
    lsm: String,
    /// Count instructions instead of time: one CPU, repeatable figures
    #[arg(long)]
    icount: bool,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    let mut guest = Guest::new(&args.kernel)?
        .lsm(&args.lsm)
        .append(&args.append)
        .modules(args.modules.iter().cloned())
        .timeout(Duration::from_secs(args.timeout))
        .cpus(args.smp)
        .memory(args.mem)
        .icount(args.icount);
    if args.debian {
        guest = guest.debian(Root::get(&args.package)?);
    }
    for dir in &args.overlay {
        guest = guest.overlay(dir);
    }
    for pair in &args.file {
        let Some((host, inside)) = pair.rsplit_once(':').filter(|(_, inside)| inside.starts_with('/')) else {
            bail!("--file {pair}: write the file's path, a colon, and an absolute path in the guest");
        };
        guest = guest.file(host, inside);
    }
    for pair in &args.fetch {
        guest = guest.fetch(split_fetch(pair)?.0);
    }
    for pair in &args.env {
        let Some((key, value)) = pair.split_once('=') else { bail!("--env {pair}: write KEY=VALUE") };
        guest = guest.env(key, value);
    }
    let outcome = guest.stream(&args.command, &mut |stream, bytes| {
        // A reader that went away must not end the guest's run: its status still counts.
        let _ = match stream {
            Stream::Out => std::io::stdout().write_all(bytes).and_then(|()| std::io::stdout().flush()),
            Stream::Err => std::io::stderr().write_all(bytes),
        };
    });
    match outcome {
        Ok(ended) => {
            match save(&args.fetch, &ended.files) {
                // The command's own failure is the news.
                Err(error) if !ended.status.success() => eprintln!("xtask: {error:#}"),
                saved => saved?,
            }
            Ok(ExitCode::from(ended.status.code()))
        }
        Err(error) => match error.downcast_ref::<Failure>() {
            Some(failure) => {
                eprintln!("xtask: {failure}");
                Ok(ExitCode::from(if failure.timed_out { TIMED_OUT } else { GUEST_FAILED }))
            }
            None => Err(error),
        },
    }
}

fn split_fetch(pair: &str) -> Result<(&str, &str)> {
    pair.split_once(':').filter(|(inside, host)| inside.starts_with('/') && !host.is_empty()).with_context(
        || format!("--fetch {pair}: write an absolute path in the guest, a colon, and a path here"),
    )
}

/// Writes what came back; what was asked for and did not come is an error.
fn save(wanted: &[String], files: &[(String, Vec<u8>)]) -> Result<()> {
    for pair in wanted {
        let (inside, host) = split_fetch(pair)?;
        let mut found = false;
        for (path, content) in files {
            let Some(rest) =
                path.strip_prefix(inside).filter(|rest| rest.is_empty() || rest.starts_with('/'))
            else {
                continue;
            };
            paths::write(&PathBuf::from(format!("{host}{rest}")), content)?;
            found = true;
        }
        if !found {
            bail!("the guest has no file {inside} to bring back");
        }
    }
    Ok(())
}
