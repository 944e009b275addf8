//! Rules that say something and do nothing: swallowed by their own except, matching no request, or always beaten by a
//! stricter rule.

use crate::policy::diag::{Code, Diagnostic};
use crate::policy::glob::{Glob, Token};
use crate::policy::lang::{Answer, Effort, Globs, Tag};
use crate::policy::model::{AddrSet, NetTarget, Policy, PortRange, Proto, Rule, Section, Sections};
use crate::policy::parse::Cx;

/// Above this many stricter rules only those whose literal beginning fits are compared.
const COMPARE_ALL: usize = 16;
/// For all questions about one file: a tenth of a second.
const EFFORT: usize = 1_000_000;
/// At most this many stricter rules in one question.
const MAX_RIVALS: usize = 64;
/// `sun_path` is 108 bytes; an abstract name is one byte shorter than it looks here, its `@` standing for the NUL.
const MAX_UNIX: usize = 107;
const MAX_COMPONENT: usize = 255;

pub(super) fn check(policy: &Policy, cx: &mut Cx) {
    let profiles = policy.profiles.iter().map(|profile| &profile.sections);
    let effort = Effort::new(EFFORT);
    for sections in std::iter::once(&policy.sections).chain(profiles) {
        each_section(sections, &effort, cx);
    }
}

fn each_section(sections: &Sections, effort: &Effort, cx: &mut Cx) {
    for (_, section) in sections.iter() {
        for rule in &section.rules {
            if never_matches(rule, cx) || swallowed(rule, effort, cx) {
                continue;
            }
            if let Some(winner) = always_beaten(rule, section, effort) {
                let message = format!(
                    "the rule `{}` can never win: `{}` matches all of it and says {}",
                    rule.id.value,
                    winner.id.value,
                    winner.effect.verdict().name()
                );
                let diagnostic = Diagnostic::new(Code::NeverWins, rule.id.span, message)
                    .related(winner.id.span, "the stricter rule")
                    .help("remove this rule, or carve its paths out of the stricter one with `except`");
                cx.push(diagnostic);
            }
        }
    }
}

/// What cannot be seen by the pattern's form alone. True if something was reported.
fn never_matches(rule: &Rule, cx: &mut Cx) -> bool {
    let before = cx.diagnostics.len();
    for arg in &rule.args {
        if arg.text.starts_with('-') {
            cx.push(
                Diagnostic::new(
                    Code::NeverMatches,
                    arg.span,
                    "an option never matches: `args` are those that do not begin with `-`",
                )
                .help("name the argument behind the options, as in `args: [push]`"),
            );
        }
    }
    for glob in rule.paths.iter().chain(&rule.except) {
        if longest_component(&glob.tokens) > MAX_COMPONENT {
            cx.push(
                Diagnostic::new(
                    Code::NeverMatches,
                    glob.span,
                    format!("no file name is longer than {MAX_COMPONENT} bytes"),
                )
                .help("shorten the name to one that can exist"),
            );
        }
    }
    for glob in &rule.unix {
        if glob.as_literal().is_some_and(|name| name.len() > MAX_UNIX) {
            cx.push(
                Diagnostic::new(
                    Code::NeverMatches,
                    glob.span,
                    format!("no unix socket's name is longer than {MAX_UNIX} bytes"),
                )
                .help("write the name that the socket is bound to"),
            );
        }
    }
    cx.diagnostics.len() > before
}

fn longest_component(tokens: &[Token]) -> usize {
    let mut longest = 0;
    for token in tokens {
        if let Token::Literal(bytes) = token {
            longest = longest.max(bytes.split(|byte| *byte == b'/').map(<[u8]>::len).max().unwrap_or(0));
        }
    }
    longest
}

/// What `paths` and `unix` are to each other: the names the rule is about.
fn names(rule: &Rule) -> impl Iterator<Item = &Glob> {
    rule.paths.iter().chain(&rule.unix)
}

fn swallowed(rule: &Rule, effort: &Effort, cx: &mut Cx) -> bool {
    if rule.except.is_empty() || !rule.to.is_empty() {
        return false;
    }
    let mut globs = Globs::default();
    names(rule).for_each(|glob| globs.add(0, glob));
    globs.add_all(1, &rule.except);
    let left = globs.find(effort, |tags| tags.contains(&0), |tags| tags.contains(&0) && !tags.contains(&1));
    if left != Answer::None {
        return false;
    }
    let span = rule.except[0].span;
    cx.push(
        Diagnostic::new(
            Code::ExceptSwallowsRule,
            span,
            format!("this except leaves nothing of the rule `{}`", rule.id.value),
        )
        .related(rule.id.span, "the rule")
        .help("make the except narrower than the rule's own paths, or remove the rule"),
    );
    true
}

