//! What a plan answers, asked through the arena as the kernel asks it, and which rule that was.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use guard_common::abi::{Action, Verdict};
use guard_common::decide::{self, Decision};
use guard_common::key;
use guard_common::table::Answer;

use super::baseline::{self, Line};
use super::{Error, Plan, Unit, address};
use crate::policy::decide::{Decider, Decision as Said, Why};
use crate::policy::matching::rule_matches;
use crate::policy::model::{Policy, Request, Rule};

/// A request as the kernel asks it: the action, the bytes of the object, argv from its second entry on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub action: Action,
    pub bytes: Vec<u8>,
    /// For exec only; `None` leaves argv out of it.
    pub args: Option<Vec<Vec<u8>>>,
}

impl From<&Request> for Question {
    fn from(request: &Request) -> Self {
        let action = request.action();
        let (bytes, args) = match request {
            Request::Exec { path, argv } => (path.clone(), Some(argv.iter().skip(1).cloned().collect())),
            Request::Load(path) | Request::Write(path) | Request::Read(path) => (path.clone(), None),
            Request::ConnectUnix(name) => (name.clone(), None),
            Request::Connect { to, proto } => (address::key(*to, *proto), None),
            // No address is written: every address of the host.
            Request::Listen { port, proto } => {
                (address::key(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), *port), *proto), None)
            }
        };
        Self { action, bytes, args }
    }
}

impl Question {
    /// The question as policies write it; `None` for bytes that no kernel sends.
    fn request(&self) -> Option<Request> {
        let bytes = || self.bytes.clone();
        Some(match self.action {
            Action::Exec => {
                let args = self.args.iter().flatten().cloned();
                Request::Exec { path: bytes(), argv: std::iter::once(Vec::new()).chain(args).collect() }
            }
            Action::Load => Request::Load(bytes()),
            Action::Write => Request::Write(bytes()),
            Action::Read => Request::Read(bytes()),
            Action::Connect => match self.bytes.first() {
                Some(&(key::V4 | key::V6)) => {
                    let (to, proto) = address::parse(&self.bytes)?;
                    Request::Connect { to, proto }
                }
                Some(_) | None => Request::ConnectUnix(bytes()),
            },
            Action::Listen => {
                let (at, proto) = address::parse(&self.bytes)?;
                Request::Listen { port: at.port(), proto }
            }
            Action::Boundary => return None,
        })
    }
}

/// Where an answer comes from.
#[derive(Debug, Clone, Copy)]
pub enum Cause<'a> {
    /// A rule of a policy or of one of its profiles.
    Rule { unit: &'a Unit, index: usize, rule: &'a Rule },
    /// No rule of the unit matched.
    Default { unit: &'a Unit },
    /// The peer is a gateway, or somebody would pose as one.
    Gateway { unit: &'a Unit },
    /// A line of the baseline.
    Baseline { line: &'a Line },
    /// The socket on which agents may ask about their own denials.
    WhySocket,
    /// The domain has no policy in this plan.
    Nothing,
}

impl Plan {
    /// Decides a question for a domain.
    pub fn decide(&self, domain: u32, question: &Question) -> Decision {
        let args: Option<Vec<&[u8]>> =
            question.args.as_ref().map(|args| args.iter().map(Vec::as_slice).collect());
        decide::decide(self.arena.as_slice(), domain, question.action, &question.bytes, args.as_deref())
    }

    /// Where the answer of a decision comes from, found again by asking every rule if the answer does not say.
    pub fn cause(&self, domain: u32, decision: &Decision, question: &Question) -> Cause<'_> {
        self.cause_of(domain, decision.policy, decision.answer, false, question)
    }

    /// Where the stricter answer comes from that shadow rules or policies would have given.
    pub fn shadow_cause(&self, domain: u32, decision: &Decision, question: &Question) -> Cause<'_> {
        self.cause_of(domain, decision.shadow_policy, decision.shadow, true, question)
    }

    /// As [`Self::cause`], from the parts a record has.
    pub fn cause_of(
        &self,
        domain: u32,
        n: u8,
        answer: Answer,
        shadow: bool,
        question: &Question,
    ) -> Cause<'_> {
        let Some(unit) = self.unit(domain, n) else { return Cause::Nothing };
        let rules = unit.rules(question.action);
        match answer.rule() {
            _ if answer.is_none() => Cause::Nothing,
            Answer::RULE_DEFAULT => Cause::Default { unit },
            Answer::RULE_GATEWAY => Cause::Gateway { unit },
            Answer::RULE_BASELINE => baseline_cause(unit, answer, question),
            Answer::RULE_UNKNOWN => {
                let verdict = Verdict::from_code(answer.verdict_code());
                let request = question.request();
                let speaks = |rule: &Rule| {
                    // What a shadow policy would have done may come from any of its rules.
                    Some(rule.effect.verdict()) == verdict
                        && (rule.shadow == shadow || unit.shadow)
                        && request.as_ref().is_some_and(|request| rule_matches(rule, request).is_some())
                };
                match rules.iter().enumerate().find(|(_, rule)| speaks(rule)) {
                    Some((index, rule)) => Cause::Rule { unit, index, rule },
                    None => Cause::Default { unit },
                }
            }
            index => match rules.get(usize::from(index)) {
                Some(rule) => Cause::Rule { unit, index: usize::from(index), rule },
                None => Cause::Nothing,
            },
        }
    }

    /// Every rule of the domain's policies and profiles that matches, in the order of the units and files.
    pub fn matching(&self, domain: u32, question: &Question) -> Vec<(&Unit, &Rule)> {
        let Some(request) = question.request() else { return Vec::new() };
        let units = self.domain(domain).into_iter().flat_map(|domain| &domain.units);
        units
            .filter_map(|&unit| self.units.get(unit as usize))
            .flat_map(|unit| unit.rules(question.action).iter().map(move |rule| (unit, rule)))
            .filter(|(_, rule)| rule_matches(rule, &request).is_some())
            .collect()
    }
}

