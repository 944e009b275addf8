//! The policies that come with guard keep what they promise.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use guard_userspace::compile::explain::Compiled;
use guard_userspace::policy::decide::{Decider as _, Plain, Why};
use guard_userspace::policy::diag::Code;
use guard_userspace::policy::model::{Effect, Policy, Rule, SECTIONS, Verdict};
use guard_userspace::policy::{check, parse, testing};

const SHIPPED: [&str; 8] = [
    "ci-job.yaml",
    "claude-code.yaml",
    "codex-cli.yaml",
    "coding-agent.yaml",
    "cursor-vscode.yaml",
    "mcp-server.yaml",
    "research-agent.yaml",
    "sre-agent.yaml",
];

fn policies() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies")
}

/// The policy, and the codes of its warnings.
fn load(path: &Path) -> (Arc<Policy>, Vec<Code>) {
    let mut parsed = parse::load(path);
    assert!(parsed.policy.is_some(), "{}: {:?}", path.display(), parsed.report.diagnostics);
    let policy = Arc::new(parsed.policy.unwrap());
    check::advice(&policy, &mut parsed.report);
    check::compiles(&policy, &mut parsed.report);
    (policy, parsed.report.diagnostics.iter().map(|found| found.code).collect())
}

fn examples() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(policies().join("examples")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
    files.sort();
    files
}

fn rules(policy: &Policy) -> impl Iterator<Item = &Rule> {
    let profiles = policy.profiles.iter().map(|profile| &profile.sections);
    std::iter::once(&policy.sections)
        .chain(profiles)
        .flat_map(|s| s.iter())
        .flat_map(|(_, section)| &section.rules)
}

/// Runs the tests as the kernel would answer, and rule by rule: the two part only where the baseline speaks.
fn tests_pass(policy: &Arc<Policy>) {
    let compiled = Compiled::new(policy).unwrap();
    for outcome in testing::run(policy, &compiled) {
        assert!(outcome.passed, "{}: {}: {:?}", policy.name.value, outcome.test.name.value, outcome.decision);
        let profile = outcome.test.profile.as_ref().map(|profile| profile.as_str());
        let plain = Plain(policy).decide(&outcome.test.request, profile);
        if !matches!(outcome.decision.why, Why::Baseline(_)) {
            assert_eq!(plain.verdict, outcome.decision.verdict, "{}", outcome.test.name.value);
        }
    }
}

#[test]
fn shipped_policies_pass_their_own_tests_of_which_there_are_enough() {
    for name in SHIPPED {
        let (policy, warnings) = load(&policies().join(name));
        assert_eq!(warnings, [], "{name}");
        assert!(policy.tests.len() >= 8, "{name} has {} tests", policy.tests.len());
        tests_pass(&policy);
        let strict = policy.tests.iter().filter(|test| test.expect.value > Verdict::Allow).count();
        assert!(strict >= 4, "{name} hardly tests that anything is refused");
    }
}

#[test]
fn shipped_policies_say_who_they_are_for_and_why_they_refuse() {
    for name in SHIPPED {
        let (policy, _) = load(&policies().join(name));
        let text = &policy.source.text;
        assert!(text.starts_with("# yaml-language-server: $schema=schema.json\n# For "), "{name}");
        for rule in rules(&policy).filter(|rule| rule.effect.value != Effect::Allow) {
            assert!(rule.reason.is_some(), "{name}: {}", rule.id.value);
        }
    }
}