/// The stricter rule that matches whatever this one matches. With several that only do so together, the first.
fn always_beaten<'a>(rule: &Rule, section: &'a Section, effort: &Effort) -> Option<&'a Rule> {
    let stricter: Vec<&Rule> = section
        .rules
        .iter()
        .filter(|other| {
            other.effect.verdict() > rule.effect.verdict() && !other.shadow && other.args.is_empty()
        })
        .collect();
    if stricter.is_empty() {
        return None;
    }
    let by_net = net_beaten(rule, &stricter);
    let by_name = name_beaten(rule, &stricter, effort);
    let has_net = !rule.to.is_empty() || !rule.ports.is_empty();
    let has_name = names(rule).next().is_some();
    match (has_net, has_name) {
        (true, false) => by_net,
        (false, true) => by_name,
        (true, true) => by_net.filter(|_| by_name.is_some()),
        (false, false) => None,
    }
}

fn name_beaten<'a>(rule: &Rule, stricter: &[&'a Rule], effort: &Effort) -> Option<&'a Rule> {
    if effort.is_spent() {
        return None;
    }
    let rivals: Vec<&Rule> = if stricter.len() <= COMPARE_ALL {
        stricter.to_vec()
    } else {
        let could =
            |rival: &&&Rule| names(rival).any(|wide| names(rule).any(|narrow| begins_with(narrow, wide)));
        stricter.iter().filter(could).take(MAX_RIVALS).copied().collect()
    };
    if rivals.is_empty() {
        return None;
    }
    let mut globs = Globs::default();
    names(rule).for_each(|glob| globs.add(0, glob));
    globs.add_all(1, &rule.except);
    for (index, rival) in rivals.iter().enumerate() {
        let tag = rival_tag(index);
        names(rival).for_each(|glob| globs.add(tag, glob));
        globs.add_all(tag + 1, &rival.except);
    }
    let beaten = |tags: &[Tag], index| {
        let tag = rival_tag(index);
        tags.contains(&tag) && !tags.contains(&(tag + 1))
    };
    let mut first = None;
    let escape = globs.find(
        effort,
        |tags| tags.contains(&0),
        |tags| {
            if !tags.contains(&0) || tags.contains(&1) {
                return false;
            }
            let winner = (0..rivals.len()).find(|index| beaten(tags, *index));
            first = first.or(winner);
            winner.is_none()
        },
    );
    match (escape, first) {
        (Answer::None, Some(index)) => {
            stricter.iter().find(|rule| std::ptr::eq(**rule, rivals[index])).copied()
        }
        _ => None,
    }
}

fn rival_tag(index: usize) -> Tag {
    Tag::try_from(2 + 2 * index).unwrap_or(Tag::MAX - 1)
}

/// Whether what `wide` begins with is also what `narrow` begins with; nothing else could match all of it.
fn begins_with(narrow: &Glob, wide: &Glob) -> bool {
    literal(narrow).starts_with(literal(wide))
}

fn literal(glob: &Glob) -> &[u8] {
    match glob.tokens.first() {
        Some(Token::Literal(bytes)) => bytes,
        _ => &[],
    }
}

/// Each target of the rule inside one target of one stricter rule.
fn net_beaten<'a>(rule: &Rule, stricter: &[&'a Rule]) -> Option<&'a Rule> {
    let mut winner = None;
    for target in &rule.to {
        let found = stricter.iter().find(|rival| rival.to.iter().any(|wide| contains(wide, target)))?;
        winner = winner.or(Some(*found));
    }
    for target in &rule.ports {
        let inside = |rival: &&&Rule| {
            rival
                .ports
                .iter()
                .any(|wide| ports_in(&wide.ports, &target.ports) && proto_in(wide.proto, target.proto))
        };
        winner = winner.or(Some(*stricter.iter().find(inside)?));
    }
    winner
}

fn contains(wide: &NetTarget, narrow: &NetTarget) -> bool {
    let addr = match (wide.addr, narrow.addr) {
        (AddrSet::Any, _) => true,
        (AddrSet::Net(_), AddrSet::Any) => false,
        (AddrSet::Net(wide), AddrSet::Net(narrow)) => wide.contains_net(narrow),
    };
    addr && ports_in(&wide.ports, &narrow.ports) && proto_in(wide.proto, narrow.proto)
}

fn ports_in(wide: &[PortRange], narrow: &[PortRange]) -> bool {
    narrow.iter().all(|range| wide.iter().any(|wide| wide.first <= range.first && range.last <= wide.last))
}

fn proto_in(wide: Proto, narrow: Proto) -> bool {
    wide == Proto::Any || wide == narrow
}
