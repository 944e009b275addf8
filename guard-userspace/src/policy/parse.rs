//! The tree of a document → [`Policy`], with everything that is wrong said in one run.
//!
//! Each part that cannot be understood is reported and left out, and the rest is read on. Checks that need
//! the whole document (names that must exist, rules that must be able to win) follow in [`check`](super::check), over what
//! could be understood.

mod document;
mod fields;
mod net;
mod rule;
mod scalar;
mod section;
mod tests_list;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::diag::{Code, Diagnostic, Report, nearest};
use super::glob::{Glob, GlobError};
use super::model::Policy;
use super::source::{Source, Span, Spanned};
use super::yaml::{self, Data, Node};
use super::{check, read};

pub use tests_list::from_words as request;

/// No more than this many findings about one file are shown; the rest is counted.
const MAX_DIAGNOSTICS: usize = 100;
/// No more than this many are remembered, however many mistakes a file of 2 MiB may hold.
pub(super) const MAX_COLLECTED: usize = 1_000;

#[derive(Debug)]
pub struct Parsed {
    /// Only if there is no error: half a policy would be enforced as a hole.
    pub policy: Option<Policy>,
    pub report: Report,
}

/// Reads and parses one file.
pub fn load(path: &Path) -> Parsed {
    match read::read(path) {
        Ok(source) => parse(source),
        Err(report) => Parsed { policy: None, report },
    }
}

/// Parses one document. Pure.
pub fn parse(source: Arc<Source>) -> Parsed {
    let tree = yaml::read(&source.text);
    let yaml_problems = tree.problems.len();
    let broke_off = tree.problems.last().filter(|_| tree.truncated).map(|problem| problem.span.line);
    let mut cx = Cx {
        source: Arc::clone(&source),
        diagnostics: tree.problems,
        truncated: tree.truncated,
        ids: BTreeMap::new(),
        profiles: BTreeSet::new(),
    };
    let policy = document::policy(&mut cx, tree.root.as_ref());
    if let Some(policy) = &policy {
        check::whole(policy, &mut cx);
    }
    // What stands on the line that broke off is half there; nothing true can be said about it.
    if let Some(line) = broke_off {
        let own = cx.diagnostics.split_off(yaml_problems);
        cx.diagnostics.extend(own.into_iter().filter(|found| found.span.line < line));
    }
    let mut report = Report { source, diagnostics: cx.diagnostics };
    report.sort();
    let policy = policy.filter(|_| !report.has_errors());
    truncate(&mut report);
    Parsed { policy, report }
}

fn truncate(report: &mut Report) {
    let more = report.diagnostics.len().saturating_sub(MAX_DIAGNOSTICS);
    if let Some(last) = report.diagnostics.get_mut(MAX_DIAGNOSTICS.wrapping_sub(1)).filter(|_| more > 0) {
        last.help = format!("{} ({more} more findings follow this one; mend these first)", last.help);
        report.diagnostics.truncate(MAX_DIAGNOSTICS);
    }
}

/// What the readers of parts share.
#[derive(Debug)]
pub(super) struct Cx {
    pub(super) source: Arc<Source>,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// The document broke off, so nothing may be called missing.
    pub(super) truncated: bool,
    /// Every rule id seen, those of rules that could not be understood included.
    pub(super) ids: BTreeMap<String, Span>,
    /// Every profile name seen, likewise.
    pub(super) profiles: BTreeSet<String>,
}

