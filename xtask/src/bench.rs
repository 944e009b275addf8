//! `cargo xtask bench`: what guard costs, counted in guest instructions, beside what people would use instead.

mod budgets;
mod chart;
mod profile;
mod results;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::debian::kernel;
use crate::guest::{Guest, LSMS, Stream};
use crate::{build_ebpf, build_host, paths};
use results::Results;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which series of kernels the guests run
    #[arg(long, value_parser = kernel::names(), default_value = "6.12")]
    kernel: String,
    /// Only what CI checks against bench/budgets.toml
    #[arg(long)]
    quick: bool,
    /// Only these arms (may be given again)
    #[arg(long, value_name = "ARM")]
    arm: Vec<String>,
    /// Measure twice and say by how much the two differ
    #[arg(long)]
    twice: bool,
    /// Write the table and the chart into docs/
    #[arg(long)]
    docs: bool,
    /// How often each operation is done, in per cent of the usual
    #[arg(long, value_name = "N", default_value_t = SCALE)]
    scale: u32,
}

/// One boot: a list of security modules, and the arms measured under it.
struct Boot {
    lsm: &'static str,
    arms: &'static [&'static str],
}

const BOOTS: &[Boot] = &[
    Boot { lsm: LSMS, arms: &["none", "floor", "outside", "inside", "first", "recorded", "candidate"] },
    Boot { lsm: LSMS, arms: &["none", "10 rules", "500 rules", "5000 rules"] },
    Boot { lsm: LSMS, arms: &["none", "inside", "1000 cgroups", "10000 cgroups"] },
    Boot { lsm: "capability", arms: &["no lsm", "seccomp-notify", "fanotify"] },
    Boot { lsm: "landlock,capability", arms: &["landlock"] },
    Boot { lsm: "capability,apparmor", arms: &["apparmor idle", "apparmor"] },
];

const QUICK: &[Boot] = &[Boot { lsm: LSMS, arms: &["none", "floor", "outside", "inside", "recorded"] }];

/// In per cent.
const SCALE: u32 = 50;

/// Where the programs lie in the guest.
const BENCH_AT: &str = "/usr/local/bin/guard-bench";
const GUARD_AT: &str = "/usr/local/bin/guard";

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    build_ebpf::build()?;
    let programs = Programs { bench: build_host::bench()?, guard: build_host::released_guard()? };
    let boots = if args.quick { QUICK } else { BOOTS };
    let results = measure(args, boots, &programs)?;
    let out = paths::target().join("bench").join(&args.kernel);
    paths::write(&out.join("results.json"), results.json()?.as_bytes())?;
    let table = table::markdown(&results);
    println!("{table}");
    paths::write(&out.join("table.md"), table.as_bytes())?;
    let picture = chart::svg(&results);
    paths::write(&out.join("chart.svg"), picture.as_bytes())?;
    println!("written: results.json, table.md and chart.svg in {}", out.display());
    if args.twice {
        let again = measure(args, boots, &programs)?;
        println!("{}", results.compare(&again));
    }
    if args.docs {
        table::into_docs(&paths::root().join("docs/performance.md"), &table)?;
        paths::write(&paths::root().join("docs/performance.svg"), picture.as_bytes())?;
    }
    let passed = budgets::Budgets::read()?.broken(&results, true);
    for line in &passed {
        println!("OVER {line}");
    }
    Ok(if passed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The figures of the programs in the kernel that pass their budgets, measured with a `guard` that need not be the
/// packaged one.
pub(crate) fn over_budget(kernel: &str, guard: PathBuf) -> Result<Vec<String>> {
    let programs = Programs { bench: build_host::bench()?, guard };
    let mut results = Results::new(kernel);
    for boot in QUICK {
        run(kernel, boot.lsm, boot.arms, SCALE, &programs, &mut results)?;
    }
    Ok(budgets::Budgets::read()?.broken(&results, false))
}

/// What the guests run.
pub(crate) struct Programs {
    pub(crate) bench: PathBuf,
    pub(crate) guard: PathBuf,
}

fn measure(args: &Args, boots: &[Boot], programs: &Programs) -> Result<Results> {
    let mut results = Results::new(&args.kernel);
    for boot in boots {
        let wanted = |arm: &&str| args.arm.is_empty() || args.arm.iter().any(|wanted| wanted == arm);
        let arms: Vec<&str> = boot.arms.iter().copied().filter(wanted).collect();
        if arms.is_empty() {
            continue;
        }
        eprintln!("xtask: measuring {}", arms.join(", "));
        run(&args.kernel, boot.lsm, &arms, args.scale, programs, &mut results)
            .with_context(|| format!("measure {}", arms.join(", ")))?;
    }
    Ok(results)
}

fn run(
    kernel: &str,
    lsm: &str,
    arms: &[&str],
    scale: u32,
    programs: &Programs,
    results: &mut Results,
) -> Result<()> {
    let mut guest = Guest::new(kernel)?
        .lsm(lsm)
        .icount(true)
        .cpus(1)
        .memory(2048)
        .timeout(Duration::from_secs(1800))
        .tree(paths::root().join("policies"), "/usr/share/guard/policies")
        .file(&programs.bench, BENCH_AT)
        .file(&programs.guard, GUARD_AT);
    if arms.contains(&"apparmor") {
        guest = guest.plain_file(profile::compiled(kernel)?, profile::AT);
    }
    results.release = guest.release().to_owned();
    let mut argv = vec![BENCH_AT.to_owned(), "arms".to_owned(), scale.to_string()];
    argv.extend(arms.iter().map(|&arm| arm.to_owned()));
    let (mut text, mut said) = (Vec::new(), Vec::new());
    let ended = guest.stream(&argv, &mut |stream, bytes| match stream {
        Stream::Out => text.extend_from_slice(bytes),
        Stream::Err => said.extend_from_slice(bytes),
    })?;
    if !ended.status.success() {
        bail!("guard-bench failed: {}", String::from_utf8_lossy(&said).trim());
    }
    for line in String::from_utf8_lossy(&text).lines() {
        results.add(line)?;
    }
    Ok(())
}
