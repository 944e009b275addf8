//! What a task might try: what a pattern speaks of, something close to it, something ugly.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use guard_common::abi::Action;

use super::{ACTIONS, Attempt, Document, NAMES, Random, Section, address, path, port};

/// An attempt that has something to do with the policies.
pub fn attempt(random: &mut Random, documents: &[Document]) -> Attempt {
    let action = ACTIONS[random.below(ACTIONS.len())];
    match action {
        Action::Exec => Attempt::Exec { path: file(random, documents, action), args: args(random) },
        Action::Listen => net(random, action),
        Action::Connect => match random.below(3) {
            0 => net(random, action),
            _ => Attempt::Unix(socket(random, documents)),
        },
        Action::Load | Action::Write | Action::Read | Action::Boundary => {
            Attempt::File { action, path: file(random, documents, action) }
        }
    }
}

fn globs(documents: &[Document], action: Action) -> Vec<&String> {
    let sections = |sections: &'_ [Section]| -> Vec<usize> {
        (0..sections.len()).filter(|&at| sections[at].action == action).collect()
    };
    let mut all = Vec::new();
    for document in documents {
        let profiles = document.profiles.iter().map(|profile| &profile.sections);
        for list in std::iter::once(&document.sections).chain(profiles) {
            for at in sections(list) {
                for rule in &list[at].rules {
                    all.extend(rule.paths.iter().chain(&rule.unix).chain(&rule.except));
                }
            }
        }
    }
    all
}

fn file(random: &mut Random, documents: &[Document], action: Action) -> Vec<u8> {
    match random.below(12) {
        0 => ugly(random),
        1 => {
            let text = path(random);
            instance(random, &text)
        }
        2 => baseline(random, action),
        3 | 4 => {
            let mut bytes = Vec::new();
            for _ in 0..1 + random.below(4) {
                bytes.push(b'/');
                bytes.extend_from_slice(random.pick(NAMES).as_bytes());
            }
            bytes
        }
        _ => {
            let all = globs(documents, action);
            let Some(glob) = random.choose(&all) else { return b"/a/b".to_vec() };
            let mut bytes = instance(random, glob);
            if random.once_in(3) {
                spoil(random, &mut bytes);
            }
            bytes
        }
    }
}

fn socket(random: &mut Random, documents: &[Document]) -> Vec<u8> {
    match random.below(6) {
        0 => b"/run/guard/why.sock".to_vec(),
        1 => b"/run/guard/control.sock".to_vec(),
        2 => [b"@a".to_vec(), b"@ab".to_vec(), b"@".to_vec(), b"@a\0b".to_vec(), b"@b/a".to_vec()]
            [random.below(5)]
        .clone(),
        _ => file(random, documents, Action::Connect),
    }
}

fn baseline(random: &mut Random, action: Action) -> Vec<u8> {
    let lines: Vec<_> = guard_userspace::compile::baseline::lines(action).collect();
    match random.choose(&lines) {
        Some(line) => {
            let text = random.pick(line.paths).to_owned();
            instance(random, &text)
        }
        None => b"/etc/guard/x".to_vec(),
    }
}

/// Some bytes that the glob may well match; `\` and classes are not read exactly.
fn instance(random: &mut Random, glob: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = glob.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'*' if rest.first() == Some(&b'*') => {
                rest = &rest[1..];
                let names: Vec<_> = (0..random.below(3)).map(|_| random.pick(NAMES)).collect();
                bytes.extend_from_slice(names.join("/").as_bytes());
                if names.is_empty() && rest.first() == Some(&b'/') {
                    rest = &rest[1..];
                }
            }
            b'*' => bytes.extend_from_slice(random.pick(&["", "a", "ab", ".log", "x"]).as_bytes()),
            b'?' => bytes.push(*b"ab/".get(random.below(3)).unwrap_or(&b'a')),
            b'[' => {
                let end = rest.iter().position(|&byte| byte == b']').unwrap_or(0);
                rest = &rest[(end + 1).min(rest.len())..];
                bytes.push(b"abc"[random.below(3)]);
            }
            b'\\' if rest.starts_with(b"xff") => {
                rest = &rest[3..];
                bytes.push(0xff);
            }
            // One of the branches: those before it are left out with their commas, those behind it too.
            b'{' => rest = branch(random, rest),
            b',' | b'}' => {
                if byte == b',' {
                    rest = behind_brace(rest);
                }
            }
            _ => bytes.push(byte),
        }
    }
    bytes
}

fn branch<'a>(random: &mut Random, rest: &'a [u8]) -> &'a [u8] {
    let mut starts = vec![0];
    let mut depth = 0;
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => break,
            b'}' => depth -= 1,
            b',' if depth == 0 => starts.push(at + 1),
            _ => {}
        }
    }
    &rest[starts[random.below(starts.len())]..]
}

fn behind_brace(rest: &[u8]) -> &[u8] {
    let mut depth = 0;
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => return &rest[at + 1..],
            b'}' => depth -= 1,
            _ => {}
        }
    }
    &[]
}

fn spoil(random: &mut Random, bytes: &mut Vec<u8>) {
    let at = random.below(bytes.len() + 1);
    match random.below(5) {
        0 => bytes.extend_from_slice(b"/a"),
        1 => bytes.truncate(at),
        2 => bytes.insert(at, b"/ab.\xff"[random.below(5)]),
        3 => bytes.push(b'/'),
        _ => {
            if at < bytes.len() {
                bytes.remove(at);
            }
        }
    }
}

/// What no tidy path looks like.
fn ugly(random: &mut Random) -> Vec<u8> {
    match random.below(8) {
        0 => Vec::new(),
        1 => b"/".to_vec(),
        2 => b"//a//b/".to_vec(),
        3 => [b"/a/".to_vec(), vec![b'n'; 255]].concat(),
        4 => b"/a/\xff\xfe\x80\n".to_vec(),
        5 => [b"/usr".to_vec(), b"/a".repeat(2046)].concat(),
        6 => b"/.git/hooks/../x.log".to_vec(),
        _ => (0..random.below(20)).map(|_| 1 + (random.word() % 255) as u8).collect(),
    }
}

fn args(random: &mut Random) -> Vec<Vec<u8>> {
    let words =
        ["push", "pull", "-x", "--", "-", "", "--a=b", "--long", "p", "a", "-p=", "--=", "pu\u{e9}", "-x-"];
    (0..random.below(6)).map(|_| random.pick(&words).as_bytes().to_vec()).collect()
}

fn net(random: &mut Random, action: Action) -> Attempt {
    let mut ip = address(random);
    match random.below(6) {
        0 => {
            if let IpAddr::V4(own) = ip {
                ip = own.to_ipv6_mapped().into();
            }
        }
        1 => ip = Ipv4Addr::UNSPECIFIED.into(),
        2 => ip = Ipv6Addr::UNSPECIFIED.into(),
        _ => {}
    }
    Attempt::Net { action, address: ip, port: port(random), proto: [6, 6, 17, 132, 0][random.below(5)] }
}
