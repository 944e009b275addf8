//! A mapping with known keys.

use super::{Cx, choices, did_you_mean, shown};
use crate::policy::diag::{Code, Diagnostic, nearest};
use crate::policy::source::Span;
use crate::policy::words::{self, Object};
use crate::policy::yaml::{Data, Node};

/// The values of a mapping by key. Unknown and repeated keys are reported when it is made.
#[derive(Debug)]
pub(super) struct Fields<'n> {
    pub(super) span: Span,
    object: &'static Object,
    found: Vec<(&'static str, Span, &'n Node)>,
}

impl<'n> Fields<'n> {
    pub(super) fn new(cx: &mut Cx, node: &'n Node, object: &'static Object) -> Option<Self> {
        let Data::Map(entries) = &node.data else {
            cx.wrong_type(node, &format!("{} as a mapping", object.name), example(object));
            return None;
        };
        let mut found: Vec<(&'static str, Span, &Node)> = Vec::new();
        for (name, value) in entries {
            let Some(key) = object.key(name) else {
                let message = format!("{} has no key `{}`", object.name, shown(name));
                cx.push(
                    Diagnostic::new(Code::UnknownKey, name.span, message)
                        .help(unknown_key_help(name, object)),
                );
                continue;
            };
            match found.iter().find(|(known, ..)| *known == key.name) {
                Some((_, first, _)) => cx.push(
                    Diagnostic::new(
                        Code::DuplicateKey,
                        name.span,
                        format!("the key `{}` is here twice", key.name),
                    )
                    .related(*first, "first written here")
                    .help("keep one; with two, a reader and a parser may each take another"),
                ),
                None => found.push((key.name, name.span, value)),
            }
        }
        Some(Self { span: node.span, object, found })
    }

    pub(super) fn get(&self, name: &str) -> Option<&'n Node> {
        debug_assert!(self.object.key(name).is_some(), "{name} is not in the table of {}", self.object.name);
        self.found.iter().find(|(known, ..)| *known == name).map(|(.., value)| *value)
    }

    pub(super) fn key_span(&self, name: &str) -> Option<Span> {
        self.found.iter().find(|(known, ..)| *known == name).map(|(_, span, _)| *span)
    }

    /// The value, or a report that it is missing.
    pub(super) fn need(&self, cx: &mut Cx, name: &'static str, example: &str) -> Option<&'n Node> {
        let value = self.get(name);
        if value.is_none() && !cx.truncated {
            let message = format!("{} needs the key `{name}`", self.object.name);
            cx.push(Diagnostic::new(Code::MissingKey, self.head(cx), message).help(format!("add {example}")));
        }
        value
    }

    /// A short place that stands for the whole mapping.
    pub(super) fn head(&self, cx: &Cx) -> Span {
        match self.found.first() {
            Some((_, span, value)) if value.span.line == span.line && value.span.end > span.start => {
                Span { end: first_line_end(cx, *span, value.span.end), ..*span }
            }
            Some((_, span, _)) => *span,
            None => self.span,
        }
    }
}

/// `end`, or the end of the span's first line if that comes sooner.
fn first_line_end(cx: &Cx, span: Span, end: u32) -> u32 {
    let text = cx.source.slice(Span { end, ..span });
    let line = text.split('\n').next().unwrap_or("").trim_end();
    span.start + u32::try_from(line.len()).unwrap_or(0)
}

fn example(object: &Object) -> String {
    let keys: Vec<&str> = object.names().take(4).collect();
    format!("write its keys below it, such as {}", choices(&keys))
}

fn unknown_key_help(name: &str, object: &Object) -> String {
    let names: Vec<&str> = object.names().collect();
    if let Some(near) = nearest(name, names.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    let elsewhere = match name {
        "args" => Some("only a rule of exec has `args`"),
        "to" | "unix" => Some("only a rule of connect has `to` and `unix`"),
        "ports" => Some(
            "only a rule of listen has `ports`; in a rule of connect the port is part of `to`, as in `10.0.0.0/8:443/tcp`",
        ),
        "paths" => Some("a rule of connect has `to` and `unix`, a rule of listen has `ports`"),
        "name" if object.key("policy").is_some() => Some("write `policy:` and the name"),
        "name" if object.key("id").is_some() => Some("write `id:` and the name"),
        "<<" => Some("there are no merge keys; write the keys out"),
        _ if words::VERDICTS.contains(&name) => Some("write `verdict:` and this word"),
        _ if words::POLICY.key(name).is_some() => Some("this key belongs to the top level of the policy"),
        _ => None,
    };
    elsewhere.map_or_else(|| did_you_mean(name, &names, &choices(&names)), str::to_owned)
}
