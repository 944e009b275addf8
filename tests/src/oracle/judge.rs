//! What is answered: all matching rules are joined and the strictest verdict wins; among equals the rule that is
//! written first, among policies the one that comes first by name.

use std::net::IpAddr;

use guard_common::abi::{Action, Verdict};
use guard_userspace::compile::baseline;

use super::model::{Attempt, Document, Rule, Section, Target};
use super::{args, glob};

const TCP: u8 = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    pub verdict: Verdict,
    pub by: By,
    /// What shadow rules and policies would have done, if that is stricter.
    pub shadow: Option<Verdict>,
}

/// Who decided: `unit` is a position in what is joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Rule { unit: usize, rule: usize },
    Default { unit: usize },
    Gateway { unit: usize },
    Baseline,
    Why,
    Nobody,
}

/// A policy, or one of its profiles, that takes part.
#[derive(Debug, Clone, Copy)]
pub struct Joined<'a> {
    pub document: &'a Document,
    pub profile: Option<usize>,
}

/// What the joined ones answer. `loaded` is all that is loaded beside them: whose gateway it is makes no difference to whoever
/// would pose as one.
pub fn judge(loaded: &[Document], joined: &[Joined<'_>], attempt: &Attempt) -> Expected {
    let mut verdict = None;
    let mut by = By::Nobody;
    let mut shadow = None;
    for (unit, part) in joined.iter().enumerate() {
        let said = part.say(loaded, unit, attempt);
        let would = said.shadow.max(Some(said.verdict).filter(|_| part.document.shadow));
        shadow = shadow.max(would);
        let (own, own_by) = if part.document.shadow {
            (Verdict::Allow, By::Default { unit })
        } else {
            (said.verdict, said.by)
        };
        if verdict < Some(own) {
            (verdict, by) = (Some(own), own_by);
        }
    }
    let verdict = verdict.unwrap_or(Verdict::Block);
    Expected { verdict, by, shadow: shadow.filter(|&shadow| shadow > verdict && by != By::Nobody) }
}

impl Joined<'_> {
    fn say(&self, loaded: &[Document], unit: usize, attempt: &Attempt) -> Expected {
        let action = attempt.action();
        let nothing = Expected { verdict: Verdict::Allow, by: By::Default { unit }, shadow: None };
        let Some((rules, default)) = self.section(action) else { return nothing };
        if let Attempt::Unix(name) = attempt
            && name == b"/run/guard/why.sock"
        {
            return Expected { by: By::Why, ..nothing };
        }
        if self.is_gateway(attempt) {
            return Expected { by: By::Gateway { unit }, ..nothing };
        }
        let mut answer: Option<(Verdict, By)> = None;
        let mut shadow = None;
        for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| rule_matches(rule, attempt)) {
            if rule.shadow {
                shadow = shadow.max(Some(rule.verdict));
            } else if answer.is_none_or(|(verdict, _)| verdict < rule.verdict) {
                answer = Some((rule.verdict, By::Rule { unit, rule: index }));
            }
        }
        let forbidden = self.forbidden(loaded, unit, attempt);
        if answer.is_none_or(|(verdict, _)| verdict < Verdict::Block) {
            answer = forbidden.map(|by| (Verdict::Block, by)).or(answer);
        }
        let (verdict, by) = answer.unwrap_or((default, By::Default { unit }));
        Expected { verdict, by, shadow: shadow.filter(|&shadow| shadow > verdict) }
    }

    /// The rules and the default that speak; `None` for a profile that leaves all of it to its policy.
    fn section(&self, action: Action) -> Option<(&[Rule], Verdict)> {
        let unstated = match action {
            Action::Load | Action::Read => Verdict::Allow,
            Action::Exec | Action::Connect | Action::Listen | Action::Write | Action::Boundary => {
                Verdict::Block
            }
        };
        let find = |sections: &'_ [Section]| sections.iter().position(|section| section.action == action);
        let policy = match find(&self.document.sections) {
            Some(at) => {
                let section = &self.document.sections[at];
                (section.rules.as_slice(), section.default.unwrap_or(unstated))
            }
            None => (&[][..], unstated),
        };
        let Some(profile) = self.profile.map(|index| &self.document.profiles[index]) else {
            return Some(policy);
        };
        match find(&profile.sections) {
            Some(at) => {
                let section = &profile.sections[at];
                let open = if profile.inherit { Verdict::Allow } else { unstated };
                Some((section.rules.as_slice(), section.default.unwrap_or(open)))
            }
            None if !profile.inherit => Some((&[], unstated)),
            None if action == Action::Connect && profile.gateway.is_some() => Some(policy),
            None => None,
        }
    }

    fn is_gateway(&self, attempt: &Attempt) -> bool {
        let Attempt::Net { action: Action::Connect, address, port, proto: TCP } = attempt else {
            return false;
        };
        let profile = self.profile.map(|index| &self.document.profiles[index]);
        let gateways = match profile {
            None => self.document.gateway.as_slice(),
            Some(profile) => match &profile.gateway {
                Some(gateways) => gateways.as_slice(),
                None if profile.inherit => self.document.gateway.as_slice(),
                None => &[],
            },
        };
        gateways.iter().any(|(ip, own)| plain(*ip) == plain(*address) && own == port)
    }

    /// What no policy can open; a profile is never alone, so its policy says it.
    fn forbidden(&self, loaded: &[Document], unit: usize, attempt: &Attempt) -> Option<By> {
        if self.profile.is_some() {
            return None;
        }
        match attempt {
            Attempt::Exec { .. } => None,
            Attempt::File { path, .. } | Attempt::Unix(path) => {
                let any = |globs: &[&str]| globs.iter().any(|text| glob::path(text, path));
                let lines = baseline::LINES.iter().filter(|line| line.actions.contains(&attempt.action()));
                lines.into_iter().find(|line| any(line.paths) && !any(line.except)).map(|_| By::Baseline)
            }
            Attempt::Net { action: Action::Listen, address, port, .. } => {
                let address = plain(*address);
                let profiles = |document: &Document| {
                    document
                        .profiles
                        .iter()
                        .flat_map(|profile| profile.gateway.clone().unwrap_or_default())
                        .collect()
                };
                let posing = loaded
                    .iter()
                    .flat_map(|document| [document.gateway.clone(), profiles(document)].concat())
                    .any(|(ip, own)| own == *port && (address.is_unspecified() || plain(ip) == address));
                posing.then_some(By::Gateway { unit })
            }
            Attempt::Net { .. } => None,
        }
    }
}

