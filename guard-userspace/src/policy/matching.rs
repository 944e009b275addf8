//! Which rules match a request, one rule at a time, straight from the model.
//!
//! The compiled maps know only the joined answer, as the kernel does. `explain`, the names of rules in records and
//! the tests of the compiler want every rule that had a say.

use std::collections::BTreeSet;

use super::glob::Glob;
use super::model::{AddrSet, Policy, PortRange, Proto, Request, Rule, Sections, Verdict};
use super::source::Span;

/// A rule that matches a request.
#[derive(Debug, Clone, Copy)]
pub struct Matched<'a> {
    pub rule: &'a Rule,
    /// The profile it belongs to; `None`: the policy itself.
    pub profile: Option<&'a str>,
    /// Where the pattern or address that matched is written.
    pub by: Span,
}

/// Every rule that matches `request` when asked by a task that lives in `profile`, strictest first, in the order of
/// the file among equals. A profile's rules are joined with the policy's.
pub fn matching<'a>(policy: &'a Policy, profile: Option<&str>, request: &Request) -> Vec<Matched<'a>> {
    let mut found = Vec::new();
    collect(&policy.sections, None, request, &mut found);
    if let Some(profile) = profile.and_then(|name| policy.profile(name)) {
        collect(&profile.sections, Some(profile.name.as_str()), request, &mut found);
    }
    found.sort_by_key(|matched| std::cmp::Reverse(matched.rule.effect.verdict()));
    found
}

fn collect<'a>(
    sections: &'a Sections,
    profile: Option<&'a str>,
    request: &Request,
    found: &mut Vec<Matched<'a>>,
) {
    let rules = sections.get(request.action()).map_or(&[][..], |section| &section.rules);
    found.extend(rules.iter().filter_map(|rule| {
        let by = rule_matches(rule, request)?;
        Some(Matched { rule, profile, by })
    }));
}

/// Where in the rule the part is written that matches.
pub(crate) fn rule_matches(rule: &Rule, request: &Request) -> Option<Span> {
    match request {
        Request::Exec { path, argv } => {
            let by = name_matches(&rule.paths, &rule.except, path)?;
            args_match(&rule.args, argv, rule.effect.verdict()).then_some(by)
        }
        Request::Load(path) | Request::Write(path) | Request::Read(path) => {
            name_matches(&rule.paths, &rule.except, path)
        }
        Request::ConnectUnix(name) => name_matches(&rule.unix, &rule.except, name),
        Request::Connect { to, proto } => {
            let addr = to.ip().to_canonical();
            let target = rule.to.iter().find(|target| {
                let inside = match target.addr {
                    AddrSet::Any => true,
                    AddrSet::Net(net) => net.contains(addr),
                };
                inside && port_matches(&target.ports, to.port()) && proto_matches(target.proto, *proto)
            });
            target.map(|target| target.span)
        }
        Request::Listen { port, proto } => {
            let target = rule
                .ports
                .iter()
                .find(|target| port_matches(&target.ports, *port) && proto_matches(target.proto, *proto));
            target.map(|target| target.span)
        }
    }
}

fn name_matches(names: &[Glob], except: &[Glob], bytes: &[u8]) -> Option<Span> {
    let by = names.iter().find(|glob| glob.matches(bytes))?;
    let carved = except.iter().any(|glob| glob.matches(bytes));
    (!carved).then_some(by.span)
}

/// Rules that would match `request` were it not for their own `except`, with the pattern that carves it out.
pub fn carved<'a>(policy: &'a Policy, profile: Option<&str>, request: &Request) -> Vec<Matched<'a>> {
    let bytes = match request {
        Request::Exec { path, .. } => path,
        Request::Load(path) | Request::Write(path) | Request::Read(path) | Request::ConnectUnix(path) => path,
        Request::Connect { .. } | Request::Listen { .. } => return Vec::new(),
    };
    let tighter = profile.and_then(|name| policy.profile(name));
    let layers = std::iter::once((&policy.sections, None))
        .chain(tighter.map(|profile| (&profile.sections, Some(profile.name.as_str()))));
    let mut found = Vec::new();
    for (sections, profile) in layers {
        for rule in sections.get(request.action()).map_or(&[][..], |section| &section.rules) {
            let named = rule.paths.iter().chain(&rule.unix).any(|glob| glob.matches(bytes));
            if let Some(except) = rule.except.iter().find(|glob| named && glob.matches(bytes)) {
                found.push(Matched { rule, profile, by: except.span });
            }
        }
    }
    found
}

