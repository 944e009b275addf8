//! A plan from policy text to the answer of the arena.

use std::path::Path;
use std::sync::Arc;

use guard_common::abi::{Action, Verdict};
use guard_common::limits::ARENA_WORDS;
use guard_common::table::{self, DomainFlags};
use guard_userspace::compile::explain::{Cause, Compiled, Question};
use guard_userspace::compile::{Compiler, Error, IdMap, Plan, compile};
use guard_userspace::policy::decide::{Decider as _, Why};
use guard_userspace::policy::model::{Policy, Proto, Request};
use guard_userspace::policy::source::Source;
use guard_userspace::policy::{parse, testing};

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

fn read(path: &str) -> Question {
    Question { action: Action::Read, bytes: path.as_bytes().to_vec(), args: None }
}

#[test]
fn the_example_policy_passes_its_own_tests() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/examples/coding-agent.yaml");
    let policy = policy(&std::fs::read_to_string(path).unwrap());
    let compiled = Compiled::new(&policy).unwrap();
    let outcomes = testing::run(&policy, &compiled);
    assert!(!outcomes.is_empty());
    for outcome in outcomes {
        assert!(outcome.passed, "{}: {:?}", outcome.test.name.value, outcome.decision);
    }
}

#[test]
fn the_same_policies_make_the_same_plan_byte_for_byte() {
    let texts = [
        named("b", "/b/**", ""),
        named(
            "a",
            "/a/**",
            "read: {default: allow, rules: [{id: r, paths: [\"/x/*\"], verdict: block, reason: x}]}",
        ),
    ];
    let forward = plan(&[&texts[0], &texts[1]]);
    let backward = plan(&[&texts[1], &texts[0]]);
    assert_eq!(forward.arena.len(), ARENA_WORDS as usize);
    assert_eq!(forward.arena, backward.arena);
    assert_eq!(forward.ids, backward.ids);
    assert_eq!(forward.arena[table::AT_MAGIC as usize], table::MAGIC);
}

#[test]
fn what_is_compiled_after_other_policies_is_what_it_is_alone() {
    let path = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/examples").join(name);
    let shipped = std::fs::read_to_string(path("coding-agent.yaml")).unwrap();
    let other = named(
        "other",
        "/other/**",
        "read: {default: allow, rules: [{id: r, paths: [/x], verdict: block, reason: x}]}",
    );
    let changed = other.replace("[/x]", "[/x, /y]");
    let tighter = shipped.replacen("verdict: allow", "verdict: escalate", 1);
    assert_ne!(tighter, shipped);
    let compiler = Compiler::default();
    let sets = [
        vec![&shipped, &other],
        vec![&shipped, &changed],
        vec![&tighter, &changed],
        vec![&shipped],
        vec![&shipped, &other],
    ];
    for texts in sets {
        let policies: Vec<_> = texts.iter().map(|text| policy(text)).collect();
        let after = compiler.compile(&policies, &IdMap::default(), 1).unwrap();
        let alone = compile(&policies, &IdMap::default(), 1).unwrap();
        assert!(after.arena == alone.arena && after.sha256 == alone.sha256);
        for (after, alone) in after.units.iter().zip(&alone.units) {
            assert_eq!((after.naming, &after.budgets), (alone.naming, &alone.budgets), "{}", alone.name());
        }
    }
}

#[test]
fn a_cgroup_is_governed_by_every_policy_that_selects_it_or_something_above_it() {
    let plan = plan(&[&named("a", "/agents/*", ""), &named("b", "/**/x.service", "")]);
    let names = |cgroup: &str| {
        plan.domain(plan.domain_of(cgroup.as_bytes())).map(|domain| plan.names(domain).join(" "))
    };
    assert_eq!(names("/agents"), None);
    assert_eq!(names("/agents/one").as_deref(), Some("a"));
    assert_eq!(names("/agents/one/deep/down").as_deref(), Some("a"));
    assert_eq!(names("/agents/one/x.service/inner").as_deref(), Some("a b"));
    assert_eq!(names("/x.service").as_deref(), Some("b"));
    assert_eq!(names("/x.services"), None);
}

