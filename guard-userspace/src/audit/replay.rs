//! Recorded requests, decided again under another policy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use guard_common::abi::{Action, Reason, Verdict};

use super::escape::unescape;
use super::filter::is_policy;
use super::read::Entry;
use crate::compile::Error;
use crate::compile::explain::{Cause, Compiled, Question};
use crate::events::Peer;
use crate::policy::model::Policy;

/// One way in which answers change: all records that change in this way are counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    pub action: String,
    pub old_verdict: String,
    pub old_rule: String,
    pub new_verdict: String,
    pub new_rule: String,
}

/// How often, and the first and the last object of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    pub count: u64,
    pub first: String,
    pub last: String,
}

/// What a replay has shown.
#[derive(Debug)]
pub struct Replay {
    compiled: Compiled,
    policy: String,
    pub changes: BTreeMap<Change, Tally>,
    /// Records that were decided again, and those of them that come out the same.
    pub decided: u64,
    pub same: u64,
    /// Records that rules never decide: the boundary, and what guard could not tell.
    pub not_rules: u64,
    /// Records whose answer hangs on argv, of which the log has the digest only.
    pub needs_argv: u64,
    /// Records of a profile that the policy does not have.
    pub no_profile: u64,
    /// Other policies that decided something.
    pub others: BTreeSet<String>,
}

impl Replay {
    pub fn new(policy: &Arc<Policy>) -> Result<Self, Error> {
        let target = policy.candidate_for.as_ref().unwrap_or(&policy.name);
        Ok(Self {
            compiled: Compiled::new(policy)?,
            policy: target.value.clone(),
            changes: BTreeMap::new(),
            decided: 0,
            same: 0,
            not_rules: 0,
            needs_argv: 0,
            no_profile: 0,
            others: BTreeSet::new(),
        })
    }

    /// Why nothing was decided again, if no record is of the policy at all.
    pub fn nothing(&self) -> Option<String> {
        if self.decided + self.not_rules + self.needs_argv + self.no_profile > 0 {
            return None;
        }
        let others: Vec<&str> = self.others.iter().map(String::as_str).collect();
        Some(match others.as_slice() {
            [] => format!("no record is of a decision of the policy `{}`", self.policy),
            others => format!(
                "no record is of a decision of the policy `{}`, but of {}: give the new version that name, or write \
                 `candidate_for:` with it",
                self.policy,
                others.join(", ")
            ),
        })
    }

    /// Decides one record again, if it is a decision of the policy that the new one would replace.
    pub fn take(&mut self, entry: &Entry<'_>) {
        if !entry.is_decision() {
            return;
        }
        if !is_policy(&self.policy, &entry.policy) {
            let name = entry.policy.split('/').next().unwrap_or_default();
            if !name.is_empty() && !self.others.contains(name) {
                self.others.insert(name.to_owned());
            }
            return;
        }
        let by_rule = Reason::from_name(&entry.reason_code).is_some_and(is_of_rules);
        let Some(question) = question(entry).filter(|_| by_rule) else {
            self.not_rules += 1;
            return;
        };
        let profile = entry.policy.split_once('/').map(|(_, profile)| profile);
        let domain = self.compiled.domain(profile);
        if domain == 0 {
            self.no_profile += 1;
            return;
        }
        let plan = self.compiled.plan();
        let decision = plan.decide(domain, &question);
        if decision.needs_args && question.args.is_none() {
            self.needs_argv += 1;
            return;
        }
        self.decided += 1;
        let rule = rule_of(&plan.cause(domain, &decision, &question));
        // A policy in shadow says what it would have done beside what was done.
        let (old_verdict, old_rule) = match &entry.candidate_verdict {
            Some(candidate) if is_policy(&self.policy, &entry.candidate_policy) => {
                (candidate, &entry.candidate_rule)
            }
            Some(_) | None => (&entry.verdict, &entry.rule),
        };
        let new_verdict = decision.verdict();
        if Verdict::from_name(old_verdict) == Some(new_verdict) {
            self.same += 1;
            return;
        }
        let change = Change {
            action: entry.action.clone().into_owned(),
            old_verdict: old_verdict.clone().into_owned(),
            old_rule: old_rule.clone().into_owned(),
            new_verdict: new_verdict.name().to_owned(),
            new_rule: rule,
        };
        let object = entry.object.clone().into_owned();
        let tally = self.changes.entry(change);
        let tally = tally.or_insert_with(|| Tally { count: 0, first: object.clone(), last: String::new() });
        tally.count += 1;
        tally.last = object;
    }
}

/// Whether rules, defaults and the like have led to a reason, so that another policy may lead elsewhere.
const fn is_of_rules(reason: Reason) -> bool {
    match reason {
        Reason::Rule
        | Reason::Default
        | Reason::Baseline
        | Reason::Gateway
        | Reason::OverBudget
        | Reason::Held
        | Reason::Denied
        | Reason::Timeout
        | Reason::QueueFull
        | Reason::NoDaemon
        | Reason::Approved
        | Reason::CannotHold => true,
        Reason::BytesSpent
        | Reason::GatewayDown
        | Reason::SameSession
        | Reason::PathTooLong
        | Reason::PathTooDeep
        | Reason::PathDetached
        | Reason::PathForeignMount
        | Reason::PathUnstable
        | Reason::PathFault
        | Reason::NoPath
        | Reason::PathDeleted
        | Reason::PathOutside
        | Reason::PathFolds
        | Reason::NoMemory
        | Reason::NoRoom
        | Reason::NoPolicy
        | Reason::HelperFailed
        | Reason::UnknownAddress
        | Reason::ArgvTooLong
        | Reason::OtherRules
        | Reason::Boundary
        | Reason::Changed
        | Reason::NoSandbox
        | Reason::Capability => false,
    }
}

/// What was asked, as the automata are asked it.
fn question(entry: &Entry<'_>) -> Option<Question> {
    let action = Action::from_name(&entry.action)?;
    let bytes = match &*entry.object_kind {
        "path" | "socket" => unescape(&entry.object)?,
        "address" => entry.object.parse::<Peer>().ok()?.to_key(),
        _ => return None,
    };
    let args = match &entry.argv {
        Some(argv) => Some(argv.iter().map(|entry| unescape(entry)).collect::<Option<Vec<_>>>()?),
        None => None,
    };
    Some(Question { action, bytes, args })
}

fn rule_of(cause: &Cause<'_>) -> String {
    match cause {
        Cause::Rule { rule, .. } => rule.id.value.clone(),
        Cause::Default { .. } | Cause::Nothing => Reason::Default.name().to_owned(),
        Cause::Gateway { .. } => Reason::Gateway.name().to_owned(),
        Cause::Baseline { .. } | Cause::WhySocket => Reason::Baseline.name().to_owned(),
    }
}