fn port_matches(ranges: &[PortRange], port: u16) -> bool {
    ranges.iter().any(|range| range.first <= port && port <= range.last)
}

fn proto_matches(rule: Proto, asked: Proto) -> bool {
    rule == Proto::Any || rule == asked
}

/// Whether the arguments behind `argv[0]` match the patterns, as a prefix of those that are not options.
///
/// An argument right behind an option without `=` may be that option's value, so a command line can be read in several
/// ways. A verdict stricter than allow takes any reading that matches, an allow only a match in every one.
pub fn args_match(patterns: &[Glob], argv: &[Vec<u8>], verdict: Verdict) -> bool {
    let strict = verdict > Verdict::Allow;
    // The readings so far: how many patterns are matched, and what the next argument is read as.
    let mut readings = BTreeSet::from([(0, Next::Any)]);
    let mut failed = false;
    for arg in argv.iter().skip(1) {
        let mut after = BTreeSet::new();
        for (matched, next) in readings {
            if matched == patterns.len() {
                after.insert((matched, next));
            } else if next == Next::Value {
                after.insert((matched, Next::Any));
            } else if next == Next::Any && arg.as_slice() == b"--" {
                after.insert((matched, Next::NoOption));
            } else if next == Next::Any && arg.starts_with(b"-") && arg.len() > 1 {
                after.insert((matched, Next::Any));
                if !arg.contains(&b'=') {
                    after.insert((matched, Next::Value));
                }
            } else if patterns[matched].matches(arg) {
                after.insert((matched + 1, next));
            } else {
                failed = true;
            }
        }
        readings = after;
    }
    let complete = readings.iter().any(|&(matched, _)| matched == patterns.len());
    let short = readings.iter().any(|&(matched, _)| matched < patterns.len());
    if strict { complete } else { complete && !failed && !short }
}

/// What a reading of a command line takes its next argument for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    /// An option if it looks like one.
    Any,
    /// The value of the option before it, whatever it looks like: `--` too.
    Value,
    /// `--` has been.
    NoOption,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(patterns: &[&str], line: &str, verdict: Verdict) -> bool {
        let globs: Vec<Glob> =
            patterns.iter().map(|text| Glob::text(text, Span::default()).unwrap()).collect();
        let argv: Vec<Vec<u8>> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        args_match(&globs, &argv, verdict)
    }

    #[test]
    fn arguments_match_as_a_prefix_of_those_that_are_no_options() {
        for verdict in [Verdict::Allow, Verdict::Block] {
            assert!(args(&["push"], "git push origin", verdict));
            assert!(args(&["push"], "git --verbose=1 push", verdict));
            assert!(args(&["push", "or*"], "git push origin", verdict));
            assert!(args(&["push"], "git -- push", verdict));
            assert!(!args(&["push"], "git pull", verdict));
            assert!(!args(&["push", "origin"], "git push", verdict));
            assert!(!args(&["push"], "git", verdict));
            assert!(args(&[], "git", verdict));
        }
    }

    #[test]
    fn an_ambiguous_line_falls_to_the_stricter_side() {
        // `push` may be the value of -C, and `pull` the command; or -v has none, and push is the command.
        assert!(args(&["push"], "git -v push pull", Verdict::Block));
        assert!(!args(&["push"], "git -v push pull", Verdict::Allow));
        // `-C /x push`: in the second reading `/x` is the command.
        assert!(args(&["push"], "git -C /x push", Verdict::Escalate));
        assert!(!args(&["push"], "git -C /x push", Verdict::Allow));
        assert!(args(&["push"], "git -c a=b -c x push", Verdict::Block));
        // `--` ends the options: what follows is the command in every reading.
        assert!(args(&["push"], "git -v -- push", Verdict::Allow));
        // Unless `--` is the value of `-c`: then `-x` is an option, and push is the command.
        assert!(args(&["push"], "git -c -- -x push", Verdict::Block));
        assert!(!args(&["-x"], "git -c -- -x push", Verdict::Allow));
    }
}
