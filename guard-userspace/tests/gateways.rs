//! Gateways in a plan: who may take their address, and what needs no automaton.

use std::slice::from_ref;
use std::sync::Arc;

use guard_common::abi::{Action, Verdict};
use guard_common::{key, table};
use guard_userspace::compile::explain::Question;
use guard_userspace::compile::{Compiler, IdMap, Plan, compile};
use guard_userspace::policy::model::Policy;
use guard_userspace::policy::parse;
use guard_userspace::policy::source::Source;

fn policy(text: &str) -> Arc<Policy> {
    let parsed = parse::parse(Arc::new(Source::new("test.yaml", text)));
    match parsed.policy {
        Some(policy) if !parsed.report.has_errors() => policy.into(),
        Some(_) | None => panic!("{:#?}", parsed.report),
    }
}

fn plan(texts: &[&str]) -> Plan {
    let policies: Vec<_> = texts.iter().map(|text| policy(text)).collect();
    compile(&policies, &IdMap::default(), 1).unwrap()
}

fn named(name: &str, cgroup: &str, rest: &str) -> String {
    format!(
        "version: 1\npolicy: {name}\napplies_to: [{{cgroup: \"{cgroup}\"}}]\nexec: {{default: block}}\nconnect: {{default: block}}\nwrite: {{default: block}}\n{rest}\n"
    )
}

#[test]
fn nobody_inside_can_pose_as_a_gateway() {
    let rest = "listen: {default: allow}\n";
    let plan = plan(&[
        &named("own", "/own/**", &format!("{rest}gateway: [\"127.0.0.1:18080\"]")),
        &named("other", "/other/**", rest),
        &named(
            "tight",
            "/tight/**",
            &format!("{rest}profiles: {{box: {{inherit: true, gateway: [\"127.0.0.1:18090\"]}}}}"),
        ),
        &named("trial", "/x/**", &format!("{rest}gateway: [\"127.0.0.1:18100\"]\ncandidate_for: other")),
    ]);
    let listen = |cgroup: &str, address: &str| {
        let address: std::net::SocketAddr = address.parse().unwrap();
        let bytes = match address.ip() {
            std::net::IpAddr::V4(ip) => key::v4(ip.octets(), 6, address.port()).to_vec(),
            std::net::IpAddr::V6(ip) => key::v6(ip.octets(), 6, address.port()).to_vec(),
        };
        let question = Question { action: Action::Listen, bytes, args: None };
        plan.decide(plan.domain_of(cgroup.as_bytes()), &question).verdict()
    };
    for cgroup in ["/own/x", "/other/x", "/tight/x"] {
        for address in [
            "127.0.0.1:18080",
            "0.0.0.0:18080",
            "[::]:18080",
            "127.0.0.1:18090",
            "0.0.0.0:18090",
            "[::]:18090",
        ] {
            assert_eq!(listen(cgroup, address), Verdict::Block, "{cgroup}: {address}");
        }
        // A candidate's is nobody's yet.
        for address in [
            "127.0.0.1:18081",
            "127.0.0.2:18080",
            "0.0.0.0:80",
            "[::1]:18080",
            "127.0.0.1:18100",
            "0.0.0.0:18100",
        ] {
            assert_eq!(listen(cgroup, address), Verdict::Allow, "{cgroup}: {address}");
        }
    }
}

#[test]
fn a_gateway_that_comes_is_guarded_by_policies_that_were_there() {
    let there = policy(&named("there", "/there/**", "listen: {default: allow}"));
    let comes = policy(&named("comes", "/comes/**", "gateway: [\"127.0.0.1:18080\"]"));
    let compiler = Compiler::default();
    let question =
        Question { action: Action::Listen, bytes: key::v4([127, 0, 0, 1], 6, 18080).to_vec(), args: None };
    let listens = |policies: &[Arc<Policy>]| {
        let plan = compiler.compile(policies, &IdMap::default(), 1).unwrap();
        plan.decide(plan.domain_of(b"/there/x"), &question).verdict()
    };
    assert_eq!(listens(from_ref(&there)), Verdict::Allow);
    assert_eq!(listens(&[Arc::clone(&there), comes]), Verdict::Block);
    assert_eq!(listens(from_ref(&there)), Verdict::Allow);
}

