//! `guard audit query`, `trace`, `replay` and `export`, over a log of what a compiled policy decided.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use common::{Place, entry_of, host};
use guard_common::abi::{Action, EventFlags, Reason, Verdict};
use guard_common::table::Answer;
use guard_userspace::audit::{self, Options, PlanNames, Scribe, Who};
use guard_userspace::compile::explain::Question;
use guard_userspace::compile::{IdMap, Plan, compile};
use guard_userspace::events::Peer;
use guard_userspace::policy::parse;
use guard_userspace::policy::source::Source;
use serde_json::Value;

const POLICY: &str = "\
version: 1
policy: agent
applies_to: [{ cgroup: /agents.slice/** }]
mode: enforce
gateway: [127.0.0.1:18080]
exec:
  default: block
  rules: [{ id: tools, paths: [/usr/bin/*], verdict: allow }]
connect:
  default: block
  rules: [{ id: db, to: [\"10.1.0.0/16:5432/tcp\"], verdict: allow }]
write:
  default: block
  rules: [{ id: workspace, paths: [/workspace/**], verdict: allow }]
read:
  default: allow
  rules: [{ id: keys, paths: [/home/*/.ssh/**], verdict: block, reason: keys stay here, remedy: ask the broker }]
";

fn plan(text: &str) -> Plan {
    let parsed = parse::parse(Arc::new(Source::new("agent.yaml", text)));
    let policy = parsed.policy.unwrap_or_else(|| panic!("{:?}", parsed.report.diagnostics));
    compile(&[Arc::new(policy)], &IdMap::default(), 1).unwrap()
}

/// What the agent tries, in this order.
fn tried() -> Vec<(Action, Vec<u8>)> {
    let peer = |text: &str| text.parse::<Peer>().unwrap().to_key();
    vec![
        (Action::Exec, b"/usr/bin/git".to_vec()),
        (Action::Exec, b"/workspace/evil".to_vec()),
        (Action::Read, b"/home/dev/.ssh/id_ed25519".to_vec()),
        (Action::Read, b"/home/dev/.ssh/a\nb".to_vec()),
        (Action::Read, b"/etc/hosts".to_vec()),
        (Action::Write, b"/workspace/a".to_vec()),
        (Action::Write, b"/etc/hosts".to_vec()),
        (Action::Connect, peer("10.1.2.3:5432/tcp")),
        (Action::Connect, peer("93.184.216.34:443/tcp")),
        (Action::Connect, peer("127.0.0.1:18080/tcp")),
    ]
}

fn write_log(place: &Place) {
    let plan = plan(POLICY);
    let domain = plan.domain_of(b"/agents.slice/a.service");
    let mut scribe = Scribe::new(PlanNames::default(), host(), Path::new("/nonexistent")).unwrap();
    scribe.names.learn(&plan);
    scribe.session(7, Who { principal: "dev@example".into(), trace: "ab".repeat(16), ..Who::default() });
    let mut out = Vec::new();
    for (seq, (action, bytes)) in tried().into_iter().enumerate() {
        let question = Question { action, bytes, args: None };
        let decision = plan.decide(domain, &question);
        let entry = entry_of(&question.bytes, |raw| {
            raw.seq = seq as u64;
            raw.time = 1_000_000_000 * (seq as u64 + 1);
            raw.session = 7;
            raw.domain = domain;
            raw.generation = 1;
            raw.action = action as u8;
            raw.answer = decision.answer.0;
            raw.verdict = decision.verdict() as u8;
            raw.errno = -i32::from(decision.verdict() != Verdict::Allow);
            raw.flags = if action == Action::Connect { EventFlags::ADDRESS } else { 0 };
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

fn guard(place: &Place, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guard"));
    command.args(["audit", args[0], "--dir"]).arg(place.log()).args(&args[1..]).output().unwrap()
}

/// The objects of the records that answer a question.
fn objects(place: &Place, args: &[&str]) -> Vec<String> {
    let output = guard(place, &[&["query", "--json", "--kind", "decision"], args].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let objects: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["object"].as_str().unwrap().to_owned())
        .collect();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(i32::from(objects.is_empty())), "{errors}");
    objects
}

#[test]
fn every_question_finds_its_records_and_no_others() {
    let place = Place::new("query");
    write_log(&place);
    assert_eq!(objects(&place, &[]).len(), tried().len());
    let keys = ["/home/dev/.ssh/id_ed25519", r"/home/dev/.ssh/a\x0ab"];
    for question in [["--rule", "keys"], ["--path", "/home/**"]] {
        assert_eq!(objects(&place, &question), keys, "{question:?}");
    }
    assert_eq!(objects(&place, &["--action", "read", "--verdict", "block"]), keys);
    assert_eq!(objects(&place, &["--address", "10.1.0.0/16"]), ["10.1.2.3:5432/tcp"]);
    assert_eq!(objects(&place, &["--reason", "gateway"]), ["127.0.0.1:18080/tcp"]);
    assert_eq!(objects(&place, &["--verdict", "block"]).len(), 5);
    assert_eq!(objects(&place, &["--principal", "dev@example"]).len(), tried().len());
    assert_eq!(objects(&place, &["--principal", "somebody"]), [""; 0]);
    assert_eq!(objects(&place, &["--policy", "agent", "--limit", "1"]), ["/usr/bin/git"]);
    assert_eq!(objects(&place, &["--until", "1990-01-01"]), [""; 0]);
    assert_eq!(guard(&place, &["query", "--since", "soon"]).status.code(), Some(2));
}

#[test]
fn a_word_that_no_record_has_is_refused() {
    let place = Place::new("words");
    write_log(&place);
    for (question, wanted) in [
        (["--verdict", "deny"], "write allow, throttle, sandbox, escalate, block"),
        (["--action", "wrte"], "write write"),
        (["--kind", "decisions"], "write decision"),
        (["--reason", "nope"], "write rule, default"),
        (["--since", "2026-02-31"], "is no time"),
    ] {
        let output = guard(&place, &["query", question[0], question[1]]);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{question:?} {errors}");
        assert!(errors.contains(wanted), "{question:?} {errors}");
    }
}

#[test]
fn people_read_what_came_of_a_call_and_who_answered() {
    let place = Place::new("rows");
    let mut scribe = Scribe::new(PlanNames::default(), host(), Path::new("/nonexistent")).unwrap();
    let mut out = Vec::new();
    let came = [
        (Verdict::Escalate, Reason::Held, 0),
        (Verdict::Escalate, Reason::Approved, 0),
        (Verdict::Escalate, Reason::Denied, -1),
        (Verdict::Escalate, Reason::CannotHold, -1),
        (Verdict::Throttle, Reason::OverBudget, -11),
        (Verdict::Block, Reason::Rule, -1),
    ];
    for (seq, (verdict, reason, errno)) in came.into_iter().enumerate() {
        let entry = entry_of(b"/srv/x", |raw| {
            raw.seq = seq as u64;
            raw.verdict = verdict as u8;
            raw.reason = reason as u16;
            raw.errno = errno;
        });
        scribe.take(&entry, &mut out);
    }
    let text = |text: &str| audit::Value::Text(text.to_owned());
    let root =
        || [("by", text("root")), ("by_uid", audit::Value::Number(0)), ("by_pid", audit::Value::Number(7))];
    let mut note = |kind, fields: Vec<(&'static str, audit::Value)>| out.push(scribe.note(kind, fields));
    let answer = [
        ("request", audit::Value::Number(3)),
        ("outcome", text("denied")),
        ("policy", text("agents")),
        ("rule", text("deploy")),
        ("action", text("exec")),
        ("object", text("/bin/deploy")),
        ("pid", audit::Value::Number(230)),
        ("waited_ms", audit::Value::Number(9156)),
        ("note", text("not \u{1b}[31mnow")),
    ];
    note("approval", answer.into_iter().chain(root()).collect());
    let flip = [("policy", text("agents")), ("mode", text("shadow")), ("note", text("a try"))];
    note("mode", root().into_iter().chain(flip).collect());
    note("generation", vec![("generation", audit::Value::Number(2)), ("policies", text("agents=enforce"))]);
    note(
        "gateway",
        vec![("address", text("127.0.0.1:1")), ("up", audit::Value::Flag(false)), ("why", text("refused"))],
    );
    let run = [("cgroup", text("/guard/x")), ("policies", text("agents")), ("principal", text("dev"))];
    note("run", root().into_iter().chain(run).collect());
    let (mut log, _) = place.open(Options::default());
    log.append(&out).unwrap();
    log.checkpoint().unwrap();
    let shown = String::from_utf8(guard(&place, &["query"]).stdout).unwrap();
    for wanted in [
        "escalate write    /srv/x → held\n",
        "/srv/x → approved\n",
        "/srv/x → denied, EPERM\n",
        "/srv/x → cannot-hold, EPERM\n",
        "throttle write    /srv/x → over-budget, EAGAIN\n",
        "block    write    /srv/x\n",
        "ANSWER   exec /bin/deploy: denied by root (uid 0, pid 7) after 9.2 s\n",
        "request 3 of [230] agents deploy\n",
        "note: not \\x1b[31mnow\n",
        "MODE     agents to shadow by root (uid 0, pid 7)\n",
        "note: a try\n",
        "POLICIES generation 2: agents=enforce\n",
        "GATEWAY  127.0.0.1:1 does not answer\n",
        "why: refused\n",
        "RUN      in /guard/x under agents by root (uid 0, pid 7)\n",
        "for: dev\n",
    ] {
        assert!(shown.contains(wanted), "{wanted:?} is not in\n{shown}");
    }
}

#[test]
fn a_replay_of_another_policys_records_says_so() {
    let place = Place::new("replay-other");
    write_log(&place);
    let file = place.0.join("other.yaml");
    fs::write(&file, POLICY.replace("policy: agent", "policy: another")).unwrap();
    let output = guard(&place, &["replay", "--policy", file.to_str().unwrap()]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("no record is of a decision of the policy `another`, but of agent"), "{errors}");
}

#[test]
fn an_index_changes_no_answer_and_can_be_lost() {
    let place = Place::new("index");
    write_log(&place);
    let questions: [&[&str]; 7] = [
        &[],
        &["--rule", "keys"],
        &["--path", "/home/**"],
        &["--address", "10.1.0.0/16"],
        &["--verdict", "block", "--action", "write"],
        &["--session", &"ab".repeat(16)],
        &["--until", "1990-01-01"],
    ];
    let scanned: Vec<_> = questions.iter().map(|question| objects(&place, question)).collect();
    let index = place.log().join("index");
    assert!(!index.exists(), "the last segment is read whole");
    let (mut log, _) = place.open(Options::default());
    log.close().unwrap();
    log.append(&common::records(10..11)).unwrap();
    drop(log);
    let of_first = |question: &[&str]| -> Vec<String> {
        objects(&place, question).into_iter().filter(|object| object != "/srv/file-10").collect()
    };
    let indexed = || -> Vec<_> { questions.iter().map(|question| of_first(question)).collect() };
    assert_eq!(indexed(), scanned);
    let file = index.join("0000000001.idx");
    let bytes = fs::read(&file).unwrap();
    // Cut short, or another segment's: made anew.
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(indexed(), scanned);
    assert_eq!(fs::read(&file).unwrap(), bytes);
    let mut other = bytes.clone();
    other[8] ^= 1;
    fs::write(&file, &other).unwrap();
    assert_eq!(indexed(), scanned);
    fs::remove_dir_all(&index).unwrap();
    fs::write(&index, "not a directory").unwrap();
    assert_eq!(indexed(), scanned);
}

#[test]
fn totals_add_up() {
    let place = Place::new("totals");
    write_log(&place);
    let output = guard(&place, &["query", "--totals", "--json", "--kind", "decision"]);
    let totals: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(totals["records"], 10);
    assert_eq!(totals["by"]["verdict"]["block"], 5);
    assert_eq!(totals["by"]["rule"]["keys"], 2);
}

#[test]
fn a_trace_tells_the_whole_session() {
    let place = Place::new("trace");
    write_log(&place);
    let output = guard(&place, &["trace", &"ab".repeat(16)]);
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["for dev@example", "keys, keys stay here", "instead: ask the broker", "5 went on, 5 did not"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains('\u{1b}') && text.contains(r"/home/dev/.ssh/a\x0ab"));
    assert_eq!(guard(&place, &["trace", "nobody"]).status.code(), Some(1));
}

#[test]
fn a_replay_says_what_another_policy_would_change() {
    let place = Place::new("replay");
    write_log(&place);
    let file = place.0.join("new.yaml");
    fs::write(&file, POLICY).unwrap();
    let same = guard(&place, &["replay", "--policy", file.to_str().unwrap()]);
    assert_eq!(same.status.code(), Some(0), "{}", String::from_utf8_lossy(&same.stdout));
    let new =
        POLICY.replace("/workspace/**", "/workspace/only/**").replace("/home/*/.ssh/**", "/home/*/.ssh/id_*");
    fs::write(&file, new).unwrap();
    let output = guard(&place, &["replay", "--json", "--policy", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["decided"], &report["same"]), (&10.into(), &8.into()));
    let changes: Vec<String> = report["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| format!("{} {} {}", change["count"], change["old"]["rule"], change["new"]["verdict"]))
        .collect();
    assert_eq!(changes, ["1 \"keys\" \"allow\"", "1 \"workspace\" \"block\""]);
}

#[test]
fn exports_hold_every_record_in_the_other_tools_words() {
    let place = Place::new("export");
    write_log(&place);
    let lines = |format: &str| -> Vec<Value> {
        let output = guard(&place, &["export", "--format", format, "--kind", "decision"]);
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    assert_eq!(lines("jsonl").len(), 10);
    let ocsf = lines("ocsf");
    let classes: Vec<u64> = ocsf.iter().map(|event| event["class_uid"].as_u64().unwrap()).collect();
    assert_eq!(classes, [1007, 1007, 1001, 1001, 1001, 1001, 1001, 4001, 4001, 4001]);
    assert!(ocsf.iter().all(|event| {
        event["type_uid"].as_u64()
            == Some(event["class_uid"].as_u64().unwrap() * 100 + event["activity_id"].as_u64().unwrap())
    }));
    assert_eq!((&ocsf[8]["dst_endpoint"]["port"], &ocsf[8]["action_id"]), (&443.into(), &2.into()));
    let otlp = lines("otlp");
    let record = &otlp[2]["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
    assert_eq!((&record["traceId"], &record["severityText"]), (&"ab".repeat(16).into(), &"WARN".into()));
    assert!(record["attributes"].as_array().unwrap().iter().any(|attribute| {
        attribute["key"] == "guard.rule" && attribute["value"]["stringValue"] == "keys"
    }));
}
