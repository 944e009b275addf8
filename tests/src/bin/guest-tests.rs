//! Runs in a guest: every test that needs a kernel. `cargo xtask test` boots it on each kernel of the matrix.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    guard_tests::guest::main()
}
