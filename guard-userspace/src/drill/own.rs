//! Drills of an operator's own policy: each rule of the file that a request can reach is tried by a request that it
//! decides, each default by one that no rule decides, and the gateway is called.
//!
//! The file's paths, addresses and ports are those of a world of its own (a root, a mount and a network namespace that
//! `guard-attempt rule` makes), so nothing of the host's is touched; they are the same names to the rules.

mod paths;
mod peers;

use std::path::Path;
use std::sync::Arc;

use crate::compile::explain::Compiled;
use crate::policy::decide::{Decider as _, Why};
use crate::policy::model::{Action, Policy, Proto, Request, Rule, Verdict};
use crate::policy::{diag, parse};

/// Why there are no drills of a file.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// It has errors of its own.
    #[error("the policy has errors; `guard policy check` shows them:\n{0}")]
    Wrong(String),
    /// It cannot be compiled.
    #[error("compile the policy")]
    Compile(#[from] crate::compile::Error),
}

/// One drill: what is tried, and what the file says must come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// The rule's id, or `SECTION-default`, or `gateway`.
    pub id: String,
    /// The rule, in words.
    pub says: String,
    pub plan: Planned,
}

/// Whether and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planned {
    /// It must be refused, and the record names the rule; or it must work.
    Try { request: Request, blocked: bool },
    /// Why it is not tried.
    Left(String),
}

/// The file, read and found without errors.
pub fn read(path: &Path) -> Result<Arc<Policy>, OwnError> {
    let parsed = parse::load(path);
    match parsed.policy {
        Some(policy) if !parsed.report.has_errors() => Ok(Arc::new(policy)),
        _ => {
            let all = parsed.report.diagnostics.iter();
            let texts = all.map(|one| diag::render(one, &parsed.report.source, diag::Style::Plain));
            Err(OwnError::Wrong(texts.collect::<Vec<_>>().join("\n")))
        }
    }
}

/// What the file says must be tried, in its order.
pub fn derive(policy: &Arc<Policy>) -> Result<Vec<Own>, OwnError> {
    let asker = Asker { policy, compiled: Compiled::new(policy)? };
    let mut all = Vec::new();
    if let Some(gateway) = policy.gateway.first() {
        let request = Request::Connect { to: gateway.value, proto: Proto::Tcp };
        let says = format!("the gateway {} can be reached", gateway.value);
        all.push(Own { id: "gateway".to_owned(), says, plan: Planned::Try { request, blocked: false } });
    }
    for (action, section) in policy.sections.iter() {
        all.extend(section.rules.iter().map(|rule| asker.rule(action, rule)));
        all.extend(asker.default(action));
    }
    for profile in &policy.profiles {
        for (action, section) in profile.sections.iter() {
            all.extend(section.rules.iter().map(|rule| Own {
                id: rule.id.value.clone(),
                says: words(action, rule),
                plan: Planned::Left(format!(
                    "it is a rule of profile {}, which only a sandbox verdict enters",
                    profile.name.value
                )),
            }));
        }
    }
    Ok(all)
}

fn words(action: Action, rule: &Rule) -> String {
    let globs = rule.paths.iter().chain(&rule.unix).map(|glob| glob.text.clone());
    let targets = rule.to.iter().map(|to| to.text.clone());
    let ports = rule.ports.iter().map(|port| port.text.clone());
    let all: Vec<String> = globs.chain(targets).chain(ports).collect();
    let shown = all.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    let more = if all.len() > 3 { ", …" } else { "" };
    format!("{} {}: {shown}{more}", rule.effect.value.verdict().name(), action.name())
}

/// Asks the compiled policy what it says.
struct Asker<'p> {
    policy: &'p Arc<Policy>,
    compiled: Compiled,
}