#[test]
fn domains_keep_their_ids_and_never_take_anothers() {
    let (a, b) = (policy(&named("a", "/a/**", "")), policy(&named("b", "/b/**", "")));
    let both = compile(&[a.clone(), b.clone()], &IdMap::default(), 1).unwrap();
    let id = both.domain_of(b"/b/x");
    let without = compile(&[b], &both.ids, 2).unwrap();
    assert_eq!(without.domain_of(b"/b/x"), id);
    assert_eq!(without.domain_of(b"/a/x"), 0);
    let c = policy(&named("c", "/c/**", ""));
    let with_new = compile(&[c], &without.ids, 3).unwrap();
    let new = with_new.domain_of(b"/c/x");
    assert!(new != 0 && new != both.domain_of(b"/a/x") && new != id);
}

#[test]
fn five_policies_on_one_cgroup_are_refused_by_name() {
    let policies: Vec<_> =
        ["a", "b", "c", "d", "e"].iter().map(|name| policy(&named(name, "/x/**", ""))).collect();
    let error = compile(&policies, &IdMap::default(), 1).unwrap_err();
    let Error::Crowded { policies, cgroup, .. } = error else { panic!("{error}") };
    assert_eq!(policies, ["a", "b", "c", "d", "e"]);
    assert!(cgroup.starts_with("/x/"), "{cgroup}");
}

const PROFILES: &str = r#"
profiles:
  shut: {inherit: true, gateway: [], connect: {default: block}}
  shy: {inherit: true, read: {default: allow, rules: [{id: shy-reads, paths: ["/b/**"], verdict: block, reason: x}]}}
read:
  default: allow
  rules:
    - {id: to-shut, paths: ["/a/**"], verdict: sandbox, profile: shut, reason: x}
    - {id: to-shy, paths: ["/c/**"], verdict: sandbox, profile: shy, reason: x}
gateway: ["127.0.0.1:18080"]
"#;

#[test]
fn a_sandbox_leads_to_a_domain_that_is_only_stricter() {
    let plan = plan(&[&named("p", "/p/**", PROFILES)]);
    let outside = plan.domain_of(b"/p/x");
    let decision = plan.decide(outside, &read("/a/secret"));
    assert_eq!((decision.verdict(), decision.answer.profile()), (Verdict::Sandbox, 1));
    let shut = table::derived(plan.arena.as_slice(), outside, 0, 1);
    assert_eq!(plan.names(plan.domain(shut).unwrap()), ["p", "p/shut"]);
    let gateway =
        Question::from(&Request::Connect { to: "127.0.0.1:18080".parse().unwrap(), proto: Proto::Tcp });
    assert_eq!(plan.decide(outside, &gateway).verdict(), Verdict::Allow);
    assert_eq!(plan.decide(shut, &gateway).verdict(), Verdict::Block);
    // The same sandbox again changes nothing, the other one adds to it.
    assert_eq!(table::derived(plan.arena.as_slice(), shut, 0, 1), shut);
    let both = table::derived(plan.arena.as_slice(), shut, 0, 2);
    assert_eq!(plan.names(plan.domain(both).unwrap()), ["p", "p/shut", "p/shy"]);
    assert_eq!(plan.decide(both, &read("/b/x")).verdict(), Verdict::Block);
    assert_eq!(plan.decide(both, &gateway).verdict(), Verdict::Block);
}

#[test]
fn a_throttles_answer_finds_its_budget() {
    let rest = "read: {default: allow, rules: [{id: t, paths: [\"/t/*\"], verdict: throttle, rate: 600/1h, burst: 600, reason: x}]}";
    let plan = plan(&[&named("p", "/p/**", rest)]);
    let domain = plan.domain_of(b"/p/x");
    let decision = plan.decide(domain, &read("/t/x"));
    let budget = table::budget(plan.arena.as_slice(), domain, u32::from(decision.policy), decision.answer);
    assert_eq!((budget.interval, budget.burst), (6_000_000_000, 3_600_000_000_000));
}

