//! guard's own chores. `cargo xtask --help` lists them; the README names the two a newcomer needs.
#![forbid(unsafe_code)]

mod bench;
mod build_ebpf;
mod build_host;
mod debian;
mod demo;
mod dist;
#[cfg(test)]
mod docs;
mod guest;
mod paths;
mod run;
mod setup;
mod test;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "guard's own chores", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Install what the others need: packages (as root), bpf-linker, QEMU, kernels
    Setup(setup::Args),
    /// Measure what guard costs, in guest instructions, beside what people would use instead
    Bench(bench::Args),
    /// Build the eBPF object into target/bpf/guard-ebpf.o
    BuildEbpf,
    /// Show guard at work: what a sample agent may do, what not, and why
    Demo(demo::Args),
    /// Make the Debian package into target/dist, with a list of what it is made of
    Dist(dist::Args),
    /// Run every check: format, lints, host tests, and the guests of the kernel matrix
    Test(test::Args),
    /// Run one command as root inside a guest; its output and exit status come back
    Vm(Box<vm::Args>),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Chore::Setup(args) => setup::main(&args),
        Chore::Bench(args) => bench::main(&args),
        Chore::BuildEbpf => build_ebpf::main(),
        Chore::Demo(args) => demo::main(&args),
        Chore::Dist(args) => dist::main(&args),
        Chore::Test(args) => test::main(&args),
        Chore::Vm(args) => vm::main(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::from(3)
    })
}
