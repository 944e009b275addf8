//! The policies of the tests: one that enforces, one that only records, and one for each item that the boundary can
//! open.

use guard_common::abi::BoundaryItem;

use super::near::next;

/// Name and text of each.
pub(super) fn all() -> Vec<(String, String)> {
    let mut all = vec![
        ("box".to_owned(), text("box", "enforce", "")),
        ("thread".to_owned(), text("thread", "enforce", "")),
        ("shadow".to_owned(), text("shadow", "shadow", "")),
    ];
    for (name, text) in [
        ("wide", WIDE),
        ("one-rule", ONE_RULE),
        ("torn", TORN),
        ("net", super::net::POLICY),
        ("spend", super::net::SPEND),
        ("would-spend", super::net::WOULD_SPEND),
        ("args", super::args::POLICY),
        ("args-next", super::args::CANDIDATE),
        ("every", super::audit::POLICY),
        ("first", super::audit::FIRST),
        ("argv", super::audit::argv::POLICY),
        ("verdicts", super::verdicts::POLICY),
        ("run", super::sessions::POLICY),
        ("short", super::sessions::SHORT),
        ("flip", super::glass::POLICY),
        ("why", super::why::POLICY),
    ] {
        all.push((name.to_owned(), text.to_owned()));
    }
    all.push(("names".to_owned(), super::near::names::policy("allow")));
    for (name, verdict) in [(next::RUNS, "allow"), (next::STAYS, "block")] {
        all.push((name.to_owned(), next::policy(name, verdict)));
    }
    all.push(("held".to_owned(), super::verdicts::held("held", "2m", 300)));
    all.push(("brief".to_owned(), super::verdicts::held("brief", "2s", 2)));
    all.extend(BoundaryItem::ALL.iter().map(|item| {
        let name = item.name();
        (
            format!("open-{name}"),
            text(&format!("open-{name}"), "enforce", &format!("boundary: {{ allow: [{name}] }}\n")),
        )
    }));
    let names: std::collections::BTreeSet<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), all.len(), "a policy would lie over another");
    all
}

/// Allows everything that a rule can allow.
const WIDE: &str = "version: 1
policy: kt-wide
applies_to:
  - cgroup: /kt/wide/**
mode: enforce
audit: { allows: none, on_loss: block }
exec: { default: allow }
connect: { default: allow }
write: { default: allow }
read: { default: allow }
";

/// One rule in shadow mode, one that enforces.
const ONE_RULE: &str = "version: 1
policy: kt-one-rule
applies_to:
  - cgroup: /kt/one-rule/**
mode: enforce
audit: { allows: none, on_loss: block }
exec: { default: allow }
connect: { default: allow }
write: { default: allow }
read:
  default: allow
  rules:
    - { id: soft, paths: [/t/blind/d/file], verdict: block, shadow: true }
    - { id: hard, paths: [/t/blind/d/file2], verdict: block }
";

/// Allows only paths that never exist: what a walk would spell that mixes the state before a rename with the state
/// after it.
const TORN: &str = "version: 1
policy: kt-torn
applies_to:
  - cgroup: /kt/torn/**
mode: enforce
audit: { allows: none, on_loss: block }
exec: { default: allow }
connect: { default: allow }
read: { default: allow }
write:
  default: block
  rules:
    - { id: torn, paths: [/t/open/work/left/in-right, /t/open/work/right/in-left], verdict: allow }
";

/// A policy for what is below `/kt/NAME`.
pub(super) fn text(name: &str, mode: &str, more: &str) -> String {
    format!(
        "version: 1
policy: kt-{name}
applies_to:
  - cgroup: /kt/{name}/**
mode: {mode}
audit: {{ allows: none, on_loss: block }}
exec:
  default: block
  rules:
    - {{ id: programs, paths: [\"/t/open/**\", \"/usr/**\"], verdict: allow }}
load:
  default: allow
  rules:
    - {{ id: shut, paths: [\"/t/shut/**\", \"/t/blind/**\"], verdict: block }}
connect: {{ default: block }}
write:
  default: block
  rules:
    - {{ id: open, paths: [\"/t/open/**\", /dev/null], verdict: allow }}
    - {{ id: kept, paths: [\"/t/open/work/holder/kept/**\"], verdict: block }}
read:
  default: allow
  rules:
    - {{ id: blind, paths: [\"/t/blind/**\", \"/t/open/work/holder/secret/**\"], verdict: block }}
{more}"
    )
}
