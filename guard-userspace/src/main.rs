//! The binary `guard`: its commands, and nothing that decides.

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