impl Asker<'_> {
    /// What the policy itself says of a request, or nothing if something else decides it.
    fn decided(&self, request: &Request, by: &Why) -> Option<Verdict> {
        let decision = self.compiled.decide(request, None);
        (decision.why == *by).then_some(decision.verdict)
    }

    fn rule(&self, action: Action, rule: &Rule) -> Own {
        let (id, says) = (rule.id.value.clone(), words(action, rule));
        let left =
            |why: &str| Own { id: id.clone(), says: says.clone(), plan: Planned::Left(why.to_owned()) };
        if rule.shadow {
            return left("it only records (`shadow: true`)");
        }
        let by = Why::Rule(id.clone());
        let found = match action {
            Action::Connect if rule.unix.is_empty() => {
                peers::connect(rule, |it| self.decided(it, &by).is_some())
            }
            Action::Connect => paths::unix(rule, |it| self.decided(it, &by).is_some())
                .or_else(|| peers::connect(rule, |it| self.decided(it, &by).is_some())),
            Action::Listen => peers::listen(rule, |it| self.decided(it, &by).is_some()),
            Action::Exec | Action::Load | Action::Write | Action::Read | Action::Boundary => {
                paths::path(action, rule, |it| self.decided(it, &by).is_some())
            }
        };
        let Some(request) = found else {
            return left(
                "no request was found that this rule decides: stricter rules or the baseline come first",
            );
        };
        let blocked = match rule.effect.value.verdict() {
            Verdict::Block => true,
            Verdict::Allow | Verdict::Throttle | Verdict::Sandbox => false,
            Verdict::Escalate => return left("somebody must answer (`escalate`), and a drill asks nobody"),
        };
        Own { id, says, plan: Planned::Try { request, blocked } }
    }

    /// A request that no rule of the section decides.
    fn default(&self, action: Action) -> Option<Own> {
        let verdict = self.policy.default_for(action).verdict();
        let blocked = match verdict {
            Verdict::Block => true,
            Verdict::Allow => false,
            // Only these two and this one can be defaults.
            Verdict::Escalate | Verdict::Throttle | Verdict::Sandbox => return None,
        };
        let free = |it: &Request| self.decided(it, &Why::Default).is_some();
        let request = match action {
            Action::Connect => peers::anywhere().find(free),
            Action::Listen => peers::any_port().find(free),
            Action::Exec | Action::Load | Action::Write | Action::Read => paths::anywhere(action).find(free),
            Action::Boundary => None,
        };
        let says = format!("{} {} where no rule speaks", verdict.name(), action.name());
        let left = || Planned::Left("the rules speak of everything".to_owned());
        let plan = request.map_or_else(left, |request| Planned::Try { request, blocked });
        Some(Own { id: format!("{}-default", action.name()), says, plan })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::source::Source;

    fn drills(text: &str) -> Vec<Own> {
        let parsed = parse::parse(Arc::new(Source::new("own.yaml", text)));
        derive(&Arc::new(parsed.policy.expect("a policy"))).expect("it compiles")
    }

    const FILE: &str = "version: 1
policy: own
applies_to: [{ cgroup: /own/** }]
mode: enforce
gateway: [\"127.0.0.1:8080\"]
exec:
  default: block
  rules:
    - { id: tools, paths: [\"/usr/bin/**\"], verdict: allow }
    - { id: no-curl, paths: [\"/usr/bin/curl\"], verdict: block }
    - { id: no-push, paths: [\"/usr/bin/git\"], args: [push], verdict: block }
connect:
  default: block
  rules:
    - { id: web, to: [\"10.1.0.0/16:443/tcp\"], verdict: allow }
    - { id: bus, unix: [\"/run/bus*\"], verdict: block }
listen:
  default: block
  rules:
    - { id: dev, ports: [8000-8010/tcp], verdict: allow }
write:
  default: block
  rules:
    - { id: work, paths: [\"/project/**\"], except: [\"/project/.git/**\"], verdict: allow }
";

    #[test]
    fn every_rule_is_tried_by_what_it_decides_and_every_default_by_what_none_does() {
        let all = drills(FILE);
        let tried = |id: &str| match &all.iter().find(|own| own.id == id).expect(id).plan {
            Planned::Try { request, blocked } => format!("{request} {blocked}"),
            Planned::Left(why) => why.clone(),
        };
        assert_eq!(tried("gateway"), "127.0.0.1:8080/tcp false");
        assert_eq!(tried("tools"), "/usr/bin/x false");
        assert_eq!(tried("no-curl"), "/usr/bin/curl true");
        assert_eq!(tried("no-push"), "/usr/bin/git push true");
        assert_eq!(tried("web"), "10.1.0.1:443/tcp false");
        assert_eq!(tried("bus"), "/run/bus true");
        assert_eq!(tried("dev"), "8000/tcp false");
        assert_eq!(tried("work"), "/project/x false");
        assert!(tried("exec-default").ends_with(" true"), "{}", tried("exec-default"));
        assert!(tried("connect-default").ends_with("/tcp true"));
        assert!(tried("listen-default").ends_with(" true"));
        assert!(tried("write-default").ends_with(" true"));
    }

    #[test]
    fn what_a_drill_cannot_try_it_says() {
        let text = FILE.replace(
            "verdict: block }\n    - { id: no-push",
            "shadow: true, verdict: block }\n    - { id: no-push",
        );
        let own = drills(&text).into_iter().find(|own| own.id == "no-curl");
        assert!(matches!(own.expect("it is there").plan, Planned::Left(why) if why.contains("shadow")));
    }
}
