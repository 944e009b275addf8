//! `guard policy test FILES`.

use std::path::PathBuf;

use guard_userspace::policy::decide::Why;
use guard_userspace::policy::model::Policy;
use guard_userspace::policy::testing::{self, Outcome};

use super::super::{Ending, term};
use super::explain::{decider, why_json, why_text};
use super::{ending, load, print_errors};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Policy files, or directories of them
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Print every outcome as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        let mut worst = Ending::Fine;
        let mut json = Vec::new();
        let mut text = String::new();
        let (mut passed, mut failed) = (0, 0);
        for parsed in load(&self.files) {
            worst = worst.max(ending(&parsed.report));
            print_errors(&parsed.report);
            let Some(policy) = parsed.policy.filter(|_| !parsed.report.has_errors()) else { continue };
            let decider = decider(&policy)?;
            let outcomes = testing::run(&policy, &decider);
            let good = outcomes.iter().filter(|outcome| outcome.passed).count();
            passed += good;
            failed += outcomes.len() - good;
            let file = policy.source.path.display();
            text.push_str(&format!("{file}: {good} of {} passed\n", term::count(outcomes.len(), "test")));
            for outcome in &outcomes {
                json.push(outcome_json(&policy, outcome));
                if !outcome.passed {
                    text.push_str(&failure(&policy, outcome));
                }
            }
        }
        if failed > 0 {
            worst = worst.max(Ending::Finding);
        }
        if self.json {
            let summary = serde_json::json!({ "passed": passed, "failed": failed, "tests": json });
            term::print_json(&summary)?;
        } else {
            text.push_str(&format!("{passed} passed, {failed} failed\n"));
            term::print(&text)?;
        }
        Ok(worst)
    }
}

fn failure(policy: &Policy, outcome: &Outcome<'_>) -> String {
    let test = outcome.test;
    let request = &test.request.value;
    let wanted = match &test.rule {
        Some(rule) => format!("{} by `{}`", test.expect.value, rule.value),
        None => test.expect.value.to_string(),
    };
    let profile =
        test.profile.as_ref().map_or(String::new(), |profile| format!(" in profile {}", profile.value));
    format!(
        "\nFAILED {}\n  at       {}:{}\n  asked    {} {request}{profile}\n  expected {wanted}\n  got      {} by {}\n\n",
        test.name.value,
        policy.source.path.display(),
        test.span.line,
        request.action(),
        outcome.decision.verdict,
        why_text(policy, request.action(), &outcome.decision.why),
    )
}

fn outcome_json(policy: &Policy, outcome: &Outcome<'_>) -> serde_json::Value {
    let test = outcome.test;
    let rule = match &outcome.decision.why {
        Why::Rule(id) => Some(id.as_str()),
        Why::Default | Why::Gateway | Why::Baseline(_) => None,
    };
    serde_json::json!({
        "file": policy.source.path.display().to_string(),
        "line": test.span.line,
        "policy": policy.name.value,
        "name": test.name.value,
        "passed": outcome.passed,
        "action": test.request.value.action().name(),
        "object": test.request.value.to_string(),
        "profile": test.profile.as_ref().map(|profile| profile.value.clone()),
        "expected": { "verdict": test.expect.value.name(), "rule": test.rule.as_ref().map(|rule| rule.value.clone()) },
        "got": { "verdict": outcome.decision.verdict.name(), "rule": rule, "because": why_json(&outcome.decision.why) },
    })
}