#[test]
fn guards_own_files_are_out_of_reach_but_not_the_socket_for_asking_why() {
    let text = "version: 1\npolicy: open\napplies_to: [{cgroup: \"/x/**\"}]\nexec: {default: allow}\nconnect: {default: block}\nwrite: {default: allow, rules: [{id: all, paths: [\"/**\"], verdict: allow}]}\n";
    let compiled = Compiled::new(&policy(text)).unwrap();
    for path in [
        "/etc/guard/policies/a.yaml",
        "/sys/fs/bpf/guard/links",
        "/proc/sys/kernel/ftrace_enabled",
        "/boot/vmlinuz",
    ] {
        let decision = compiled.decide(&Request::Write(path.into()), None);
        assert_eq!(decision.verdict, Verdict::Block, "{path}");
        assert!(matches!(decision.why, Why::Baseline(_)), "{path}: {:?}", decision.why);
    }
    let connect = |name: &str| compiled.decide(&Request::ConnectUnix(name.into()), None).verdict;
    assert_eq!(connect("/run/guard/why.sock"), Verdict::Allow);
    assert_eq!(connect("/run/guard/control.sock"), Verdict::Block);
}

#[test]
fn the_socket_for_asking_why_is_open_whatever_rules_profiles_and_other_policies_say() {
    let all = |id: &str| format!("[{{id: {id}, unix: [\"/**\"], verdict: block, reason: x}}]");
    let text = |name: &str, cgroup: &str| {
        format!(
            "version: 1\npolicy: {name}\napplies_to: [{{cgroup: \"{cgroup}\"}}]\nexec: {{default: allow}}\nconnect: {{default: block, rules: {}}}\nwrite: {{default: allow}}\nread: {{default: allow, rules: [{{id: to-mute, paths: [/mute], verdict: sandbox, profile: mute, reason: x}}]}}\nprofiles: {{mute: {{inherit: true, connect: {{default: block, rules: {}}}}}}}\n",
            all("one"),
            all("two")
        )
    };
    let (a, b) = (text("a", "/a/**"), text("b", "/a/b/**"));
    let plan = plan(&[&a, &b]);
    let connect = |domain: u32, path: &str| {
        let question = Question { action: Action::Connect, bytes: path.into(), args: None };
        let decision = plan.decide(domain, &question);
        (decision.verdict(), plan.cause(domain, &decision, &question))
    };
    let mut domains = vec![plan.domain_of(b"/a/x"), plan.domain_of(b"/a/b/x")];
    let joined = ["a".to_owned(), "a/mute".to_owned()];
    domains.push(plan.ids.get(&joined).expect("a domain for the profile"));
    for domain in domains {
        assert!(domain != 0);
        assert!(matches!(connect(domain, "/run/guard/why.sock"), (Verdict::Allow, Cause::WhySocket)));
        for path in ["/run/guard/control.sock", "/run/guard/why.sock/x", "/run/guard/why.soc", "/run/other"] {
            assert_eq!(connect(domain, path).0, Verdict::Block, "{path}");
        }
        let write = Question { action: Action::Write, bytes: b"/run/guard/why.sock".into(), args: None };
        assert_eq!(plan.decide(domain, &write).verdict(), Verdict::Block);
    }
}

