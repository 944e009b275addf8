//! `tests:`, the policy's own examples.

use super::fields::Fields;
use super::section::unknown_verdict;
use super::{Cx, choices, net};
use crate::policy::diag::{Code, Diagnostic};
use crate::policy::model::{Action, Request, SECTIONS, Test, Verdict};
use crate::policy::source::{Span, Spanned};
use crate::policy::words;
use crate::policy::yaml::Node;

pub(super) fn tests(cx: &mut Cx, node: Option<&Node>) -> Vec<Test> {
    let Some(items) = node.and_then(|node| cx.list(node, "a list of tests", "each test behind a `-`")) else {
        return Vec::new();
    };
    let mut names: std::collections::BTreeMap<String, Span> = std::collections::BTreeMap::new();
    let mut tests = Vec::new();
    for item in items {
        let Some(test) = test(cx, item) else { continue };
        if let Some(first) = names.insert(test.name.value.clone(), test.name.span) {
            cx.push(
                Diagnostic::new(Code::DuplicateName, test.name.span, "two tests have this name")
                    .related(first, "the first is here")
                    .help("give one of them another name, so that a failure says which"),
            );
        }
        tests.push(test);
    }
    tests
}

fn test(cx: &mut Cx, node: &Node) -> Option<Test> {
    let fields = Fields::new(cx, node, &words::TEST)?;
    let name = fields.need(cx, "name", "`name:` and a sentence that the test proves");
    let name = name.and_then(|node| cx.text(node, "a name", "a sentence"));
    let request = request(cx, &fields);
    let expect = fields.need(cx, "expect", "`expect:` and the verdict").and_then(|node| expect(cx, node));
    let rule =
        fields.get("rule").and_then(|node| cx.text(node, "a rule's id", "the id of a rule, or `default`"));
    let profile = fields.get("profile").and_then(|node| cx.name(node, "profile"));
    Some(Test { name: name?, span: node.span, request: request?, expect: expect?, rule, profile })
}

fn expect(cx: &mut Cx, node: &Node) -> Option<Spanned<Verdict>> {
    let text = cx.text(node, "a verdict", &choices(words::VERDICTS))?;
    let verdict = Verdict::from_name(&text);
    if verdict.is_none() {
        unknown_verdict(cx, &text);
    }
    Some(Spanned::new(verdict?, text.span))
}

fn request(cx: &mut Cx, fields: &Fields<'_>) -> Option<Spanned<Request>> {
    let asked: Vec<Action> =
        SECTIONS.into_iter().filter(|action| fields.get(action.name()).is_some()).collect();
    let [action] = asked.as_slice() else {
        if !cx.truncated {
            let message = if asked.is_empty() {
                "this test asks nothing"
            } else {
                "this test asks more than one thing"
            };
            cx.push(
                Diagnostic::new(Code::BadTest, fields.head(cx), message)
                    .help("write one of `exec`, `load`, `connect`, `listen`, `write` or `read`"),
            );
        }
        return None;
    };
    let node = fields.get(action.name())?;
    let request = if *action == Action::Exec {
        let items = cx.list(node, "a program and its arguments", "`[/usr/bin/git, push, origin]`")?;
        let words: Option<Vec<_>> = items
            .iter()
            .map(|item| cx.text(item, "an argument", "text, in quotes if it looks like something else"))
            .collect();
        let words: Vec<String> = words?.into_iter().map(|word| word.value).collect();
        from_words(*action, &words)
    } else {
        let text = cx.text(node, "one value", "a path or an address")?;
        from_words(*action, &[text.value])
    };
    match request {
        Ok(request) => Some(Spanned::new(request, node.span)),
        Err(help) => {
            let message = format!("`{}` cannot be asked about this", action.name());
            cx.push(Diagnostic::new(Code::BadTest, node.span, message).help(help));
            None
        }
    }
}

/// A request from its words, as `tests:` and the command line write it. The error says what to write.
pub fn from_words(action: Action, words: &[String]) -> Result<Request, String> {
    let [first, rest @ ..] = words else {
        return Err("write the program's path, as in `[/usr/bin/git, push]`".to_owned());
    };
    if action == Action::Exec {
        let path = path(first)?;
        let argv = std::iter::once(first).chain(rest).map(|word| word.clone().into_bytes()).collect();
        return Ok(Request::Exec { path, argv });
    }
    match action {
        Action::Connect if first.starts_with('/') => path(first).map(Request::ConnectUnix),
        Action::Connect if first.starts_with('@') => Ok(Request::ConnectUnix(first.clone().into_bytes())),
        Action::Connect => net::parse_peer(first).map(|(to, proto)| Request::Connect { to, proto }),
        Action::Listen => net::parse_port(first).map(|(port, proto)| Request::Listen { port, proto }),
        Action::Load => path(first).map(Request::Load),
        Action::Write => path(first).map(Request::Write),
        Action::Exec | Action::Read | Action::Boundary => path(first).map(Request::Read),
    }
}

/// A path as the kernel would hand it over.
fn path(text: &str) -> Result<Vec<u8>, String> {
    if !text.starts_with('/') {
        return Err("write the whole path, from `/`".to_owned());
    }
    let odd = |part: &str| part.is_empty() || part == "." || part == "..";
    if text.len() > 1 && text.split('/').skip(1).any(odd) {
        return Err(format!("write the resolved path `{}`: the kernel asks about no other", resolved(text)));
    }
    Ok(text.as_bytes().to_vec())
}

fn resolved(text: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}
