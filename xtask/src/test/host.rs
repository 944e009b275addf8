//! Checks that need no guest: format, lints, the tests of the workspace.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::report::Report;
use crate::{build_ebpf, build_host, paths, run};

const PLACE: &str = "host";

pub(super) fn check(report: &mut Report, object: Result<PathBuf>) {
    report.check(PLACE, "the code is formatted", cargo_fmt());
    let built = object.is_ok();
    report.check(PLACE, "the BPF object builds", object.map(drop));
    if !built {
        // guard embeds the object: without it nothing below compiles.
        return;
    }
    report.check(PLACE, "clippy has nothing to say about the BPF crate", build_ebpf::clippy());
    report.check(PLACE, "the host crates build", build_host::everything().map(drop));
    report.check(PLACE, "clippy has nothing to say about the host crates", clippy());
    if let Err(error) = cargo_test(report) {
        report.fail(PLACE, "the tests of the workspace ran", &format!("{error:#}"));
    }
    report.complete(PLACE);
}

fn cargo_fmt() -> Result<()> {
    let mut cargo = Command::new("cargo");
    run::clean_env(&mut cargo).current_dir(paths::root()).args(["fmt", "--all", "--check"]);
    run::loud("cargo fmt --all --check", &mut cargo)
}

fn clippy() -> Result<()> {
    let mut cargo = build_host::cargo("clippy");
    cargo.args([
        "--quiet",
        "--workspace",
        "--exclude",
        "guard-ebpf",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]);
    run::loud("cargo clippy", &mut cargo)
}

/// Runs the tests, passes their lines on, and counts them.
fn cargo_test(report: &mut Report) -> Result<()> {
    let mut cargo = build_host::cargo("test");
    cargo.args(["--workspace", "--exclude", "guard-ebpf", "--no-fail-fast"]);
    let mut child = cargo.stdout(Stdio::piped()).spawn().context("start cargo test")?;
    let pipe = child.stdout.take().context("cargo test has no output")?;
    let mut counted = 0;
    for line in BufReader::new(pipe).lines() {
        let line = line.context("read what cargo test prints")?;
        // The lines of tests that passed are many and say nothing.
        let passed = line.starts_with("test ") && line.ends_with(" ... ok");
        if !passed && !line.trim().is_empty() {
            println!("{line}");
        }
        match read_line(&line) {
            Some(Line::Ignored { name, why }) => report.skip(PLACE, name, why),
            Some(Line::Failed { name }) => {
                report.fail(PLACE, name, "its output is above");
                counted += 1;
            }
            Some(Line::Passed(count)) => report.pass(count),
            None => {}
        }
    }
    let status = child.wait().context("wait for cargo test")?;
    if !status.success() && counted == 0 {
        bail!("cargo test failed ({status}); its own output is above");
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Passed(u32),
    Failed { name: &'a str },
    Ignored { name: &'a str, why: &'a str },
}

fn read_line(line: &str) -> Option<Line<'_>> {
    if let Some(rest) = line.strip_prefix("test result: ") {
        let count = rest.split_once(". ")?.1.split_once(" passed")?.0.parse().ok()?;
        return Some(Line::Passed(count));
    }
    let (name, how) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let why = how.strip_prefix("ignored");
    match (how, why) {
        ("FAILED", _) => Some(Line::Failed { name }),
        (_, Some(why)) => {
            let why = why.trim_start_matches(", ");
            Some(Line::Ignored { name, why: if why.is_empty() { "no reason given" } else { why } })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Line, read_line};

    #[test]
    fn the_lines_of_cargo_test_are_understood() {
        let sum = "test result: FAILED. 12 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(read_line(sum), Some(Line::Passed(12)));
        assert_eq!(read_line("test a::b ... FAILED"), Some(Line::Failed { name: "a::b" }));
        assert_eq!(read_line("test a::b ... ok"), None);
        let ignored = Line::Ignored { name: "a::b", why: "needs a clock" };
        assert_eq!(read_line("test a::b ... ignored, needs a clock"), Some(ignored));
        assert_eq!(read_line("running 3 tests"), None);
    }
}
