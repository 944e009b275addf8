//! The main job, shown: guard starts, an agent tries things, and what became of each is told.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    guard_tests::demo::main()
}
