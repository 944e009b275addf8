//! `cargo xtask test`: every check, the fast ones first, one sum at the end.

mod guests;
mod host;
mod lines;
mod report;
mod self_tests;

use std::num::NonZeroUsize;
use std::process::ExitCode;

use anyhow::Result;

use crate::debian::kernel::{self, SERIES, Series};
use report::Report;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this kernel's guest (may be given again); else the whole matrix
    #[arg(long, value_parser = kernel::names())]
    kernel: Vec<String>,
    /// Only what needs no guest
    #[arg(long, conflicts_with = "kernel")]
    fast: bool,
    /// Only guest tests whose name contains this (may be given again); checks of the host are left out
    #[arg(long, value_name = "WORDS", conflicts_with = "fast")]
    only: Vec<String>,
    /// Every drill as every user and in every way in which a task can be inside, and the hooks and chaos, on every kernel:
    /// much longer
    #[arg(long, conflicts_with = "fast")]
    thorough: bool,
    /// So many guests at a time; else as many as there are processors
    #[arg(long, value_name = "GUESTS", conflicts_with = "fast")]
    at_once: Option<NonZeroUsize>,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    let matrix: Vec<&'static Series> = if args.fast {
        Vec::new()
    } else if args.kernel.is_empty() {
        SERIES.iter().collect()
    } else {
        args.kernel.iter().map(|name| kernel::series(name)).collect::<Result<_>>()?
    };
    let mut report = Report::new(args.only.is_empty())?;
    let object = crate::build_ebpf::build();
    if args.only.is_empty() {
        host::check(&mut report, object);
    } else {
        object?;
    }
    // A kernel that cannot be had is one failure, not one for each of its tests.
    let matrix: Vec<&'static Series> =
        matrix.into_iter().filter(|series| guests::at_hand(&mut report, series)).collect();
    if let Some(first) = matrix.first() {
        if args.only.is_empty() {
            self_tests::run(&mut report, first.name);
        }
        let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let at_once = args.at_once.unwrap_or_else(cores);
        guests::run(&mut report, &matrix, &args.only, args.thorough, at_once.get());
    }
    Ok(report.finish())
}
