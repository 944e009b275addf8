//! The learned policy as a document: its own rules, and what of the present policy stays.

use guard_common::abi::{Action, Verdict};
use serde_json::{Map, Value, json};

use super::{Seen, paths};
use crate::events::Peer;
use crate::policy::glob::Glob;
use crate::policy::model::{
    AuditAllows, AuditArgv, Effect, Mode, OnLoss, Policy, Profile, Rule, SECTIONS, Section, Sections,
    Selector, written,
};

/// How ids of learned rules begin.
const LEARNED: &str = "learned-";

/// Whether a rule comes from here.
pub(super) fn is_learned(rule: &Rule) -> bool {
    rule.id.value.starts_with(LEARNED)
}

/// The document, which JSON is enough for, and how many patterns are in it.
pub(super) fn document(seen: &Seen, name: &str, slack: usize, present: Option<&Policy>) -> (Value, usize) {
    let mut out = Map::new();
    let mut count = 0;
    out.insert("version".into(), json!(1));
    out.insert("policy".into(), json!(name));
    match present {
        Some(policy) => carry_head(policy, name, &mut out),
        None => {
            let selectors: Vec<Value> =
                seen.cgroups.iter().map(|cgroup| json!({ "cgroup": cgroup })).collect();
            out.insert("applies_to".into(), Value::Array(selectors));
            out.insert("mode".into(), json!("shadow"));
            out.insert("audit".into(), json!({ "allows": "first", "on_loss": "block" }));
        }
    }
    let gateways: Vec<String> = match present {
        Some(policy) => policy.gateway.iter().map(|gateway| gateway.value.to_string()).collect(),
        None => seen.gateways.iter().cloned().collect(),
    };
    if !gateways.is_empty() {
        out.insert("gateway".into(), json!(gateways));
    }
    for action in SECTIONS {
        let kept = present.and_then(|policy| policy.sections.get(action));
        let mut rules: Vec<Value> =
            kept.map_or_else(Vec::new, |section| stricter(section).map(rule).collect());
        let learned = learned(seen, action, slack);
        count += learned.as_ref().map_or(0, |(_, patterns)| *patterns);
        rules.extend(learned.map(|(rule, _)| rule));
        let mut section = Map::new();
        section.insert("default".into(), json!("block"));
        if !rules.is_empty() {
            section.insert("rules".into(), Value::Array(rules));
        }
        out.insert(action.name().into(), Value::Object(section));
    }
    if let Some(policy) = present {
        carry_foot(policy, &mut out);
    }
    (Value::Object(out), count)
}

/// The rules of a section that say more than yes.
fn stricter(section: &Section) -> impl Iterator<Item = &Rule> {
    section.rules.iter().filter(|rule| rule.effect.value.verdict() != Verdict::Allow)
}

/// The one rule for everything that was seen of an action.
fn learned(seen: &Seen, action: Action, slack: usize) -> Option<(Value, usize)> {
    let objects = seen.allowed.get(&action)?;
    let (peers, names): (Vec<_>, Vec<_>) =
        objects.iter().partition(|object| Peer::from_key(object).is_some());
    let names = paths::patterns(names.into_iter().map(Vec::as_slice), slack);
    let peers = peers.into_iter().filter_map(|key| Peer::from_key(key));
    let mut rule = Map::new();
    rule.insert("id".into(), json!(format!("{LEARNED}{}", action.name())));
    let mut count = 0;
    let mut list = |key: &str, values: Vec<String>| {
        count += values.len();
        if !values.is_empty() {
            rule.insert(key.into(), json!(values));
        }
    };
    match action {
        Action::Connect => {
            list("to", peers.filter(is_named).map(|peer| peer.to_string()).collect());
            list("unix", names);
        }
        Action::Listen => {
            let mut ports: Vec<String> = peers
                .filter(is_named)
                .map(|peer| {
                    peer.to_string().rsplit_once(':').map_or_else(String::new, |(_, port)| port.to_owned())
                })
                .collect();
            ports.sort();
            ports.dedup();
            list("ports", ports);
        }
        Action::Exec | Action::Load | Action::Write | Action::Read => list("paths", names),
        Action::Boundary => {}
    }
    rule.insert("verdict".into(), json!("allow"));
    (count > 0).then_some((Value::Object(rule), count))
}

/// Policies have words for TCP and UDP alone.
fn is_named(peer: &Peer) -> bool {
    matches!(peer.protocol.0, 6 | 17)
}