impl Cx {
    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        if self.diagnostics.len() < MAX_COLLECTED {
            self.diagnostics.push(diagnostic);
        }
    }

    pub(super) fn has(&self, code: Code) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.code == code)
    }

    fn wrong_type(&mut self, node: &Node, wanted: &str, help: impl Into<String>) {
        let message = format!("expected {wanted}, found {}", node.kind());
        self.push(Diagnostic::new(Code::WrongType, node.span, message).help(help));
    }

    /// Any single value as text.
    fn text(&mut self, node: &Node, wanted: &str, example: &str) -> Option<Spanned<String>> {
        match &node.data {
            Data::Scalar { text, .. } if !node.is_null() => Some(Spanned::new(text.clone(), node.span)),
            Data::Scalar { .. } | Data::List(_) | Data::Map(_) => {
                self.wrong_type(node, wanted, format!("write {example}"));
                None
            }
        }
    }

    fn list<'n>(&mut self, node: &'n Node, wanted: &str, example: &str) -> Option<&'n [Node]> {
        match &node.data {
            Data::List(items) => Some(items),
            Data::Scalar { text, .. } if !node.is_null() => {
                self.wrong_type(node, wanted, format!("write `[{}]`", shown(text)));
                None
            }
            Data::Scalar { .. } | Data::Map(_) => {
                self.wrong_type(node, wanted, format!("write {example}"));
                None
            }
        }
    }

    fn bool(&mut self, node: &Node) -> Option<bool> {
        match &node.data {
            Data::Scalar { text, plain: true } if text == "true" => Some(true),
            Data::Scalar { text, plain: true } if text == "false" => Some(false),
            Data::Scalar { .. } | Data::List(_) | Data::Map(_) => {
                self.wrong_type(node, "`true` or `false`", "write `true` or `false`, without quotes");
                None
            }
        }
    }

    /// One of some words, by its index.
    fn word(&mut self, node: &Node, what: &str, words: &[&str]) -> Option<usize> {
        let choices = choices(words);
        let text = self.text(node, what, &choices)?;
        let found = words.iter().position(|word| *word == text.value);
        if found.is_none() {
            let message = format!("unknown {what} `{}`", shown(&text));
            self.push(
                Diagnostic::new(Code::UnknownWord, text.span, message)
                    .help(did_you_mean(&text, words, &choices)),
            );
        }
        found
    }

    /// A name that can stand in logs, commands and file names as it is.
    fn name(&mut self, node: &Node, what: &str) -> Option<Spanned<String>> {
        let text = self.text(node, &format!("a name for the {what}"), "a word such as `coding-agent`")?;
        self.check_name(&text, what).then_some(text)
    }

    fn check_name(&mut self, text: &Spanned<String>, what: &str) -> bool {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        let outer = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let good = text.len() <= 64
            && text.chars().all(inner)
            && text.starts_with(outer)
            && text.ends_with(outer)
            && text.value != "default";
        if !good {
            let message = if text.value == "default" {
                format!("`default` cannot name a {what}: it stands for the section's default")
            } else {
                format!("`{}` cannot name a {what}", shown(text))
            };
            let help = match proposed_name(text) {
                Some(name) => format!("write `{name}`"),
                None => "write lower-case letters, digits, `-`, `_` and `.`, at most 64 of them".to_owned(),
            };
            self.push(Diagnostic::new(Code::BadName, text.span, message).help(help));
        }
        good
    }

    /// Globs of a list, each on its own.
    fn globs(
        &mut self,
        node: Option<&Node>,
        example: &str,
        make: fn(&str, Span) -> Result<Glob, GlobError>,
    ) -> Vec<Glob> {
        let Some(node) = node else { return Vec::new() };
        let Some(items) = self.list(node, "a list of patterns", example) else { return Vec::new() };
        items.iter().filter_map(|item| self.glob(item, make)).collect()
    }

    fn glob(&mut self, node: &Node, make: fn(&str, Span) -> Result<Glob, GlobError>) -> Option<Glob> {
        let text = self.text(node, "a pattern", "a pattern such as `/workspace/**`")?;
        match make(&text, text.span) {
            Ok(glob) => Some(glob),
            Err(error) => {
                let span = self.inside(node, &text, error.at.clone());
                let message = format!("bad pattern: {}", error.kind);
                self.push(Diagnostic::new(Code::BadGlob, span, message).help(error.kind.help()));
                None
            }
        }
    }

    /// The place of some bytes of a value's text, as long as the file spells it without escapes.
    fn inside(&self, node: &Node, text: &str, at: std::ops::Range<usize>) -> Span {
        let written = self.source.slice(node.span);
        let Some(lead) = written.find(text).filter(|lead| *lead <= 1 && !text.contains('\n')) else {
            return node.span;
        };
        let before = text.get(..at.start).map_or(0, |before| before.chars().count());
        let offset = |n: usize| u32::try_from(n).unwrap_or(0);
        Span {
            start: node.span.start + offset(lead + at.start),
            end: node.span.start + offset(lead + at.end),
            line: node.span.line,
            column: node.span.column + offset(lead + before),
        }
    }
}

/// Text of the file inside a message: not too long, whatever it is.
pub(super) fn shown(text: &str) -> String {
    if text.chars().count() <= 60 {
        text.to_owned()
    } else {
        format!("{}…", text.chars().take(59).collect::<String>())
    }
}

pub(super) fn choices(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => format!("`{only}`"),
        [head @ .., last] => {
            format!(
                "{} or `{last}`",
                head.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
            )
        }
    }
}

pub(super) fn did_you_mean(word: &str, words: &[&str], choices: &str) -> String {
    match nearest(word, words.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if choices.is_empty() => "there are none to choose from".to_owned(),
        None => format!("write {choices}"),
    }
}

fn proposed_name(text: &str) -> Option<String> {
    let mapped: String = text
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
        .take(64)
        .collect();
    let name = mapped.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    (!name.is_empty() && name != "default").then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<String> {
        let report = parse(Arc::new(Source::new("t.yaml", text))).report;
        report.diagnostics.iter().map(|found| format!("{} {}", found.code.id(), found.message)).collect()
    }

    #[test]
    fn the_documented_example_is_a_policy() {
        let text = include_str!("../../../policies/examples/coding-agent.yaml");
        let parsed = parse(Arc::new(Source::new("coding-agent.yaml", text)));
        assert_eq!(parsed.report.diagnostics, []);
        let policy = parsed.policy.unwrap();
        assert_eq!(policy.profiles.len(), 2);
        assert_eq!(policy.sections.iter().map(|(_, section)| section.rules.len()).sum::<usize>(), 12);
        let push = &policy.sections.exec.as_ref().unwrap().rules[1];
        assert_eq!(policy.source.slice(push.id.span), "push-needs-human");
        assert_eq!(policy.source.line(push.id.span.line).trim(), "- id: push-needs-human");
    }

    #[test]
    fn mistakes_are_all_told_in_one_run() {
        let found = messages(
            "version: 2\npolicy: X\napplies_to: []\nexec: {default: deny}\nconnect: {rules: [{id: a, to: [b]}]}\n",
        );
        let codes: Vec<&str> = found.iter().map(|message| &message[..4]).collect();
        for code in ["P014", "P015", "P035", "P018", "P019", "P023", "P013"] {
            assert!(codes.contains(&code), "{code} is not in {found:#?}");
        }
        assert_eq!(codes.iter().filter(|code| **code == "P019").count(), 2, "{found:#?}");
    }

    #[test]
    fn nothing_is_called_missing_behind_a_syntax_error() {
        assert_eq!(messages("version: 1\npolicy: [x").len(), 1);
        assert_eq!(messages("version: 1\nmode: enforced\nexec: }").len(), 2);
    }
}
