//! One rule.

use guard_common::abi::Reason;

use super::fields::Fields;
use super::section::unknown_verdict;
use super::{Cx, net, scalar};
use crate::policy::diag::{Code, Diagnostic};
use crate::policy::glob::Glob;
use crate::policy::model::{Action, Budget, Effect, Rule, Verdict};
use crate::policy::source::{Span, Spanned};
use crate::policy::words::{self, Object};
use crate::policy::yaml::Node;

/// GCRA keeps its time in 64 bits of nanoseconds.
const MAX_BURST: u32 = 1_000_000;

pub(super) fn rule(cx: &mut Cx, node: &Node, action: Action, object: &'static Object) -> Option<Rule> {
    let fields = Fields::new(cx, node, object)?;
    let id = fields.need(cx, "id", "`id:` and a name, by which records and tests speak of the rule");
    let id = id.and_then(|id| cx.name(id, "rule"));
    if let Some(id) = &id {
        own_id(cx, id);
        unique_id(cx, id);
    }
    let before = cx.diagnostics.len();
    let on = |cx: &mut Cx, name| {
        let given = object.key(name).and_then(|_| fields.get(name));
        let make = if action == Action::Connect { Glob::unix } else { Glob::path };
        cx.globs(given, "`[\"/workspace/**\"]`", make)
    };
    let paths = on(cx, "paths");
    let unix = on(cx, "unix");
    let except = on(cx, "except");
    let args = object.key("args").and_then(|_| fields.get("args"));
    let args = cx.globs(args, "`[push]`", Glob::text);
    let to = items(cx, object, &fields, "to", net::target);
    let ports = items(cx, object, &fields, "ports", net::port_target);
    let understood = cx.diagnostics.len() == before;
    if understood && paths.is_empty() && unix.is_empty() && to.is_empty() && ports.is_empty() {
        empty_rule(cx, &fields, action);
    }
    let effect = effect(cx, &fields);
    let reason = text(cx, &fields, "reason");
    let remedy = text(cx, &fields, "remedy");
    let shadow = fields.get("shadow").and_then(|node| cx.bool(node)).unwrap_or(false);
    // A rule that lost a pattern would be judged as if the pattern had never been there.
    if !understood {
        return None;
    }
    Some(Rule {
        id: id?,
        span: node.span,
        paths,
        except,
        args,
        to,
        unix,
        ports,
        effect: effect?,
        reason,
        remedy,
        shadow,
    })
}

/// Records name what is no rule by its reason code: a rule of that name could not be told from it.
fn own_id(cx: &mut Cx, id: &Spanned<String>) {
    let is_taken = Reason::from_name(&id.value).is_some_and(|reason| reason != Reason::Rule);
    if is_taken {
        let message = format!("`{}` cannot name a rule: records call guard's own reason so", id.value);
        cx.push(
            Diagnostic::new(Code::BadName, id.span, message)
                .help(format!("write another, such as `{}-rule`", id.value)),
        );
    }
}

fn unique_id(cx: &mut Cx, id: &Spanned<String>) {
    if let Some(first) = cx.ids.get(&id.value).copied() {
        cx.push(
            Diagnostic::new(
                Code::DuplicateName,
                id.span,
                format!("the rule id `{}` is used twice", id.value),
            )
            .related(first, "first used here")
            .help("give one of them another id; records name a rule by it"),
        );
    } else {
        cx.ids.insert(id.value.clone(), id.span);
    }
}

fn items<T>(
    cx: &mut Cx,
    object: &Object,
    fields: &Fields<'_>,
    name: &'static str,
    read: fn(&mut Cx, &Node) -> Option<T>,
) -> Vec<T> {
    let Some(node) = object.key(name).and_then(|_| fields.get(name)) else { return Vec::new() };
    let example = if name == "to" { "`[\"10.1.0.0/16:443/tcp\"]`" } else { "`[\"8080/tcp\"]`" };
    let Some(items) = cx.list(node, "a list", example) else { return Vec::new() };
    items.iter().filter_map(|item| read(cx, item)).collect()
}

fn empty_rule(cx: &mut Cx, fields: &Fields<'_>, action: Action) {
    let help = match action {
        Action::Exec | Action::Load | Action::Write | Action::Read => {
            "add `paths:`, such as `paths: [\"/usr/bin/**\"]`"
        }
        Action::Connect => "add `to:` or `unix:`, such as `to: [\"10.1.0.0/16:443/tcp\"]`",
        Action::Boundary => "write it under `boundary: allow:`",
        Action::Listen => "add `ports:`, such as `ports: [\"8080/tcp\"]`",
    };
    let span = fields.head(cx);
    cx.push(Diagnostic::new(Code::EmptyRule, span, "this rule names nothing that it could match").help(help));
}

fn text(cx: &mut Cx, fields: &Fields<'_>, name: &'static str) -> Option<Spanned<String>> {
    fields.get(name).and_then(|node| cx.text(node, "a sentence", "a sentence"))
}

/// The verdict with the keys that belong to it, and complaints about those that don't.
fn effect(cx: &mut Cx, fields: &Fields<'_>) -> Option<Spanned<Effect>> {
    let text = fields.need(cx, "verdict", &format!("`verdict:` and {}", super::choices(words::VERDICTS)));
    let text = text.and_then(|node| cx.text(node, "a verdict", &super::choices(words::VERDICTS)));
    let profile = fields.get("profile").and_then(|node| cx.name(node, "profile"));
    let rate = fields.get("rate").map(|node| scalar::rate(cx, node));
    let burst = fields.get("burst").map(|node| scalar::number(cx, node, MAX_BURST));
    let text = text?;
    let Some(verdict) = Verdict::from_name(&text) else {
        unknown_verdict(cx, &text);
        return None;
    };
    for (key, owner) in
        [("profile", Verdict::Sandbox), ("rate", Verdict::Throttle), ("burst", Verdict::Throttle)]
    {
        if let Some(span) = fields.key_span(key).filter(|_| verdict != owner) {
            useless(cx, key, span, verdict, owner);
        }
    }
    let effect = match verdict {
        Verdict::Allow => Effect::Allow,
        Verdict::Escalate => Effect::Escalate,
        Verdict::Block => Effect::Block,
        Verdict::Sandbox => {
            if fields.get("profile").is_none() {
                needs(cx, text.span, "sandbox", "profile", "`profile:` and the name of one of `profiles:`");
            }
            Effect::Sandbox { profile: profile? }
        }
        Verdict::Throttle => {
            if rate.is_none() {
                needs(cx, text.span, "throttle", "rate", "`rate: 600/1h`");
            }
            let (count, per) = rate??;
            let burst = match burst {
                None => count.min(MAX_BURST),
                Some(stated) => stated?.value,
            };
            Effect::Throttle(Budget { count, per, burst })
        }
    };
    Some(Spanned::new(effect, text.span))
}

fn needs(cx: &mut Cx, span: Span, verdict: &str, key: &str, example: &str) {
    if !cx.truncated {
        cx.push(
            Diagnostic::new(Code::VerdictNeedsKey, span, format!("`{verdict}` needs the key `{key}`"))
                .help(format!("add {example}")),
        );
    }
}

fn useless(cx: &mut Cx, key: &str, span: Span, verdict: Verdict, owner: Verdict) {
    cx.push(
        Diagnostic::new(
            Code::UselessKey,
            span,
            format!("`{key}` has no effect with `verdict: {}`", verdict.name()),
        )
        .help(format!("remove it, or write `verdict: {}`", owner.name())),
    );
}