fn carry_head(policy: &Policy, name: &str, out: &mut Map<String, Value>) {
    // Under the name of the one it is for, it is that one.
    if let Some(target) = policy.candidate_for.as_ref().filter(|target| target.value != name) {
        out.insert("candidate_for".into(), json!(target.value));
    }
    let selectors: Vec<Value> = policy
        .applies_to
        .iter()
        .map(|selector| match &selector.value {
            Selector::Cgroup(glob) => json!({ "cgroup": glob.text }),
            Selector::Unit(glob) => json!({ "unit": glob.text }),
        })
        .collect();
    out.insert("applies_to".into(), Value::Array(selectors));
    let mode = match policy.mode {
        Mode::Enforce => "enforce",
        Mode::Shadow => "shadow",
    };
    out.insert("mode".into(), json!(mode));
    let allows = match policy.audit.allows {
        AuditAllows::Every => "every",
        AuditAllows::First => "first",
        AuditAllows::None => "none",
    };
    let on_loss = match policy.audit.on_loss {
        OnLoss::Block => "block",
        OnLoss::Allow => "allow",
    };
    let mut audit = json!({ "allows": allows, "on_loss": on_loss });
    if policy.audit.argv == AuditArgv::Text {
        audit["argv"] = json!("text");
    }
    out.insert("audit".into(), audit);
}

fn carry_foot(policy: &Policy, out: &mut Map<String, Value>) {
    let opened: Vec<&str> = policy.boundary.allow.iter().map(|opened| opened.value.name()).collect();
    if !opened.is_empty() {
        out.insert("boundary".into(), json!({ "allow": opened }));
    }
    let limits = &policy.limits;
    let mut kept = Map::new();
    let mut keep = |key: &str, value: Option<Value>| value.map(|value| kept.insert(key.into(), value));
    keep("max_runtime", limits.max_runtime.as_ref().map(|time| json!(written(time.value))));
    keep("max_tasks", limits.max_tasks.as_ref().map(|tasks| json!(tasks.value)));
    keep("max_memory", limits.max_memory.as_ref().map(|bytes| json!(bytes.value)));
    keep("max_bytes_out", limits.max_bytes_out.as_ref().map(|bytes| json!(bytes.value)));
    if !kept.is_empty() {
        out.insert("limits".into(), Value::Object(kept));
    }
    if !policy.profiles.is_empty() {
        let profiles: Map<String, Value> =
            policy.profiles.iter().map(|profile| (profile.name.value.clone(), profile_of(profile))).collect();
        out.insert("profiles".into(), Value::Object(profiles));
    }
    if let Some(timeout) = &policy.escalation.timeout {
        let escalation = &policy.escalation;
        out.insert(
            "escalation".into(),
            json!({
                "timeout": written(timeout.value),
                "on_timeout": "block",
                "max_pending": escalation.max_pending,
                "max_pending_per_session": escalation.max_pending_per_session,
            }),
        );
    }
}

fn profile_of(profile: &Profile) -> Value {
    let mut out = Map::new();
    if profile.inherit {
        out.insert("inherit".into(), json!(true));
    }
    if let Some(gateways) = &profile.gateway {
        let gateways: Vec<String> = gateways.iter().map(|gateway| gateway.value.to_string()).collect();
        out.insert("gateway".into(), json!(gateways));
    }
    sections(&profile.sections, &mut out);
    Value::Object(out)
}

fn sections(sections: &Sections, out: &mut Map<String, Value>) {
    for (action, section) in sections.iter() {
        let mut entry = Map::new();
        if let Some(default) = &section.default {
            entry.insert("default".into(), json!(default.value.verdict().name()));
        }
        if !section.rules.is_empty() {
            entry.insert("rules".into(), section.rules.iter().map(rule).collect());
        }
        out.insert(action.name().into(), Value::Object(entry));
    }
}

fn rule(rule: &Rule) -> Value {
    let mut out = Map::new();
    out.insert("id".into(), json!(rule.id.value));
    let globs = |globs: &[Glob]| globs.iter().map(|glob| glob.text.clone()).collect::<Vec<_>>();
    let lists = [
        ("paths", globs(&rule.paths)),
        ("to", rule.to.iter().map(|target| target.text.clone()).collect()),
        ("unix", globs(&rule.unix)),
        ("ports", rule.ports.iter().map(|target| target.text.clone()).collect()),
        ("except", globs(&rule.except)),
        ("args", globs(&rule.args)),
    ];
    for (key, values) in lists {
        if !values.is_empty() {
            out.insert(key.into(), json!(values));
        }
    }
    out.insert("verdict".into(), json!(rule.effect.value.verdict().name()));
    match &rule.effect.value {
        Effect::Throttle(budget) => {
            out.insert("rate".into(), json!(format!("{}/{}", budget.count, written(budget.per))));
            out.insert("burst".into(), json!(budget.burst));
        }
        Effect::Sandbox { profile } => {
            out.insert("profile".into(), json!(profile.value));
        }
        Effect::Allow | Effect::Escalate | Effect::Block => {}
    }
    for (key, text) in [("reason", &rule.reason), ("remedy", &rule.remedy)] {
        if let Some(text) = text {
            out.insert(key.into(), json!(text.value));
        }
    }
    if rule.shadow {
        out.insert("shadow".into(), json!(true));
    }
    Value::Object(out)
}