/// Does a packet of this protocol need no automaton to this address?
fn is_easy(plan: &Plan, cgroup: &[u8], address: &str, protocol: u8) -> bool {
    let address: std::net::SocketAddr = address.parse().unwrap();
    let port = u16::from_le_bytes(address.port().to_be_bytes());
    let key = match address.ip() {
        std::net::IpAddr::V4(ip) => [0, 0, key::v4_word(u32::from_le_bytes(ip.octets()), protocol, port)],
        std::net::IpAddr::V6(ip) => {
            let [high, low] =
                [0, 8].map(|at| u64::from_le_bytes(ip.octets()[at..at + 8].try_into().unwrap()));
            let (first, second, third) = key::v6_words(high, low, protocol, port);
            [u64::from(first) << 32, second, third]
        }
    };
    table::is_easy(&plan.arena[..], plan.domain_of(cgroup), key)
}

#[test]
fn a_gateway_is_easy_where_every_policy_lets_it_be_connected_to() {
    let gateways = "gateway: [\"127.0.0.1:18080\", \"[2001:db8::7]:3128\"]";
    let plan = plan(&[
        &named("plain", "/plain/**", gateways),
        &named("watching", "/watching/**", &format!("{gateways}\nmode: shadow")),
        &named("without", "/without/**", ""),
        &named("both-one", "/both/**", gateways),
        &named("both-two", "/both/**", "gateway: [\"127.0.0.1:18080\"]"),
        &named("tight", "/plain/tight/**", ""),
        &named("trial", "/plain/trial/**", "mode: shadow"),
    ]);
    let easy = |cgroup: &str, address| is_easy(&plan, cgroup.as_bytes(), address, 6);
    for cgroup in ["/plain/x", "/watching/x"] {
        assert!(easy(cgroup, "127.0.0.1:18080") && easy(cgroup, "[2001:db8::7]:3128"), "{cgroup}");
        for other in ["127.0.0.1:18081", "127.0.0.2:18080", "0.0.0.0:0", "[::]:0", "[2001:db8::7]:3129"] {
            assert!(!easy(cgroup, other), "{other}");
        }
    }
    assert!(easy("/both/x", "127.0.0.1:18080") && !easy("/both/x", "[2001:db8::7]:3128"));
    // In force it is blocked by the other policy; in shadow there is something to tell.
    for cgroup in ["/without/x", "/elsewhere", "/plain/tight/x", "/plain/trial/x"] {
        assert!(!easy(cgroup, "127.0.0.1:18080"), "{cgroup}");
    }
}

#[test]
fn a_peer_that_a_rule_names_is_easy_if_it_is_one_and_a_plain_yes() {
    let rule = |to: &str, verdict: &str| format!("    - {{ id: r, to: [\"{to}\"], verdict: {verdict} }}\n");
    let easy = |rules: &[String], address: &str, protocol| {
        let rules: String =
            rules.iter().enumerate().map(|(n, rule)| rule.replace("id: r,", &format!("id: r{n},"))).collect();
        let text = named("p", "/p/**", "escalation: {timeout: 5m}")
            .replace("connect: {default: block}", "connect:\n  default: block\n  rules:\nRULES");
        let text = text.replace("RULES\n", &rules);
        is_easy(&plan(&[&text]), b"/p/x", address, protocol)
    };
    let dns = rule("192.0.2.7:53/udp", "allow");
    assert!(easy(from_ref(&dns), "192.0.2.7:53", 17));
    for (address, protocol) in [("192.0.2.7:53", 6), ("192.0.2.8:53", 17), ("192.0.2.7:54", 17)] {
        assert!(!easy(from_ref(&dns), address, protocol), "{address}");
    }
    // What is kept for a stream's socket outlives its cgroup; and packets look for IPv4 alone.
    assert!(!easy(&[rule("192.0.2.7:443/tcp", "allow")], "192.0.2.7:443", 6));
    assert!(!easy(&[rule("[2001:db8::7]:53/udp", "allow")], "[2001:db8::7]:53", 17));
    // More than one peer, or more to say.
    for other in ["192.0.2.0/24:53/udp", "192.0.2.7:53-54/udp", "192.0.2.7:53"] {
        assert!(!easy(&[rule(other, "allow")], "192.0.2.7:53", 17), "{other}");
    }
    assert!(!easy(&[rule("192.0.2.7:53/udp", "escalate")], "192.0.2.7:53", 17));
    assert!(!easy(
        &[dns.clone(), rule("192.0.2.7:53/udp", "block, reason: no, shadow: true")],
        "192.0.2.7:53",
        17
    ));
    // However many there are, each that is listed is one of them.
    let many: Vec<String> = (1..=100).map(|n| rule(&format!("192.0.2.{n}:53/udp"), "allow")).collect();
    let listed = (1..=100).filter(|n| easy(&many, &format!("192.0.2.{n}:53"), 17)).count();
    assert!((2..=table::EASY).contains(&listed), "{listed} of {}", table::EASY);
}
