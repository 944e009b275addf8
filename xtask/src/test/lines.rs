//! What `guest-tests` prints in a guest: a line for each test, and their sum at the end.

use anyhow::{Result, bail};

use super::report::Report;
use crate::guest::Output;

/// One test's line, as the guest printed it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Pass(String),
    Fail(String, String),
    Skip(String, String),
    Other(String),
}

fn read_line(line: &str) -> Line {
    let split = |rest: &str| match rest.split_once(": ") {
        Some((name, why)) => (name.to_owned(), why.to_owned()),
        None => (rest.to_owned(), String::new()),
    };
    if let Some(name) = line.strip_prefix("PASS ") {
        return Line::Pass(name.to_owned());
    }
    if let Some((name, why)) = line.strip_prefix("FAIL ").map(split) {
        return Line::Fail(name, why);
    }
    if let Some((name, why)) = line.strip_prefix("SKIP ").map(split) {
        return Line::Skip(name, why);
    }
    Line::Other(line.to_owned())
}

/// The lines of a run that came to its end: the program's own sum must agree with what arrived.
pub(super) fn read_output(output: &Output) -> Result<Vec<Line>> {
    let text = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    if !stderr.trim().is_empty() {
        println!("     {}", stderr.trim().replace('\n', "\n     "));
    }
    let mut lines: Vec<_> = text.lines().map(read_line).collect();
    let Some(Line::Other(sum)) = lines.pop() else {
        bail!(
            "guest-tests ended without its sum ({:?}); the console is in {}",
            output.status,
            output.console_log.display()
        );
    };
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for line in &lines {
        match line {
            Line::Pass(_) => passed += 1,
            Line::Fail(..) => failed += 1,
            Line::Skip(..) => skipped += 1,
            Line::Other(_) => {}
        }
    }
    if sum != format!("{passed} passed, {failed} failed, {skipped} skipped") {
        bail!(
            "guest-tests' last line is {sum:?}, but {passed} passes, {failed} failures, {skipped} skips arrived"
        );
    }
    if passed == 0 {
        bail!("no test passed in the guest ({failed} failed, {skipped} skipped):\n{}", text.trim());
    }
    if (failed == 0) != output.status.success() {
        bail!("guest-tests counts {failed} failures, but its status is {:?}", output.status);
    }
    Ok(lines)
}

pub(super) fn count(report: &mut Report, series: &str, outcome: Result<Vec<Line>>) {
    let lines = match outcome {
        Ok(lines) => lines,
        Err(error) => return report.fail(series, "the guest ran its tests", &format!("{error:#}")),
    };
    for line in &lines {
        match line {
            Line::Pass(name) => report.check(series, name, Ok(())),
            Line::Fail(name, why) => report.fail(series, name, why),
            Line::Skip(name, why) => report.skip(series, name, why),
            Line::Other(text) => println!("{text}"),
        }
    }
    report.complete(series);
}

/// A kernel that is not released yet: its failures are news, not failures of ours.
pub(super) fn warn(report: &mut Report, series: &str, outcome: Result<Vec<Line>>) {
    let lines = match outcome {
        Ok(lines) => lines,
        Err(error) => return println!("WARN {series}: {error:#}"),
    };
    for line in &lines {
        match line {
            Line::Pass(name) => report.check(series, name, Ok(())),
            Line::Fail(name, why) | Line::Skip(name, why) => println!("WARN {series}: {name}: {why}"),
            Line::Other(text) => println!("{text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::Status;

    fn output(stdout: &str, code: i32) -> Output {
        let status = Status::Exited(code);
        Output { stdout: stdout.into(), stderr: Vec::new(), status, console_log: "log".into() }
    }

    #[test]
    fn a_run_whose_sum_is_missing_or_wrong_is_not_a_pass() {
        assert_eq!(read_output(&output("PASS a\n1 passed, 0 failed, 0 skipped\n", 0)).unwrap().len(), 1);
        for (text, code) in [
            ("PASS a\n", 0),
            ("", 0),
            ("PASS a\n2 passed, 0 failed, 0 skipped\n", 0),
            ("PASS a\n1 passed, 0 failed, 0 skipped\n", 1),
            ("PASS a\nFAIL b: c\n1 passed, 1 failed, 0 skipped\n", 0),
            ("SKIP a: b\n0 passed, 0 failed, 1 skipped\n", 0),
        ] {
            assert!(read_output(&output(text, code)).is_err(), "{text:?}");
        }
    }
}
