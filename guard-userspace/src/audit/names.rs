//! What the kernel's numbers are called: the policy, rule and reason behind an answer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use guard_common::abi::{Action, Mode, Reason, Verdict};
use guard_common::table::Answer;
use sha2::{Digest as _, Sha256};

use super::fast::FastMap;
use super::reasons::sentence;
use super::seal;
use crate::compile::explain::{Cause as Found, Question};
use crate::compile::{Plan, Unit};
use crate::events::Event;
use crate::policy::model::AuditArgv;

/// Where an answer comes from, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub verdict: Verdict,
    /// `policy` or `policy/profile`; empty if none had a say.
    pub policy: String,
    /// Of the policy's text.
    pub policy_sha256: String,
    pub mode: Mode,
    /// The rule's id; for what is no rule, the reason code's name.
    pub rule: String,
    pub reason: String,
    pub remedy: String,
}

impl Cause {
    /// Of a record that is no decision.
    pub(super) const fn nothing() -> Self {
        Self {
            verdict: Verdict::Allow,
            policy: String::new(),
            policy_sha256: String::new(),
            mode: Mode::Enforce,
            rule: String::new(),
            reason: String::new(),
            remedy: String::new(),
        }
    }
}

/// On whose behalf a task acts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// UUID of the session.
    pub session: String,
    pub principal: String,
    pub purpose: String,
    /// W3C trace id.
    pub trace: String,
    /// The cgroup's path.
    pub cgroup: Vec<u8>,
}

/// Names an event's numbers.
pub trait Names {
    /// Why the event was decided as it was.
    fn cause(&mut self, event: &Event) -> Arc<Cause>;

    /// Where the stricter answer comes from that shadow rules, shadow policies or candidates would have given.
    fn candidate(&mut self, event: &Event) -> Option<Arc<Cause>>;

    /// Whether the record may hold the text of argv.
    fn keeps_argv(&self, event: &Event) -> bool;

    /// The policies that are joined in a domain now, with spaces between.
    fn policies(&self, domain: u32) -> String;
}

/// Generations whose events may still come.
const GENERATIONS: usize = 8;
/// Causes kept; beyond, all are forgotten and found again.
const CAUSES: usize = 65_536;

/// The parts of an event that a cause depends on, when its answer names the rule.
type Key = (u64, u32, u8, u32, Reason, Action, Mode, Verdict);

/// Names by the compiled plans of the last generations.
#[derive(Debug, Default)]
pub struct PlanNames {
    /// Without their arenas.
    plans: BTreeMap<u64, Plan>,
    causes: FastMap<Key, Arc<Cause>>,
    digests: HashMap<String, String>,
}

impl PlanNames {
    /// Events decided by `plan` can come from now on.
    pub fn learn(&mut self, plan: &Plan) {
        let plan = Plan {
            arena: Vec::new(),
            generation: plan.generation,
            domains: plan.domains.clone(),
            units: plan.units.clone(),
            ids: plan.ids.clone(),
            warnings: Vec::new(),
            sha256: plan.sha256,
            used: plan.used,
        };
        self.plans.insert(plan.generation, plan);
        while self.plans.len() > GENERATIONS {
            self.plans.pop_first();
        }
        self.causes.clear();
        self.digests.clear();
    }

    fn named(&mut self, event: &Event, shadow: bool) -> Arc<Cause> {
        let (answer, n) =
            if shadow { (event.shadow, event.shadow_policy) } else { (event.answer, event.policy) };
        let mode = if shadow { Mode::Shadow } else { Mode::Enforce };
        let key =
            (event.generation, event.domain, n, answer.0, event.reason, event.action, mode, event.verdict);
        let exact = answer.is_none()
            || answer.rule() != Answer::RULE_UNKNOWN && answer.rule() != Answer::RULE_BASELINE;
        if exact && let Some(known) = self.causes.get(&key) {
            return Arc::clone(known);
        }
        let cause = Arc::new(self.find(event, answer, n, shadow));
        if exact {
            if self.causes.len() >= CAUSES {
                self.causes.clear();
            }
            self.causes.insert(key, Arc::clone(&cause));
        }
        cause
    }

