//! `guard learn` and `guard mode --report`, over logs of what compiled policies decided.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use common::{Place, entry_of, host};
use guard_common::abi::{Action, EventFlags, Reason, Verdict};
use guard_common::table::Answer;
use guard_userspace::audit::{Hash, Options, PlanNames, Record, Scribe, Value as Field, hash};
use guard_userspace::compile::explain::Question;
use guard_userspace::compile::{IdMap, Plan, compile};
use guard_userspace::events::Peer;
use guard_userspace::policy::parse;
use guard_userspace::policy::source::Source;
use serde_json::Value;

const PRESENT: &str = "\
version: 1
policy: agent
applies_to: [{ cgroup: /agents.slice/** }]
mode: MODE
gateway: [127.0.0.1:18080]
exec:
  default: block
  rules:
    - { id: tools, paths: [/usr/bin/**], verdict: allow }
    - { id: push, paths: [/usr/bin/git], args: [push], verdict: block, reason: ask first }
connect:
  default: block
  rules: [{ id: net, to: [10.0.0.0/8], verdict: allow }]
write:
  default: block
  rules: [{ id: workspace, paths: [/workspace/**], verdict: allow }]
read:
  default: allow
  rules: [{ id: keys, paths: [/home/*/.ssh/**], verdict: block, reason: keys stay here }]
";

fn present(mode: &str) -> String {
    PRESENT.replace("MODE", mode)
}

fn plan(text: &str) -> Plan {
    let parsed = parse::parse(Arc::new(Source::new("agent.yaml", text)));
    let policy = parsed.policy.unwrap_or_else(|| panic!("{:?}", parsed.report.diagnostics));
    compile(&[Arc::new(policy)], &IdMap::default(), 1).unwrap()
}

fn tried() -> Vec<(Action, Vec<u8>)> {
    let peer = |text: &str| text.parse::<Peer>().unwrap().to_key();
    let mut tried = vec![
        (Action::Exec, b"/usr/bin/git".to_vec()),
        (Action::Exec, b"/usr/bin/cargo".to_vec()),
        (Action::Read, b"/home/dev/.ssh/id_ed25519".to_vec()),
        (Action::Read, b"/etc/hosts".to_vec()),
        (Action::Write, b"/etc/hosts".to_vec()),
        (Action::Connect, peer("10.1.2.3:5432/tcp")),
        (Action::Connect, peer("127.0.0.1:18080/tcp")),
    ];
    tried.extend(
        ["a", "b", "c"].map(|name| (Action::Write, format!("/workspace/src/{name}.rs").into_bytes())),
    );
    tried
}

/// Writes what the policy decides of it all, in session 7.
fn write_log(place: &Place, text: &str) {
    write_log_of(place, text, tried());
}

fn write_log_of(place: &Place, text: &str, tried: Vec<(Action, Vec<u8>)>) {
    let plan = plan(text);
    let domain = plan.domain_of(b"/agents.slice/a.service");
    let mut scribe = Scribe::new(PlanNames::default(), host(), Path::new("/nonexistent")).unwrap();
    scribe.names.learn(&plan);
    let mut out: Vec<Record> = vec![scribe.note(
        "generation",
        vec![
            ("policies", Field::Text(format!("agent={}", plan.units[0].policy.mode))),
            ("texts", Field::Text(format!("agent={}", hash(text.as_bytes())))),
            ("policies_sha256", Field::Text(Hash(plan.sha256).to_string())),
        ],
    )];
    for (seq, (action, bytes)) in tried.into_iter().enumerate() {
        let question = Question { action, bytes, args: None };
        let decision = plan.decide(domain, &question);
        let shadow = decision.shadow;
        let entry = entry_of(&question.bytes, |raw| {
            raw.seq = seq as u64;
            raw.time = 1_000_000_000 * (seq as u64 + 1);
            raw.session = 7;
            raw.domain = domain;
            raw.generation = 1;
            raw.action = action as u8;
            raw.answer = decision.answer.0;
            raw.shadow = if shadow.is_none() { 0 } else { shadow.0 };
            raw.verdict = decision.verdict() as u8;
            raw.errno = -i32::from(decision.verdict() != Verdict::Allow);
            let is_address = action == Action::Connect && !question.bytes.starts_with(b"/");
            raw.flags = if is_address { EventFlags::ADDRESS } else { 0 };
            raw.flags |= if shadow.is_none() { 0 } else { EventFlags::SHADOWED };
            raw.reason = match decision.answer.rule() {
                Answer::RULE_DEFAULT => Reason::Default,
                Answer::RULE_GATEWAY => Reason::Gateway,
                Answer::RULE_BASELINE => Reason::Baseline,
                _ => Reason::Rule,
            } as u16;
        });
        scribe.take(&entry, &mut out);
    }
    let (mut log, _) = place.open(Options::default());
    log.append(&out).unwrap();
    log.checkpoint().unwrap();
}

fn guard(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_guard")).args(args).output().unwrap()
}

fn text(place: &Place, name: &str, text: &str) -> String {
    let file = place.0.join(name);
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

fn session() -> String {
    common::scribe().uuid(7)
}

#[test]
fn what_was_learned_is_narrower_and_keeps_every_refusal() {
    let place = Place::new("learn");
    write_log(&place, &present("enforce"));
    let file = text(&place, "agent.yaml", &present("enforce"));
    let dir = place.log();
    let args = ["learn", "--dir", dir.to_str().unwrap(), "--against", &file];
    let output = guard(&[&args[..], &["--json", &session()]].concat());
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &told["wider"]), (Some(0), &0.into()), "{told}");
    let learned = told["policy"].as_str().unwrap();
    for part in
        ["/workspace/src/*", "10.1.2.3:5432/tcp", "/usr/bin/cargo", "id: push", "id: keys", "127.0.0.1:18080"]
    {
        assert!(learned.contains(part), "{part} in {learned}");
    }
    // What was refused stays refused, and no network is made of one address.
    assert!(!learned.contains("10.0.0.0/8") && !learned.contains("id_ed25519"), "{learned}");
    let refused: Vec<&str> =
        told["refused"].as_array().unwrap().iter().map(|call| call["object"].as_str().unwrap()).collect();
    assert_eq!(refused, ["/home/dev/.ssh/id_ed25519", "/etc/hosts"]);
    // Without slack nothing is summed up.
    let output = guard(&[&args[..], &["--slack", "0", &session()]].concat());
    let exact = String::from_utf8(output.stdout).unwrap();
    assert!(exact.contains("/workspace/src/a.rs") && !exact.contains("/workspace/src/*"), "{exact}");
    let checked = guard(&["policy", "check", &text(&place, "learned.yaml", &exact)]);
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stdout));
}

#[test]
fn what_only_shadow_mode_let_through_is_a_proposal() {
    let place = Place::new("learn-shadow");
    write_log(&place, &present("shadow"));
    let file = text(&place, "agent.yaml", &present("shadow"));
    let dir = place.log();
    let output = guard(&["learn", "--dir", dir.to_str().unwrap(), "--against", &file, &session()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("because of shadow mode alone") && said.contains("a proposal"), "{said}");
    // The key was read, and still the rule about keys stays.
    assert!(String::from_utf8(output.stdout).unwrap().contains("id: keys"));
}

#[test]
fn what_the_baseline_blocks_is_left_out_and_told() {
    let place = Place::new("learn-baseline");
    let reach = [
        (Action::Connect, b"/run/guard/control.sock".to_vec()),
        (Action::Read, b"/sys/fs/bpf/guard".to_vec()),
        (Action::Write, b"/proc/sys/kernel/core_pattern".to_vec()),
    ];
    write_log_of(&place, &present("shadow"), tried().into_iter().chain(reach).collect());
    let dir = place.log();
    let file = text(&place, "agent.yaml", &present("shadow"));
    let args = ["learn", "--dir", dir.to_str().unwrap(), "--against", &file];
    let output = guard(&[&args[..], &[&session()]].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("3 calls were left out: guard's baseline blocks them"), "{said}");
    let learned = String::from_utf8(output.stdout).unwrap();
    assert!(learned.contains("/etc/hosts") && !learned.contains("control.sock"), "{learned}");
    let output = guard(&[&args[..], &["--json", &session()]].concat());
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["baseline"], 3);
}

#[test]
fn what_the_present_policy_says_is_carried_whole() {
    let place = Place::new("learn-whole");
    write_log(&place, &present("enforce"));
    let whole = present("enforce")
        .replace("policy: agent\n", "policy: agent-next\ncandidate_for: agent\n")
        .replace(
            "rules: [{ id: net, to: [10.0.0.0/8], verdict: allow }]",
            "rules: [{ id: net, to: [10.9.0.0/16], verdict: throttle, rate: 10/1500ms, burst: 3, reason: slowly },\n    \
             { id: db, to: [10.9.0.1], verdict: escalate, reason: ask }]",
        )
        + "escalation: { timeout: 500ms, max_pending: 3 }\nlimits: { max_runtime: 90s500ms }\n";
    let file = text(&place, "agent.yaml", &whole);
    let dir = place.log();
    let output = guard(&["learn", "--dir", dir.to_str().unwrap(), "--against", &file, &session()]);
    let learned = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    for part in ["candidate_for: agent\n", "rate: 10/1s500ms", "timeout: 500ms", "max_runtime: 90s500ms"] {
        assert!(learned.contains(part), "{part} in {learned}{said}");
    }
}

#[test]
fn sessions_without_allowed_calls_teach_nothing() {
    let place = Place::new("learn-nothing");
    let (mut log, _) = place.open(Options::default());
    log.append(&common::records(0..3)).unwrap();
    let dir = place.log();
    let output = guard(&["learn", "--dir", dir.to_str().unwrap(), "no-such-session"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("guard audit query"));
}

#[test]
fn a_report_says_what_shadow_mode_let_through_by_rule() {
    let place = Place::new("report");
    write_log(&place, &present("shadow"));
    let dir = place.log();
    let args = ["mode", "agent", "--report", "--dir", dir.to_str().unwrap(), "--policies", "/nonexistent"];
    let output = guard(&[&args[..], &["--json"]].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["safe"]), (Some(1), &false.into()), "{report}");
    assert_eq!((&report["mode"], &report["decisions"]), (&"shadow".into(), &tried().len().into()));
    let ways: Vec<String> = report["would_change"]
        .as_array()
        .unwrap()
        .iter()
        .map(|way| format!("{} {} {} {}", way["count"], way["action"], way["rule"], way["examples"][0]))
        .collect();
    assert_eq!(
        ways,
        [r#"1 "read" "keys" "/home/dev/.ssh/id_ed25519""#, r#"1 "write" "default" "/etc/hosts""#]
    );
    let output = guard(&args);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("not safe to enforce: 2 recorded calls would end otherwise"), "{said}");
}

#[test]
fn a_report_of_quiet_days_says_safe_and_of_none_says_nothing_is_known() {
    let place = Place::new("report-safe");
    write_log(&place, &present("enforce"));
    let dir = place.log();
    let report = |policy: &str| {
        let output = guard(&[
            "mode",
            policy,
            "--report",
            "--dir",
            dir.to_str().unwrap(),
            "--policies",
            "/nonexistent",
        ]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = report("agent");
    assert!(code == Some(0) && said.contains("safe to enforce, as far as the log can tell"), "{said}");
    let (code, said) = report("another");
    assert!(code == Some(1) && said.contains("nothing is recorded"), "{said}");
}

#[test]
fn a_candidate_is_held_against_what_was_decided() {
    let place = Place::new("report-candidate");
    write_log(&place, &present("enforce"));
    let policies = place.0.join("policies");
    fs::create_dir(&policies).unwrap();
    fs::write(policies.join("agent.yaml"), present("enforce")).unwrap();
    let candidate = present("enforce")
        .replace("policy: agent\n", "policy: agent-next\ncandidate_for: agent\n")
        .replace("/workspace/**", "/workspace/docs/**");
    fs::write(policies.join("next.yaml"), candidate).unwrap();
    let dir = place.log();
    let output = guard(&[
        "mode",
        "agent",
        "--report",
        "--json",
        "--dir",
        dir.to_str().unwrap(),
        "--policies",
        policies.to_str().unwrap(),
    ]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let changes = &report["candidates"][0]["replay"]["changes"];
    assert_eq!(
        (&changes[0]["count"], &changes[0]["new"]["verdict"]),
        (&3.into(), &"block".into()),
        "{report}"
    );
}