#[test]
fn no_shipped_policy_lets_an_agent_at_its_guard_rails_or_at_credentials() {
    let everywhere = [
        "write /home/dev/.bashrc",
        "write /home/dev/.ssh/authorized_keys",
        "write /workspace/shop/.git/hooks/pre-commit",
        "write /workspace/shop/.git/hooks",
        "write /workspace/shop/.git/config",
        "write /workspace/shop/.claude/settings.json",
        "write /workspace/shop/.claude",
        "write /workspace/shop/.codex/config.toml",
        "write /workspace/shop/.vscode/tasks.json",
        "write /home/dev/.claude/settings.json",
        "write /home/dev/.codex/config.toml",
        "write /etc/guard/policies/x.yaml",
        "write /sys/fs/cgroup/cgroup.procs",
        "write /proc/sys/kernel/ftrace_enabled",
        "read /home/dev/.ssh/id_ed25519",
        "read /home/dev/.aws/credentials",
        "read /home/dev/.kube/config",
        "read /root/.ssh/id_rsa",
        "connect /run/docker.sock",
        "connect /run/dbus/system_bus_socket",
        "connect /run/user/1000/bus",
        "connect /run/guard/control.sock",
        "connect 169.254.169.254:80",
        "connect [fd00:ec2::254]:80",
        "connect 127.0.0.1:22",
        "connect 1.1.1.1:53/udp",
        "exec /usr/bin/sudo",
        "exec /usr/bin/systemd-run",
        "exec /usr/bin/nsenter",
        "exec /usr/bin/docker",
        "exec /tmp/payload",
        "exec /memfd:x (deleted)",
        "load /tmp/payload.so",
        "load /dev/shm/payload.so",
        "listen 22/tcp",
    ];
    for name in SHIPPED {
        let (policy, _) = load(&policies().join(name));
        let compiled = Compiled::new(&policy).unwrap();
        for line in everywhere {
            let (action, object) = line.split_once(' ').unwrap();
            // The generic policy and those of one agent know their own settings; another's are another's.
            let other_agents =
                ["claude", "codex", "vscode"].iter().any(|agent| object.contains(&format!(".{agent}")));
            if other_agents && object.starts_with("/workspace") && name != "coding-agent.yaml" {
                continue;
            }
            let action = SECTIONS.into_iter().find(|section| section.name() == action).unwrap();
            let request = parse::request(action, &[object.to_owned()]).unwrap();
            let decision = compiled.decide(&request, None);
            assert!(decision.verdict >= Verdict::Escalate, "{name} answers {line} with {decision:?}");
        }
    }
}

#[test]
fn every_kind_of_rule_has_an_example_that_passes_its_tests() {
    let mut shown = BTreeSet::new();
    for path in examples() {
        let (policy, warnings) = load(&path);
        assert!(policy.tests.len() >= 2, "{}", path.display());
        tests_pass(&policy);
        let about_boundary = policy.boundary.allow.len();
        assert_eq!(warnings, vec![Code::BoundaryOpened; about_boundary], "{}", path.display());
        shown.extend((about_boundary > 0).then_some("boundary"));
        shown.extend(policy.candidate_for.as_ref().map(|_| "candidate_for"));
        shown.extend((!policy.gateway.is_empty()).then_some("gateway"));
        shown.extend(policy.profiles.iter().map(|_| "profiles"));
        shown.extend(policy.limits.max_memory.as_ref().map(|_| "limits"));
        shown.extend(policy.escalation.timeout.as_ref().map(|_| "escalation"));
        shown.extend(
            policy.sections.iter().filter(|(_, s)| !s.rules.is_empty()).map(|(action, _)| action.name()),
        );
        for rule in rules(&policy) {
            shown.insert(rule.effect.verdict().name());
            shown.extend((!rule.args.is_empty()).then_some("args"));
            shown.extend((!rule.except.is_empty()).then_some("except"));
            shown.extend((!rule.unix.is_empty()).then_some("unix"));
            shown.extend(rule.shadow.then_some("shadow"));
        }
    }
    let kinds = SECTIONS
        .map(|action| action.name())
        .into_iter()
        .chain(Verdict::ALL.iter().map(|verdict| verdict.name()));
    let others = [
        "boundary",
        "candidate_for",
        "gateway",
        "profiles",
        "limits",
        "escalation",
        "args",
        "except",
        "unix",
        "shadow",
    ];
    let missing: Vec<&str> = kinds.chain(others).filter(|kind| !shown.contains(kind)).collect();
    assert_eq!(missing, [""; 0], "no example shows these");
}
