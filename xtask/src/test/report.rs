//! Counts what passed, failed and was skipped, and holds skips against the list of those expected.

use std::collections::BTreeSet;
use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::paths;

/// Where the repository lists the skips it accepts.
const EXPECTED_SKIPS: &str = "tests/expected-skips.txt";

/// The sum of a run.
#[derive(Debug)]
pub(super) struct Report {
    passed: u32,
    failed: u32,
    skipped: u32,
    failures: Vec<String>,
    /// `place: test`, as the list has them.
    expected: BTreeSet<String>,
    seen: BTreeSet<String>,
    /// Places whose tests have all run, so that a listed skip that did not occur is stale.
    complete: BTreeSet<String>,
    /// Whether a place can become complete: not when only some tests were asked for.
    whole: bool,
}

impl Report {
    pub(super) fn new(whole: bool) -> Result<Self> {
        let path = paths::root().join(EXPECTED_SKIPS);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(Self::with_expected(&text, whole))
    }

    fn with_expected(text: &str, whole: bool) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self {
            passed: 0,
            failed: 0,
            skipped: 0,
            failures: Vec::new(),
            expected: lines.map(str::to_owned).collect(),
            seen: BTreeSet::new(),
            complete: BTreeSet::new(),
            whole,
        }
    }

    /// One check of ours: prints its line and counts it.
    pub(super) fn check(&mut self, place: &str, name: &str, outcome: Result<()>) {
        match outcome {
            Ok(()) => {
                println!("PASS {place}: {name}");
                self.pass(1);
            }
            Err(error) => self.fail(place, name, &format!("{error:#}")),
        }
    }

    pub(super) fn pass(&mut self, count: u32) {
        self.passed += count;
    }

    pub(super) fn fail(&mut self, place: &str, name: &str, why: &str) {
        println!("FAIL {place}: {name}: {why}");
        self.failed += 1;
        self.failures.push(format!("{place}: {name}: {why}"));
    }

    /// Counts a skip; one that nobody expected is a failure too.
    pub(super) fn skip(&mut self, place: &str, name: &str, why: &str) {
        let key = format!("{place}: {name}");
        println!("SKIP {key}: {why}");
        self.skipped += 1;
        if !self.expected.contains(&key) {
            self.fail(place, name, &format!("skipped ({why}), and {EXPECTED_SKIPS} does not list it"));
        }
        self.seen.insert(key);
    }

    /// All tests of a place have run.
    pub(super) fn complete(&mut self, place: &str) {
        self.complete.insert(place.to_owned());
    }

    /// The sum, its last line in the form that CI reads.
    pub(super) fn finish(mut self) -> ExitCode {
        if self.whole {
            for key in self.stale() {
                self.fail("list", &key, &format!("{EXPECTED_SKIPS} lists it, but it did not skip"));
            }
        }
        if !self.failures.is_empty() {
            println!("\nfailed:");
            self.failures.iter().for_each(|failure| println!("  {failure}"));
        }
        println!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped);
        if self.failed == 0 && self.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn stale(&self) -> Vec<String> {
        let ran =
            |key: &&String| key.split_once(": ").is_some_and(|(place, _)| self.complete.contains(place));
        self.expected.difference(&self.seen).filter(ran).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Report;

    #[test]
    fn an_unexpected_skip_is_a_failure_and_an_expected_one_is_not() {
        let mut report = Report::with_expected("# why\n6.1: a sentence\n", true);
        report.skip("6.1", "a sentence", "no such hook");
        assert_eq!((report.skipped, report.failed), (1, 0));
        report.skip("6.12", "a sentence", "no such hook");
        assert_eq!((report.skipped, report.failed), (2, 1));
    }

    #[test]
    fn an_expected_skip_that_did_not_happen_is_stale_once_its_kernel_ran() {
        let mut report = Report::with_expected("6.1: a sentence\n7.x: another\n", true);
        assert!(report.stale().is_empty());
        report.complete("6.1");
        assert_eq!(report.stale(), ["6.1: a sentence"]);
    }
}
