//! Policies → [`Plan`]: pure, and byte for byte the same for the same input.
//!
//! Order of the data's way: `glob` and `address` (what a rule speaks of, as fragments) with [`baseline`] (what
//! no policy opens) → `section` (the rules of one action, one automaton) → `unit` (a policy or profile) →
//! `cgroups` and `domains` (what is joined where) → [`plan`] (the arena's words, with `easy`). [`explain`] asks the plan
//! what the kernel will ask it.

mod address;
mod automaton;
pub mod baseline;
mod cgroups;
mod domains;
mod easy;
pub mod explain;
mod glob;
mod ids;
mod joins;
pub mod plan;
mod section;
mod unit;

use std::sync::{Arc, Mutex, PoisonError};

use guard_common::abi;
use guard_common::limits::DOMAINS;

pub use cgroups::RUNS;
pub use domains::{Domain, Warning};
pub use ids::IdMap;
pub use plan::Plan;
pub use section::Naming;
pub use unit::Unit;

use crate::policy::model::Policy;
use automaton::Memo;

/// Why policies cannot be put into one plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("two policies are called `{policy}`")]
    Duplicate { policy: String },
    #[error("`{candidate}` is a candidate for `{policy}`, which is not loaded")]
    UnknownCandidate { candidate: String, policy: String },
    #[error("policy `{policy}` sandboxes into `{profile}`, which it does not have")]
    UnknownProfile { policy: String, profile: String },
    #[error("policy `{policy}` has more than {most} {what}")]
    TooMany { policy: String, what: &'static str, most: usize },
    #[error(
        "policy `{policy}`: the {action} rules {} can match in too many ways at once to be decided in one walk; \
         let their paths begin at a directory instead of `/**/`, or use one `*` in a component, at its beginning \
         (`/**/*.log` instead of `/**/a*b*.log`)",
        quoted(rules)
    )]
    Explosive { policy: String, action: abi::Action, rules: Vec<String> },
    #[error(
        "the cgroup patterns of {} can match in too many ways at once; let them begin at a slice instead of `/**/`",
        quoted(policies)
    )]
    Selectors { policies: Vec<String> },
    #[error(
        "{} all apply to {cgroup}; no more than {most} policies can be joined, so merge some or narrow their \
         `applies_to`",
        quoted(policies)
    )]
    Crowded { policies: Vec<String>, cgroup: String, most: usize },
    #[error(
        "the policies overlap in more than {most} ways, counting profiles; merge some or narrow their `applies_to`"
    )]
    Domains { most: usize },
    #[error("the policies do not fit into {words} words, the largest map the kernel takes; load fewer rules")]
    Arena { words: usize },
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Compiles one set of policies after the other, and builds anew only what has changed.
#[derive(Debug, Default)]
pub struct Compiler {
    memo: Mutex<Memo>,
}

impl Compiler {
    /// Compiles all policies that are loaded together. `previous` is the last plan's [`Plan::ids`].
    pub fn compile(
        &self,
        policies: &[Arc<Policy>],
        previous: &IdMap,
        generation: u64,
    ) -> Result<Plan, Error> {
        let mut memo = self.memo.lock().unwrap_or_else(PoisonError::into_inner);
        memo.begin();
        let plan = plan::Builder::loaded(policies, previous, generation)?.finish(&mut memo)?;
        memo.end();
        Ok(plan)
    }
}

/// The same, of one set alone.
pub fn compile(policies: &[Arc<Policy>], previous: &IdMap, generation: u64) -> Result<Plan, Error> {
    Compiler::default().compile(policies, previous, generation)
}

/// Compiles one policy for questions about it: in force whatever its mode, its domain's id is 1, and
/// each profile has a domain with the policy, from id 2 on in the order of the file.
pub fn compile_alone(policy: &Arc<Policy>) -> Result<Plan, Error> {
    plan::Builder::alone(policy)?.finish(&mut Memo::default())
}

const _: () = assert!(DOMAINS < guard_common::table::Answer::RULE_GATEWAY as u32);