    fn find(&mut self, event: &Event, answer: Answer, n: u8, shadow: bool) -> Cause {
        let would = Verdict::from_code(answer.verdict_code()).unwrap_or(Verdict::Block);
        let mut cause = Cause {
            verdict: if shadow { would } else { event.verdict },
            policy: String::new(),
            policy_sha256: String::new(),
            mode: if shadow { Mode::Shadow } else { Mode::Enforce },
            rule: event.reason.name().to_owned(),
            reason: sentence(event.reason).to_owned(),
            remedy: String::new(),
        };
        let Some(plan) = self.plans.get(&event.generation) else { return cause };
        if let Some(unit) = plan.unit(event.domain, n) {
            cause.policy = unit.name();
            cause.mode = if unit.shadow || shadow { Mode::Shadow } else { Mode::Enforce };
            cause.policy_sha256 = digest(&mut self.digests, unit);
        }
        let question = question(event);
        match plan.cause_of(event.domain, n, answer, shadow, &question) {
            Found::Rule { rule, .. } if shadow || spoke(event.reason) => {
                cause.rule = rule.id.value.clone();
                if let Some(reason) = &rule.reason {
                    cause.reason = reason.value.clone();
                } else if shadow {
                    sentence(Reason::Rule).clone_into(&mut cause.reason);
                }
                cause.remedy = rule.remedy.as_ref().map(|remedy| remedy.value.clone()).unwrap_or_default();
            }
            Found::Baseline { line } if shadow || event.reason == Reason::Baseline => {
                Reason::Baseline.name().clone_into(&mut cause.rule);
                line.reason.clone_into(&mut cause.reason);
            }
            Found::Default { .. } if shadow => {
                Reason::Default.name().clone_into(&mut cause.rule);
                sentence(Reason::Default).clone_into(&mut cause.reason);
            }
            Found::Rule { .. }
            | Found::Baseline { .. }
            | Found::Default { .. }
            | Found::Gateway { .. }
            | Found::WhySocket
            | Found::Nothing => {}
        }
        cause
    }
}

/// Whether a reason is one that a rule's answer led to.
const fn spoke(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Rule
            | Reason::OverBudget
            | Reason::Held
            | Reason::Denied
            | Reason::Timeout
            | Reason::QueueFull
            | Reason::NoDaemon
            | Reason::Approved
            | Reason::CannotHold
            | Reason::Changed
    )
}

fn digest(known: &mut HashMap<String, String>, unit: &Unit) -> String {
    let name = unit.policy.name.value.as_str();
    if let Some(digest) = known.get(name) {
        return digest.clone();
    }
    let digest = seal::hex(&Sha256::digest(unit.policy.source.text.as_bytes()));
    known.insert(name.to_owned(), digest.clone());
    digest
}

/// What was asked, as the automata are asked it.
pub(super) fn question(event: &Event) -> Question {
    let mut bytes = event.object.clone();
    let mut args = None;
    if event.action == Action::Exec
        && let Some(end) = bytes.iter().position(|byte| *byte == 0)
    {
        let tail = bytes.split_off(end);
        args = Some(super::scribe::entries(&tail[1..]).map(<[u8]>::to_vec).collect());
    }
    Question { action: event.action, bytes, args }
}

impl Names for PlanNames {
    fn cause(&mut self, event: &Event) -> Arc<Cause> {
        self.named(event, false)
    }

    fn candidate(&mut self, event: &Event) -> Option<Arc<Cause>> {
        (!event.shadow.is_none()).then(|| self.named(event, true))
    }

    fn keeps_argv(&self, event: &Event) -> bool {
        let Some(plan) = self.plans.get(&event.generation) else { return false };
        let Some(domain) = plan.domain(event.domain) else { return false };
        domain
            .units
            .iter()
            .filter_map(|unit| plan.units.get(*unit as usize))
            .any(|unit| unit.policy.audit.argv == AuditArgv::Text)
    }

    fn policies(&self, domain: u32) -> String {
        let Some((_, plan)) = self.plans.last_key_value() else { return String::new() };
        let Some(domain) = plan.domain(domain) else { return String::new() };
        let units = domain.units.iter().filter_map(|unit| plan.units.get(*unit as usize));
        units.map(Unit::name).collect::<Vec<_>>().join(" ")
    }
}
