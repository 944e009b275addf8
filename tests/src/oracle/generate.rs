//! Policies and attempts made up: few letters and few names, so that patterns overlap and attempts nearly match.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use guard_common::abi::{Action, Verdict};

use super::model::{Attempt, Document, Profile, Rule, Section, Target};
use super::random::Random;

mod attempts;

pub use attempts::attempt;

const ACTIONS: [Action; 6] =
    [Action::Exec, Action::Load, Action::Connect, Action::Listen, Action::Write, Action::Read];

const NAMES: &[&str] =
    &["a", "b", "ab", "usr", "bin", ".git", "hooks", "x.log", "y.log", "etc", "guard", "run"];

const COMPONENTS: &[&str] = &[
    "a",
    "b",
    "ab",
    "usr",
    "bin",
    ".git",
    "hooks",
    "x.log",
    "*",
    "?",
    "a*",
    "*b",
    "*.log",
    "?b",
    "[a-b]",
    "[!a]",
    "[^b]*",
    "{a,b}",
    "{usr,bin}",
    "{a,}b",
    "a{,b,*}",
    "{x,y{.log,}}",
    "a*b*",
    "\\xff",
    "{a/b,usr}",
    "etc",
    "guard",
    "run",
];

const WORDS: &[&str] = &["push", "pull", "*", "p*", "-x", "p?ll", "{push,-}", "", "a"];

/// Up to three policies that apply to the same cgroups.
pub fn documents(random: &mut Random) -> Vec<Document> {
    let count = [1, 1, 1, 2, 3][random.below(5)];
    (0..count).map(|n| document(random, n)).collect()
}

fn document(random: &mut Random, n: usize) -> Document {
    let profiles = [0, 0, 1, 2][random.below(4)];
    Document {
        name: format!("policy-{n}"),
        shadow: random.once_in(6),
        gateway: (0..random.below(3)).map(|_| (address(random), port(random))).collect(),
        sections: sections(random, profiles),
        profiles: (0..profiles).map(|n| profile(random, n)).collect(),
    }
}

fn profile(random: &mut Random, n: usize) -> Profile {
    let gateway = (0..random.below(2)).map(|_| (address(random), port(random))).collect();
    Profile {
        name: format!("profile-{n}"),
        inherit: random.once_in(2),
        gateway: random.once_in(2).then_some(gateway),
        // Rules of profiles do not sandbox further here.
        sections: sections(random, 0),
    }
}

fn sections(random: &mut Random, profiles: usize) -> Vec<Section> {
    let mut sections = Vec::new();
    for action in ACTIONS {
        if random.once_in(4) {
            continue;
        }
        let count = [0, 1, 2, 3, 4, 8][random.below(6)];
        let default = [Verdict::Allow, Verdict::Escalate, Verdict::Block];
        sections.push(Section {
            action,
            default: (!random.once_in(4)).then(|| default[random.below(3)]),
            rules: (0..count).map(|_| rule(random, action, profiles)).collect(),
        });
    }
    sections
}

/// A rule for a section; `profiles` is how many there are to sandbox into.
pub fn rule(random: &mut Random, action: Action, profiles: usize) -> Rule {
    let mut verdict = Verdict::ALL[random.below(Verdict::ALL.len())];
    if verdict == Verdict::Sandbox && profiles == 0 {
        verdict = Verdict::Allow;
    }
    let mut rule = Rule {
        paths: Vec::new(),
        except: Vec::new(),
        args: Vec::new(),
        unix: Vec::new(),
        to: Vec::new(),
        ports: Vec::new(),
        verdict,
        profile: random.below(profiles),
        shadow: random.once_in(6),
    };
    let some = 1 + random.below(2);
    match action {
        Action::Listen => rule.ports = (0..some).map(|_| target(random)).collect(),
        Action::Connect => {
            rule.to = (0..random.below(3)).map(|_| target(random)).collect();
            rule.unix = (0..some).map(|_| unix(random)).collect();
        }
        Action::Exec | Action::Load | Action::Write | Action::Read | Action::Boundary => {
            rule.paths = (0..some).map(|_| path(random)).collect();
        }
    }
    if action != Action::Listen && random.once_in(3) {
        let except = if action == Action::Connect { unix } else { path };
        rule.except = (0..1 + random.below(2)).map(|_| except(random)).collect();
    }
    if action == Action::Exec && random.once_in(2) {
        rule.args = (0..1 + random.below(2)).map(|_| word(random)).collect();
    }
    rule
}

fn word(random: &mut Random) -> String {
    let word = random.pick(WORDS);
    if word.is_empty() { String::from("{,push}") } else { word.to_owned() }
}

/// A path glob.
pub fn path(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..random.below(4) {
        text.push('/');
        text.push_str(if random.once_in(4) { "**" } else { random.pick(COMPONENTS) });
    }
    text.push('/');
    text.push_str(if random.once_in(3) { "**" } else { random.pick(COMPONENTS) });
    text
}

fn unix(random: &mut Random) -> String {
    match random.below(4) {
        0 => format!("@{}", random.pick(&["a", "*", "a*b", "?", "{a,b/}*", "[!a]*"])),
        1 => String::from("/run/guard/*"),
        _ => path(random),
    }
}

fn target(random: &mut Random) -> Target {
    let net = (!random.once_in(4)).then(|| net(random));
    let ports = if random.once_in(3) {
        vec![(0, u16::MAX)]
    } else {
        let mut range = || {
            let (a, b) = (port(random), port(random));
            (a.min(b), a.max(b))
        };
        vec![range(), range()]
    };
    Target { net, ports, proto: [None, Some(6), Some(17)][random.below(3)] }
}

/// A network as the parser leaves it: without bits behind the prefix.
fn net(random: &mut Random) -> (IpAddr, u8) {
    match address(random) {
        IpAddr::V4(ip) => {
            let prefix = [0, 1, 8, 9, 15, 16, 23, 24, 31, 32][random.below(10)];
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            (Ipv4Addr::from(u32::from(ip) & mask).into(), prefix)
        }
        IpAddr::V6(ip) => {
            let prefix = [0, 7, 32, 33, 63, 64, 127, 128][random.below(8)];
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            (Ipv6Addr::from(u128::from(ip) & mask).into(), prefix)
        }
    }
}

/// Never a mapped one: the parser turns those into what they are.
fn address(random: &mut Random) -> IpAddr {
    if random.once_in(3) {
        let last = [0, 1, 2, 0xffff][random.below(4)];
        let first = [0x2001, 0xfd00, 0, 0x3001][random.below(4)];
        Ipv6Addr::new(first, 0, 0, [0, 1][random.below(2)], 0, 0, 0, last).into()
    } else {
        let first = [10, 127, 192, 11][random.below(4)];
        Ipv4Addr::new(first, [0, 1][random.below(2)], 0, [1, 2, 255][random.below(3)]).into()
    }
}

fn port(random: &mut Random) -> u16 {
    [0, 1, 53, 80, 255, 256, 257, 443, 8080, 65535][random.below(10)]
}
