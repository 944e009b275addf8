//! The rule sections, of a policy and of a profile.

use super::fields::Fields;
use super::{Cx, rule, shown};
use crate::policy::diag::{Code, Diagnostic, nearest};
use crate::policy::model::{Action, Effect, SECTIONS, Section, Sections, needs_default};
use crate::policy::source::{Span, Spanned};
use crate::policy::words::{self, Object, Shape};
use crate::policy::yaml::{Data, Node};

/// All sections of a document or profile. `defaults_for`: whose defaults must be stated, and where to say so.
pub(super) fn sections(cx: &mut Cx, fields: &Fields<'_>, must_state: Option<(&str, Span)>) -> Sections {
    let mut sections = Sections::default();
    for action in SECTIONS {
        let node = fields.get(action.name());
        sections.set(action, node.and_then(|node| section(cx, node, action)));
        if let Some((whose, span)) = must_state.filter(|_| needs_default(action) && !cx.truncated) {
            missing_default(cx, action, node, fields, whose, span);
        }
    }
    sections
}

fn missing_default(
    cx: &mut Cx,
    action: Action,
    node: Option<&Node>,
    fields: &Fields<'_>,
    whose: &str,
    span: Span,
) {
    let name = action.name();
    let diagnostic = match node.map(|node| &node.data) {
        None => {
            Diagnostic::new(Code::MissingDefault, span, format!("{whose} does not say what `{name}` does"))
                .help(format!("add `{name}: {{ default: block }}`"))
        }
        Some(Data::Map(entries)) => {
            // A misspelt key has been reported as unknown, with what was meant.
            if entries.iter().any(|(key, _)| nearest(key, ["default"]).is_some()) {
                return;
            }
            let message = format!("`{name}` has no default, and there is no silent one");
            Diagnostic::new(Code::MissingDefault, fields.key_span(name).unwrap_or(span), message)
                .help("add `default: block`, so that what no rule names is blocked")
        }
        Some(Data::Scalar { .. } | Data::List(_)) => return,
    };
    cx.push(diagnostic);
}

fn object(action: Action) -> (&'static Object, &'static Object) {
    let section = match action {
        Action::Exec => &words::EXEC,
        Action::Load => &words::LOAD,
        Action::Connect => &words::CONNECT,
        Action::Listen => &words::LISTEN,
        Action::Write => &words::WRITE,
        Action::Read | Action::Boundary => &words::READ,
    };
    let rule = match section.key("rules").map(|key| key.shape) {
        Some(Shape::List(Shape::Object(rule))) => rule,
        _ => section,
    };
    (section, rule)
}

fn section(cx: &mut Cx, node: &Node, action: Action) -> Option<Section> {
    let (section, rule_object) = object(action);
    let fields = Fields::new(cx, node, section)?;
    let default = fields.get("default").and_then(|node| default(cx, node));
    let mut rules = Vec::new();
    if let Some(items) =
        fields.get("rules").and_then(|node| cx.list(node, "a list of rules", "each rule behind a `-`"))
    {
        rules.extend(items.iter().filter_map(|item| rule::rule(cx, item, action, rule_object)));
    }
    Some(Section { span: node.span, default, rules })
}

fn default(cx: &mut Cx, node: &Node) -> Option<Spanned<Effect>> {
    let text = cx.text(node, "a default", "`block`, `escalate` or `allow`")?;
    let effect = match text.as_str() {
        "allow" => Effect::Allow,
        "escalate" => Effect::Escalate,
        "block" => Effect::Block,
        "throttle" | "sandbox" => {
            let message = format!("a default cannot be `{}`: it needs a rule to be named by", text.value);
            cx.push(Diagnostic::new(Code::BadDefault, text.span, message).help(
                "write `default: block` and a rule that matches everything, such as `paths: [\"/**\"]`",
            ));
            return None;
        }
        _ => {
            unknown_verdict(cx, &text);
            return None;
        }
    };
    Some(Spanned::new(effect, text.span))
}

pub(super) fn unknown_verdict(cx: &mut Cx, text: &Spanned<String>) {
    let meant = match text.as_str() {
        "deny" | "reject" | "drop" | "forbid" | "kill" | "refuse" => Some("block"),
        "permit" | "accept" | "pass" | "ok" => Some("allow"),
        "ask" | "approve" | "prompt" | "hold" => Some("escalate"),
        "limit" | "ratelimit" | "rate-limit" => Some("throttle"),
        "jail" | "confine" | "isolate" => Some("sandbox"),
        other => nearest(other, words::VERDICTS.iter().copied()),
    };
    let help = match meant {
        Some(word) => format!("write `{word}`"),
        None => format!("write {}", super::choices(words::VERDICTS)),
    };
    let message = format!("unknown verdict `{}`", shown(text));
    cx.push(Diagnostic::new(Code::UnknownVerdict, text.span, message).help(help));
}
