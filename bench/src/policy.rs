//! The policies of the arms: the shipped one for coding agents, and ones of any size.

use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result, ensure};

use crate::stage::UDP_PORT;

const SHIPPED: &str = "/usr/share/guard/policies/coding-agent.yaml";

/// What of the allowed calls is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    None,
    First,
    Every,
}

impl Record {
    fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::First => "first",
            Self::Every => "every",
        }
    }
}

/// The shipped policy, with two changes: what it records, and one UDP port, because no shipped policy opens one.
pub(crate) fn shipped(record: Record) -> Result<(String, String)> {
    let text = fs::read_to_string(SHIPPED).with_context(|| format!("read {SHIPPED}"))?;
    let changed = text
        .replacen("allows: first", &format!("allows: {}", record.word()), 1)
        .replacen("connect:\n  default: block\n  rules:\n", &format!(
            "connect:\n  default: block\n  rules:\n    - {{ id: bench, to: [\"127.0.0.1:{UDP_PORT}/udp\"], verdict: allow }}\n"
        ), 1);
    ensure!(
        changed.contains(&format!("allows: {}", record.word())) && changed.contains("id: bench"),
        "{SHIPPED} is not written as this program expects"
    );
    Ok(("coding-agent".to_owned(), changed))
}

/// A second version of the shipped policy, decided beside it.
pub(crate) fn candidate() -> Result<(String, String)> {
    let (_, text) = shipped(Record::None)?;
    let named = text.replacen(
        "policy: coding-agent\n",
        "policy: coding-agent-next\ncandidate_for: coding-agent\n",
        1,
    );
    ensure!(named != text, "{SHIPPED} has no line `policy: coding-agent`");
    Ok(("coding-agent-next".to_owned(), named))
}

/// A policy with so many rules, all forms mixed, which allows what the benchmark does.
pub(crate) fn of_size(rules: usize) -> (String, String) {
    let mut text = "version: 1\npolicy: sized\napplies_to: [{cgroup: \"/agents.slice/coding.slice/**\"}]\nmode: enforce\n\
        gateway: [\"127.0.0.1:18080\"]\naudit: { allows: none, on_loss: block }\n"
        .to_owned();
    let many = |share: usize| (rules * share / 100).max(1);
    let path = |n: usize| match n % 5 {
        0 => format!("/srv/team{}/project{n}/**", n % 17),
        1 => format!("/srv/data/set{n}.csv"),
        2 => format!("/var/lib/app{n}/{{cache,state,log}}/**"),
        3 => format!("/home/*/.tool{n}/**"),
        _ => format!("/srv/**/.secret{n}"),
    };
    let mut section = |name: &str, default: &str, first: &str, verdict: &str, from: usize, count: usize| {
        let _ = write!(text, "{name}:\n  default: {default}\n  rules:\n{first}");
        for n in from..from + count {
            let _ = writeln!(text, "    - {{ id: {name}{n}, paths: [\"{}\"], verdict: {verdict} }}", path(n));
        }
    };
    let allow =
        |paths: &str, of: &str| format!("    - {{ id: bench-{of}, paths: [{paths}], verdict: allow }}\n");
    section("exec", "block", &allow("\"/opt/**\", \"/usr/**\"", "exec"), "allow", 0, many(20));
    section("load", "allow", "", "block", 10_000, many(10));
    section("write", "block", &allow("\"/workspace/**\"", "write"), "allow", 20_000, many(40));
    section("read", "allow", "", "block", 30_000, many(20));
    let _ = write!(
        text,
        "connect:\n  default: block\n  rules:\n    - {{ id: bench-connect, to: [\"127.0.0.1:{UDP_PORT}/udp\"], verdict: allow }}\n"
    );
    for n in 0..many(10) {
        let _ = writeln!(
            text,
            "    - {{ id: connect{n}, to: [\"10.{}.{}.0/24:443/tcp\"], verdict: allow }}",
            n / 250,
            n % 250
        );
    }
    ("sized".to_owned(), text)
}
