//! Who answers a request: `test`, `explain` and `diff` ask a [`Decider`] and never decide themselves.

use super::matching::{Matched, matching};
use super::model::{Effect, Policy, Proto, Request, Verdict};

/// What a policy says of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Decision {
    pub verdict: Verdict,
    pub why: Why,
    /// What a shadow rule would have said, if that is stricter.
    pub shadow: Option<(Verdict, String)>,
}

/// Where an answer comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The rule with this id.
    Rule(String),
    /// No rule matched.
    Default,
    /// The peer is a gateway.
    Gateway,
    /// The part of every policy that nobody can open.
    Baseline(String),
}

pub trait Decider {
    /// Answers for a task that lives in `profile`, or in none.
    fn decide(&self, request: &Request, profile: Option<&str>) -> Decision;
}

/// Decides rule by rule, straight from the model.
#[derive(Debug)]
pub struct Plain<'a>(pub &'a Policy);

impl Decider for Plain<'_> {
    fn decide(&self, request: &Request, profile: Option<&str>) -> Decision {
        if let Some(decision) = gateway(self.0, profile, request) {
            return decision;
        }
        let matched = matching(self.0, profile, request);
        let action = request.action();
        let mut answer = layer(&matched, None, self.0.default_for(action).verdict());
        if let Some(tighter) = profile.and_then(|name| self.0.profile(name)) {
            let section = tighter.sections.get(action);
            let default = match section.and_then(|section| section.default.as_ref()) {
                Some(stated) => Some(stated.value.verdict()),
                None if tighter.inherit => None,
                None => Some(Effect::unstated(action).verdict()),
            };
            let name = Some(tighter.name.as_str());
            // An inherited section has rules to add, or nothing: what it leaves open is the policy's to say.
            let theirs = layer(&matched, name, default.unwrap_or(Verdict::Allow));
            if theirs.0 > answer.0 {
                answer = theirs;
            }
        }
        let (verdict, why) = answer;
        let shadow = matched
            .iter()
            .find(|matched| matched.rule.shadow && matched.rule.effect.verdict() > verdict)
            .map(|matched| (matched.rule.effect.verdict(), matched.rule.id.value.clone()));
        Decision { verdict, why, shadow }
    }
}

/// What the rules of the policy, or of one profile, answer by themselves; they are sorted, strictest first.
fn layer(matched: &[Matched<'_>], profile: Option<&str>, default: Verdict) -> (Verdict, Why) {
    match matched.iter().find(|matched| matched.profile == profile && !matched.rule.shadow) {
        Some(matched) => (matched.rule.effect.verdict(), Why::Rule(matched.rule.id.value.clone())),
        None => (default, Why::Default),
    }
}

fn gateway(policy: &Policy, profile: Option<&str>, request: &Request) -> Option<Decision> {
    let tighter = profile.and_then(|name| policy.profile(name));
    let reachable = |to: &std::net::SocketAddr| {
        let own = policy.gateway.iter().any(|gateway| gateway.value == *to);
        let theirs = tighter.is_none_or(|profile| match &profile.gateway {
            Some(gateways) => gateways.iter().any(|gateway| gateway.value == *to),
            None => profile.inherit,
        });
        own && theirs
    };
    match request {
        Request::Connect { to, proto: Proto::Tcp } if reachable(to) => {
            Some(Decision { verdict: Verdict::Allow, why: Why::Gateway, shadow: None })
        }
        Request::Listen { port, .. } if policy.gateways().any(|gateway| gateway.port() == *port) => {
            Some(Decision { verdict: Verdict::Block, why: Why::Gateway, shadow: None })
        }
        Request::Exec { .. }
        | Request::Load(_)
        | Request::Connect { .. }
        | Request::ConnectUnix(_)
        | Request::Listen { .. }
        | Request::Write(_)
        | Request::Read(_) => None,
    }
}