fn baseline_cause<'a>(unit: &'a Unit, answer: Answer, question: &Question) -> Cause<'a> {
    if answer.verdict_code() == Verdict::Allow.code() {
        return Cause::WhySocket;
    }
    match baseline::line_for(question.action, &question.bytes) {
        Some(line) => Cause::Baseline { line },
        // The one thing the baseline blocks that is no path.
        None => Cause::Gateway { unit },
    }
}

/// One policy, compiled: what answers `guard policy test` and `explain`.
#[derive(Debug)]
pub struct Compiled {
    plan: Plan,
    name: String,
}

impl Compiled {
    pub fn new(policy: &Arc<Policy>) -> Result<Self, Error> {
        Ok(Self { plan: super::compile_alone(policy)?, name: policy.name.value.clone() })
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The domain of a task that lives in `profile`, or in none. 0, which answers nothing and so blocks, for a
    /// profile that the policy does not have.
    pub fn domain(&self, profile: Option<&str>) -> u32 {
        let own = std::iter::once(self.name.clone());
        let names: Vec<String> =
            own.chain(profile.map(|profile| format!("{}/{profile}", self.name))).collect();
        self.plan.ids.get(&names).unwrap_or(0)
    }
}

impl Decider for Compiled {
    fn decide(&self, request: &Request, profile: Option<&str>) -> Said {
        let question = Question::from(request);
        let domain = self.domain(profile);
        let decision = self.plan.decide(domain, &question);
        let shadow = decision.shadow_verdict().map(|verdict| {
            let name = match self.plan.shadow_cause(domain, &decision, &question) {
                Cause::Rule { rule, .. } => rule.id.value.clone(),
                Cause::Default { .. }
                | Cause::Gateway { .. }
                | Cause::Baseline { .. }
                | Cause::WhySocket
                | Cause::Nothing => String::new(),
            };
            (verdict, name)
        });
        let why = match self.plan.cause(domain, &decision, &question) {
            Cause::Rule { rule, .. } => Why::Rule(rule.id.value.clone()),
            Cause::Default { .. } | Cause::Nothing => Why::Default,
            Cause::Gateway { .. } => Why::Gateway,
            Cause::Baseline { line } => Why::Baseline(line.reason.to_owned()),
            Cause::WhySocket => Why::Baseline("agents may ask why they were denied".to_owned()),
        };
        Said { verdict: decision.verdict(), why, shadow }
    }
}
