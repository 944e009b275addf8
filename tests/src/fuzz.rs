//! What the fuzz targets do with their bytes, so that the same runs under cargo-fuzz and as an ordinary test.

use std::slice::from_ref;
use std::sync::Arc;

use guard_common::abi::{Action, Verdict};
use guard_userspace::compile::{Error, compile_alone};
use guard_userspace::control::{self, Refusal};
use guard_userspace::policy::glob::Glob;
use guard_userspace::policy::model::SECTIONS;
use guard_userspace::policy::source::Span;
use guard_userspace::policy::{parse, read};

use crate::oracle::judge::{Joined, judge};
use crate::oracle::lower;
use crate::oracle::model::{Attempt, Document, Rule, Section};

/// Bytes as a policy file: read, parsed and compiled without a panic, and never half a policy.
pub fn parser(bytes: &[u8]) {
    let Ok(source) = read::from_bytes("fuzz.yaml".as_ref(), bytes.to_vec()) else { return };
    let parsed = parse::parse(source);
    assert!(parsed.policy.is_none() || !parsed.report.has_errors(), "a policy with errors came through");
    if let Some(policy) = parsed.policy {
        let refused = compile_alone(&Arc::new(policy)).err();
        assert!(
            matches!(
                refused,
                None | Some(Error::Explosive { .. } | Error::TooMany { .. } | Error::Arena { .. })
            ),
            "the parser let through what cannot be compiled: {refused:?}"
        );
    }
}

/// Bytes as a line on the control socket: a refusal with words, or a request that is the same when it is sent again.
pub fn control(bytes: &[u8]) {
    match control::decode(bytes) {
        Err(refusal) => {
            assert!(matches!(&refusal, Refusal::Malformed(why) if !why.is_empty()), "{refusal:?}");
        }
        Ok(request) => {
            let line = control::encode(&request).unwrap_or_default();
            assert_eq!(control::decode(line.as_bytes()).ok(), Some(request), "sent again as {line}");
        }
    }
}

/// Bytes as lines that describe rules and requests: the plan must answer what the oracle answers.
///
/// A line is a word and its value: an action, `rule VERDICT`, `path GLOB`, `except GLOB`, `args GLOB`, `unix GLOB`,
/// `ask BYTES`. What is no glob, and what makes no sense, is left out. Arguments follow a path behind NULs.
pub fn matcher(bytes: &[u8]) {
    let mut action = Action::Load;
    let mut rules: Vec<Rule> = Vec::new();
    let mut asked: Vec<&[u8]> = Vec::new();
    for line in bytes.split(|&byte| byte == b'\n').take(64) {
        let (word, value) = match line.iter().position(|&byte| byte == b' ') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &[][..]),
        };
        let word = std::str::from_utf8(word).unwrap_or("");
        if let Some(named) = SECTIONS.into_iter().find(|action| action.name() == word) {
            action = named;
        } else if word == "ask" {
            asked.push(value);
        } else if let Ok(text) = std::str::from_utf8(value) {
            add(&mut rules, word, text);
        }
    }
    if action == Action::Listen {
        return;
    }
    // The parser sees to it that a rule has what fits its section.
    for rule in &mut rules {
        match action {
            Action::Connect => rule.paths.clear(),
            Action::Exec
            | Action::Load
            | Action::Listen
            | Action::Write
            | Action::Read
            | Action::Boundary => {
                rule.unix.clear();
                rule.except.retain(|text| text.starts_with('/'));
            }
        }
        if action != Action::Exec {
            rule.args.clear();
        }
    }
    let section = Section { action, default: Some(Verdict::Escalate), rules };
    let document = Document {
        name: "fuzz".into(),
        shadow: false,
        gateway: Vec::new(),
        sections: vec![section],
        profiles: Vec::new(),
    };
    let Ok(plan) = compile_alone(&lower::policy(&document)) else { return };
    for attempt in asked.into_iter().filter_map(|bytes| attempt(action, bytes)) {
        let expected = judge(from_ref(&document), &[Joined { document: &document, profile: None }], &attempt);
        let decision = plan.decide(1, &lower::question(&attempt));
        assert_eq!(decision.verdict(), expected.verdict, "{attempt:?} under {document:#?}");
        assert_eq!(decision.shadow_verdict(), expected.shadow, "{attempt:?} under {document:#?}");
    }
}

fn add(rules: &mut Vec<Rule>, word: &str, text: &str) {
    if word == "rule" {
        rules.push(Rule {
            paths: Vec::new(),
            except: Vec::new(),
            args: Vec::new(),
            unix: Vec::new(),
            to: Vec::new(),
            ports: Vec::new(),
            verdict: match Verdict::from_name(text) {
                None | Some(Verdict::Sandbox) => Verdict::Block,
                Some(verdict) => verdict,
            },
            profile: 0,
            shadow: text.is_empty(),
        });
        return;
    }
    let Some(rule) = rules.last_mut() else { return };
    // The oracle writes every combination of braces out.
    let braces = text.bytes().filter(|&byte| byte == b'{' || byte == b',').count();
    if text.len() > 200 || braces > 8 || rule.args.len() > 3 {
        return;
    }
    let (list, read): (_, fn(&str, Span) -> Result<Glob, _>) = match word {
        "path" => (&mut rule.paths, Glob::path),
        "except" => (&mut rule.except, Glob::unix),
        "args" => (&mut rule.args, Glob::text),
        "unix" => (&mut rule.unix, Glob::unix),
        _ => return,
    };
    if read(text, Span::default()).is_ok() {
        list.push(text.to_owned());
    }
}

fn attempt(action: Action, bytes: &[u8]) -> Option<Attempt> {
    let mut parts = bytes.split(|&byte| byte == 0);
    match action {
        Action::Exec => {
            let path = parts.next()?.to_vec();
            Some(Attempt::Exec { path, args: parts.map(<[u8]>::to_vec).take(12).collect() })
        }
        // A number in front would make an address of it.
        Action::Connect => (bytes.first()? > &b' ').then(|| Attempt::Unix(bytes.to_vec())),
        Action::Load | Action::Write | Action::Read => {
            (!bytes.contains(&0)).then(|| Attempt::File { action, path: bytes.to_vec() })
        }
        Action::Listen | Action::Boundary => None,
    }
}
