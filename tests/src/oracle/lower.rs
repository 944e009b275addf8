//! The oracle's policies and attempts in guard's own types.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use guard_common::abi::{Action, Mode, Verdict};
use guard_common::key;
use guard_userspace::compile::explain::Question;
use guard_userspace::policy::glob::Glob;
use guard_userspace::policy::model::{
    self, AddrSet, Budget, Cidr, Effect, NetTarget, Policy, PortRange, PortTarget, Proto,
};
use guard_userspace::policy::parse;
use guard_userspace::policy::source::{Source, Span, Spanned};

use super::model::{Attempt, Document, Rule, Section, Target};

/// A document to start from: whatever the oracle does not speak of is as the parser leaves it.
const FRAME: &str = "version: 1\npolicy: frame\napplies_to: [{cgroup: \"/x/**\"}]\nexec: {default: block}\n\
                     connect: {default: block}\nwrite: {default: block}\n";

pub fn policy(document: &Document) -> Arc<Policy> {
    let parsed = parse::parse(Arc::new(Source::new("frame.yaml", FRAME)));
    let mut policy = parsed.policy.expect("the frame is a policy");
    policy.name = here(document.name.clone());
    policy.mode = if document.shadow { Mode::Shadow } else { Mode::Enforce };
    policy.gateway = document.gateway.iter().map(|&(ip, port)| here(SocketAddr::new(ip, port))).collect();
    policy.sections = sections(&document.sections);
    policy.profiles = document
        .profiles
        .iter()
        .map(|profile| model::Profile {
            name: here(profile.name.clone()),
            span: Span::default(),
            inherit: profile.inherit,
            gateway: profile
                .gateway
                .as_ref()
                .map(|all| all.iter().map(|&(ip, port)| here(SocketAddr::new(ip, port))).collect()),
            sections: sections(&profile.sections),
        })
        .collect();
    Arc::new(policy)
}

fn here<T>(value: T) -> Spanned<T> {
    Spanned::new(value, Span::default())
}

fn sections(all: &[Section]) -> model::Sections {
    let mut sections = model::Sections::default();
    for section in all {
        let default = section.default.map(|verdict| here(effect(verdict, 0)));
        let rules = section.rules.iter().enumerate().map(|(index, rule)| self::rule(rule, index)).collect();
        sections.set(section.action, Some(model::Section { span: Span::default(), default, rules }));
    }
    sections
}

fn effect(verdict: Verdict, profile: usize) -> Effect {
    match verdict {
        Verdict::Allow => Effect::Allow,
        Verdict::Throttle => Effect::Throttle(Budget { count: 6, per: Duration::from_secs(3600), burst: 2 }),
        Verdict::Sandbox => Effect::Sandbox { profile: here(format!("profile-{profile}")) },
        Verdict::Escalate => Effect::Escalate,
        Verdict::Block => Effect::Block,
    }
}

fn rule(rule: &Rule, index: usize) -> model::Rule {
    let span = Span::default();
    let globs = |texts: &[String], read: fn(&str, Span) -> Result<Glob, _>| -> Vec<Glob> {
        texts
            .iter()
            .map(|text| read(text, span).unwrap_or_else(|error| panic!("{text:?}: {error:?}")))
            .collect()
    };
    model::Rule {
        id: here(format!("rule-{index}")),
        span,
        paths: globs(&rule.paths, Glob::path),
        except: globs(&rule.except, Glob::unix),
        args: globs(&rule.args, Glob::text),
        to: rule.to.iter().map(net_target).collect(),
        unix: globs(&rule.unix, Glob::unix),
        ports: rule
            .ports
            .iter()
            .map(|target| PortTarget {
                span,
                text: String::new(),
                ports: ports(target),
                proto: proto(target),
            })
            .collect(),
        effect: here(effect(rule.verdict, rule.profile)),
        reason: None,
        remedy: None,
        shadow: rule.shadow,
    }
}

fn net_target(target: &Target) -> NetTarget {
    NetTarget {
        span: Span::default(),
        text: String::new(),
        addr: target.net.map_or(AddrSet::Any, |(addr, prefix)| AddrSet::Net(Cidr { addr, prefix })),
        ports: ports(target),
        proto: proto(target),
    }
}

fn ports(target: &Target) -> Vec<PortRange> {
    target.ports.iter().map(|&(first, last)| PortRange { first, last }).collect()
}

fn proto(target: &Target) -> Proto {
    match target.proto {
        Some(6) => Proto::Tcp,
        Some(17) => Proto::Udp,
        Some(other) => panic!("policies cannot name protocol {other}"),
        None => Proto::Any,
    }
}

/// The attempt as the kernel asks it.
pub fn question(attempt: &Attempt) -> Question {
    let (action, bytes, args) = match attempt {
        Attempt::Exec { path, args } => (Action::Exec, path.clone(), Some(args.clone())),
        Attempt::File { action, path } => (*action, path.clone(), None),
        Attempt::Unix(name) => (Action::Connect, name.clone(), None),
        Attempt::Net { action, address, port, proto } => {
            let bytes = match address {
                std::net::IpAddr::V4(ip) => key::v4(ip.octets(), *proto, *port).to_vec(),
                std::net::IpAddr::V6(ip) => match key::mapped(ip.octets()) {
                    Some(ip) => key::v4(ip, *proto, *port).to_vec(),
                    None => key::v6(ip.octets(), *proto, *port).to_vec(),
                },
            };
            (*action, bytes, None)
        }
    };
    Question { action, bytes, args }
}
