//! Runs a policy's `tests:`.

use super::decide::{Decider, Decision, Why};
use super::model::{Policy, Test};

#[derive(Debug)]
pub struct Outcome<'a> {
    pub test: &'a Test,
    pub decision: Decision,
    pub passed: bool,
}

/// Every test of the policy, in the order of the file.
pub fn run<'a>(policy: &'a Policy, decider: &dyn Decider) -> Vec<Outcome<'a>> {
    policy.tests.iter().map(|test| one(test, decider)).collect()
}

fn one<'a>(test: &'a Test, decider: &dyn Decider) -> Outcome<'a> {
    let decision = decider.decide(&test.request.value, test.profile.as_ref().map(|profile| profile.as_str()));
    let rule = match (&test.rule, &decision.why) {
        (None, _) => true,
        (Some(wanted), Why::Rule(id)) => wanted.value == *id,
        (Some(wanted), Why::Default) => wanted.value == "default",
        (Some(_), Why::Gateway | Why::Baseline(_)) => false,
    };
    let passed = rule && decision.verdict == test.expect.value;
    Outcome { test, decision, passed }
}