fn rule_matches(rule: &Rule, attempt: &Attempt) -> bool {
    match attempt {
        Attempt::Exec { path, args } => {
            let (some, every) = args::readings(&rule.args, args);
            named(rule, &rule.paths, path) && if rule.verdict == Verdict::Allow { every } else { some }
        }
        Attempt::File { path, .. } => named(rule, &rule.paths, path),
        Attempt::Unix(name) => named(rule, &rule.unix, name),
        Attempt::Net { action: Action::Listen, port, proto, .. } => {
            rule.ports.iter().any(|target| port_and_protocol(target, *port, *proto))
        }
        Attempt::Net { address, port, proto, .. } => rule.to.iter().any(|target| {
            let inside = target.net.is_none_or(|(net, prefix)| begins_with(*address, net, prefix));
            inside && port_and_protocol(target, *port, *proto)
        }),
    }
}

fn named(rule: &Rule, globs: &[String], bytes: &[u8]) -> bool {
    let one = |text: &String| {
        if text.starts_with('@') { glob::text(text, bytes) } else { glob::path(text, bytes) }
    };
    globs.iter().any(one) && !rule.except.iter().any(one)
}

fn port_and_protocol(target: &Target, port: u16, proto: u8) -> bool {
    target.ports.iter().any(|&(first, last)| first <= port && port <= last)
        && target.proto.is_none_or(|own| own == proto)
}

fn begins_with(address: IpAddr, net: IpAddr, prefix: u8) -> bool {
    let bits = |address: IpAddr| -> Vec<bool> {
        let octets = match plain(address) {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        octets.iter().flat_map(|octet| (0..8).map(move |bit| octet >> (7 - bit) & 1 == 1)).collect()
    };
    let (address, net) = (bits(address), bits(net));
    address.len() == net.len() && address[..usize::from(prefix)] == net[..usize::from(prefix)]
}

/// IPv4-mapped IPv6 is the IPv4 address.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}