#[test]
fn shadow_is_told_and_not_enforced() {
    let rest = "read: {default: allow, rules: [{id: s, paths: [\"/s/**\"], verdict: block, shadow: true, reason: x}]}";
    let plan = plan(&[&named("p", "/p/**", rest), &named("q", "/q/**", "mode: shadow")]);
    let p = plan.domain_of(b"/p/x");
    let question = read("/s/x");
    let decision = plan.decide(p, &question);
    assert_eq!((decision.verdict(), decision.shadow_verdict()), (Verdict::Allow, Some(Verdict::Block)));
    let Cause::Rule { rule, .. } = plan.shadow_cause(p, &decision, &question) else { panic!() };
    assert_eq!(rule.id.value, "s");
    let q = plan.domain_of(b"/q/x");
    let decision = plan.decide(q, &Question { action: Action::Write, bytes: b"/x".to_vec(), args: None });
    assert_eq!((decision.verdict(), decision.shadow_verdict()), (Verdict::Allow, Some(Verdict::Block)));
    let flags = |id| DomainFlags(plan.arena[table::domain_at(id) as usize]);
    assert!(flags(q).has(DomainFlags::SHADOW) && !flags(p).has(DomainFlags::SHADOW));
}

/// The names of what governs a cgroup.
fn governs(plan: &Plan, cgroup: &str) -> String {
    plan.domain(plan.domain_of(cgroup.as_bytes()))
        .map(|domain| plan.names(domain).join(" "))
        .unwrap_or_default()
}

#[test]
fn all_shipped_policies_load_together() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let policies: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| policy(&std::fs::read_to_string(path).unwrap()))
        .collect();
    assert!(policies.len() > 5, "{}", policies.len());
    let plan = compile(&policies, &IdMap::default(), 1).unwrap();
    for (cgroup, names) in [
        ("/", ""),
        ("/system.slice/sshd.service", ""),
        ("/agents.slice", ""),
        ("/agents.slice/x", "demo"),
        ("/agents.slice/claude-code.slice/run-1.scope", "claude-code demo"),
        ("/system.slice/claude-code-1.service", "claude-code"),
        ("/system.slice/claude-code-1.service/deep/down", "claude-code"),
        ("/agents.slice/ci-job7.service/x", "ci-job demo"),
        ("/user.slice/user@0.service/codex.scope/mcp-git.service/x", "codex-cli mcp-server"),
        ("/agents.slice/codex.slice/mcp-git.service/ci-job.service", "ci-job codex-cli demo mcp-server"),
    ] {
        assert_eq!(governs(&plan, cgroup), names, "{cgroup}");
    }
    // More than can be joined is blocked, there and everywhere below.
    for cgroup in ["", "/x", "/code-server-1.service"] {
        let cgroup =
            format!("/agents.slice/codex.slice/mcp-git.service/ci-job.service/sre-agent.service{cgroup}");
        let domain = plan.domain_of(cgroup.as_bytes());
        assert!(domain != 0 && plan.domain(domain).is_none(), "{cgroup}");
        assert_eq!(plan.decide(domain, &read("/etc/hostname")).verdict(), Verdict::Block);
    }
}

#[test]
fn many_units_in_each_other_are_joined_or_blocked_and_never_let_out() {
    let letters: Vec<String> = (b'a'..=b'p').map(|letter| char::from(letter).to_string()).collect();
    let texts: Vec<String> =
        letters.iter().map(|name| named(name, &format!("/**/{name}-*.service"), "")).collect();
    let plan = plan(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    let mut joined = 0;
    for a in &letters {
        for b in &letters {
            for c in &letters {
                let cgroup = format!("/x/{a}-1.service/{b}-2.service/{c}-3.service");
                let mut names = vec![a.as_str(), b, c];
                names.sort_unstable();
                names.dedup();
                let domain = plan.domain_of(cgroup.as_bytes());
                assert_ne!(domain, 0, "{cgroup}");
                match plan.domain(domain) {
                    Some(domain) => assert_eq!(plan.names(domain), names, "{cgroup}"),
                    None => assert!(names.len() > 2, "{cgroup}"),
                }
                joined += usize::from(plan.domain(domain).is_some());
            }
        }
    }
    assert!(joined > 1000, "{joined}");
}
