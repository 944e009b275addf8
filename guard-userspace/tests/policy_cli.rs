//! `guard policy …` as a person or a script meets it: output and exit codes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn guard(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_guard")).arg("policy").args(args).current_dir(root()).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(args: &[&str]) -> serde_json::Value {
    serde_json::from_str(&out(&guard(args))).unwrap()
}

const EXAMPLE: &str = "policies/examples/coding-agent.yaml";

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The example with some of its text replaced.
    fn changed(&self, name: &str, changes: &[(&str, &str)]) -> String {
        let mut text = std::fs::read_to_string(root().join(EXAMPLE)).unwrap();
        for (from, to) in changes {
            assert!(text.contains(from), "{from} is not in the example");
            text = text.replace(from, to);
        }
        self.file(name, &text)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[test]
fn exit_codes_say_how_it_ended() {
    let scratch = Scratch::new("exit");
    let bad = scratch.file("bad.yaml", "version: 1\n");
    for (args, code) in [
        (&["check", "--no-host", EXAMPLE][..], 0),
        (&["check", "--no-host", "--strict", EXAMPLE], 0),
        (&["check", "--no-host", "--strict", "policies/examples/boundary.yaml"], 1),
        (&["check", &bad], 1),
        (&["check", "/no/such/file"], 3),
        (&["check"], 2),
        (&["test", EXAMPLE], 0),
        (&["test", &bad], 1),
        (&["explain", EXAMPLE, "--read", "/x"], 0),
        (&["explain", EXAMPLE, "--read", "x"], 2),
        (&["explain", EXAMPLE, "--read", "/x", "--profile", "none"], 2),
        (&["explain", EXAMPLE, "--read", "/x", "--write", "/x"], 2),
        (&["explain", EXAMPLE], 2),
        (&["explain", &bad, "--read", "/x"], 1),
        (&["diff", EXAMPLE, EXAMPLE], 0),
        (&["diff", EXAMPLE, &bad], 1),
        (&["fmt", "--check", EXAMPLE], 0),
        (&["schema"], 0),
    ] {
        let output = guard(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{}{}", out(&output), err(&output));
        assert!(
            !out(&output).contains('\x1b') && !err(&output).contains('\x1b'),
            "colour without a terminal"
        );
    }
}

#[test]
fn a_failed_test_says_what_was_asked_expected_and_answered() {
    let scratch = Scratch::new("failed");
    let file = scratch.changed("x.yaml", &[("expect: escalate", "expect: block")]);
    let output = guard(&["test", &file]);
    assert_eq!(output.status.code(), Some(1));
    let shown = out(&output);
    for wanted in [
        "FAILED pushes ask",
        "asked    exec /usr/bin/git push origin",
        "expected block",
        "got      escalate by rule `push-needs-human`",
        "1 passed, 1 failed",
    ] {
        assert!(shown.contains(wanted), "{wanted:?} is not in\n{shown}");
    }
    let shown = json(&["test", "--json", &file]);
    assert_eq!((shown["passed"].as_u64(), shown["failed"].as_u64()), (Some(1), Some(1)));
    assert_eq!(shown["tests"][1]["got"]["rule"], "push-needs-human");
}

#[test]
fn explain_names_the_rule_its_line_and_every_other_that_matched() {
    let shown = out(&guard(&["explain", EXAMPLE, "--exec", "/usr/bin/git", "push", "origin"]));
    assert!(shown.starts_with("ESCALATE  exec /usr/bin/git push origin\n"), "{shown}");
    for wanted in
        ["push-needs-human", "pushing leaves the host", "open a pull request", "also matches", "tools"]
    {
        assert!(shown.contains(wanted), "{wanted:?} is not in\n{shown}");
    }
    let shown = json(&["explain", EXAMPLE, "--exec", "/usr/bin/git", "--json", "--", "-C", "/x", "push"]);
    assert_eq!(shown["verdict"], "escalate");
    assert_eq!(shown["rule"]["id"], "push-needs-human");
    let text = std::fs::read_to_string(root().join(EXAMPLE)).unwrap();
    let line = text.lines().position(|line| line.contains("id: push-needs-human")).unwrap() + 1;
    assert_eq!(shown["rule"]["line"].as_u64(), Some(line as u64));
    assert_eq!(shown["matched"].as_array().unwrap().len(), 2);
    let shown = out(&guard(&["explain", EXAMPLE, "--write", "/workspace/a/.git/hooks/pre-commit"]));
    assert!(shown.contains("would match but for its except\n    allow     workspace"), "{shown}");
    let shown = json(&["explain", EXAMPLE, "--connect", "[::ffff:127.0.0.1]:18080", "--json"]);
    assert_eq!((shown["verdict"].as_str(), shown["because"].as_str()), (Some("allow"), Some("gateway")));
    let shown =
        json(&["explain", EXAMPLE, "--connect", "127.0.0.1:18080", "--profile", "no-egress", "--json"]);
    assert_eq!(shown["verdict"], "block");
}

#[test]
fn a_profile_only_takes_away() {
    let ask = |args: &[&str]| json(&[&["explain", EXAMPLE, "--json"], args].concat())["verdict"].clone();
    assert_eq!(ask(&["--write", "/workspace/x"]), "allow");
    assert_eq!(ask(&["--write", "/workspace/x", "--profile", "scratch"]), "block");
    assert_eq!(ask(&["--write", "/workspace/x", "--profile", "no-egress"]), "allow");
    assert_eq!(ask(&["--read", "/root/x", "--profile", "scratch"]), "block");
    assert_eq!(ask(&["--connect", "127.0.0.1:5432"]), "allow");
    assert_eq!(ask(&["--connect", "127.0.0.1:5432", "--profile", "no-egress"]), "block");
}

#[test]
fn diff_tells_classes_and_not_text() {
    let scratch = Scratch::new("diff");
    let same = scratch.changed("same.yaml", &[("reason: credentials of people", "reason: another")]);
    let output = guard(&["diff", EXAMPLE, &same]);
    assert_eq!(
        (output.status.code(), out(&output).as_str()),
        (Some(0), "no request is answered differently\n")
    );

    let laxer = scratch.changed(
        "laxer.yaml",
        &[
            ("\"127.0.0.1:5432/tcp\"", "\"127.0.0.1:5432-5433/tcp\""),
            ("args: [push]", "args: [push, origin]"),
        ],
    );
    let shown = json(&["diff", EXAMPLE, &laxer, "--json"]);
    let changes = shown["changes"].as_array().unwrap();
    let found: Vec<(&str, &str, &str)> = changes
        .iter()
        .map(|change| {
            let text = |name: &str| change[name].as_str().unwrap();
            (text("direction"), text("action"), text("example"))
        })
        .collect();
    assert_eq!(found, [("laxer", "exec", "/usr/bin/git"), ("laxer", "connect", "127.0.0.1:5433/tcp")]);
    assert_eq!(changes[0]["args"], serde_json::json!(["push"]));
    assert_eq!(shown["incomplete"], serde_json::json!([]));

    let narrower = scratch.changed(
        "narrower.yaml",
        &[("except: [\"/workspace/**/.git/hooks{,/**}\"]", "except: [\"/workspace/**/.git{,/**}\"]")],
    );
    let shown = json(&["diff", EXAMPLE, &narrower, "--json"]);
    let changes = shown["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{changes:#?}");
    assert_eq!(changes[0]["example"], "/workspace/.git");
    assert_eq!(changes[0]["direction"], "stricter");
    let shown = json(&["diff", &narrower, EXAMPLE, "--json"]);
    assert_eq!(shown["changes"][0]["direction"], "laxer");
}

/// A policy that is mostly defaults.
const SPARE: &str = "\
version: 1
policy: spare
applies_to: [{ cgroup: /agents.slice/** }]
mode: enforce
exec: { default: block, rules: [{ id: s, paths: [/w/**], verdict: sandbox, profile: one, reason: x }] }
connect: { default: block, rules: [{ id: c, to: [\"10.0.0.1:80\"], verdict: throttle, rate: 10/1h, reason: x }] }
write: { default: block }
load: { default: allow }
read: { default: allow }
profiles:
  one: { inherit: true, connect: { default: block } }
  two: { inherit: true, connect: { default: block } }
escalation: { timeout: 5m, max_pending: 3 }
";

#[test]
fn diff_tells_defaults_budgets_profiles_and_settings() {
    let scratch = Scratch::new("diff-whole");
    let old = scratch.file("old.yaml", SPARE);
    for (from, to, wanted) in [
        ("read: { default: allow }", "read: { default: block }", "stricter (1 class)\n  read"),
        ("load: { default: allow }", "load: { default: block }", "stricter (1 class)\n  load"),
        ("write: { default: block }", "write: { default: allow }", "laxer (1 class)\n  write"),
        ("exec: { default: block", "exec: { default: allow", "laxer (1 class)\n  exec"),
        (
            "rate: 10/1h",
            "rate: 20/1h",
            "throttle 10/3600s burst 10 by `c` → throttle 20/3600s burst 20 by `c`",
        ),
        ("rate: 10/1h", "rate: 10/1h, burst: 2", "stricter (1 class)\n  connect  10.0.0.1:80/tcp"),
        ("rate: 10/1h", "rate: 5/1h, burst: 20", "otherwise (1 class)\n  connect  10.0.0.1:80/tcp"),
        ("profile: one", "profile: two", "sandbox one by `s` → sandbox two by `s`"),
        ("mode: enforce", "mode: enforce\ncandidate_for: other", "candidate_for: none → other"),
        ("max_pending: 3", "max_pending: 5", "escalation max_pending: 3 → 5"),
    ] {
        assert!(SPARE.contains(from), "{from}");
        let new = scratch.file("new.yaml", &SPARE.replace(from, to));
        let output = guard(&["diff", &old, &new]);
        assert_eq!(output.status.code(), Some(1), "{from} {to}\n{}{}", out(&output), err(&output));
        assert!(out(&output).contains(wanted), "{wanted:?} is not in\n{}", out(&output));
        assert_eq!(guard(&["diff", &new, &old]).status.code(), Some(1), "{to} {from}");
    }
}

#[test]
fn what_would_govern_or_block_nothing_is_an_error() {
    let scratch = Scratch::new("void");
    for (from, to, wanted) in [
        ("/agents.slice/**", "/sys/fs/cgroup/other.slice/**", "write `/other.slice/**`"),
        ("/agents.slice/**", "/sys/fs/cgroup", "write `/agents.slice/**`"),
        ("[/w/**]", "[\"/srv/{prod/,test/}\"]", "no resolved path ends in `/`"),
        ("[/w/**]", "[\"/a/[.][.]/b\"]", "`.` and `..` never occur"),
        ("[/w/**]", "['/a/\\x2e\\x2e/b']", "`.` and `..` never occur"),
        ("10.0.0.1:80", "::1:443", "write `[::1]:443` for the port, `[::1:443]` for the address"),
        ("id: s,", "id: baseline,", "`baseline` cannot name a rule"),
        ("id: s,", "id: boundary,", "`boundary` cannot name a rule"),
    ] {
        assert!(SPARE.contains(from), "{from}");
        let file = scratch.file("void.yaml", &SPARE.replace(from, to));
        let output = guard(&["check", "--no-host", &file]);
        assert_eq!(output.status.code(), Some(1), "{to}\n{}", out(&output));
        assert!(out(&output).contains(wanted), "{wanted:?} is not in\n{}", out(&output));
    }
}

#[test]
fn hidden_files_of_a_directory_are_no_policies() {
    let scratch = Scratch::new("hidden");
    scratch.file("a.yaml", SPARE);
    std::os::unix::fs::symlink("dev@host.1:2", scratch.0.join(".#a.yaml")).unwrap();
    let output = guard(&["check", "--no-host", scratch.0.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}{}", out(&output), err(&output));
}

#[test]
fn a_profile_that_is_not_there_is_told_with_those_that_are() {
    let scratch = Scratch::new("profiles");
    let with = scratch.file("with.yaml", SPARE);
    let none = scratch.file(
        "none.yaml",
        "version: 1\npolicy: p\napplies_to: [{ cgroup: /a/** }]\nmode: enforce\nexec: { default: block }\n\
         connect: { default: block }\nwrite: { default: block }\n",
    );
    for (file, wanted) in [(&with, "it has these: one, two"), (&none, "it has none at all")] {
        let output = guard(&["explain", file, "--read", "/x", "--profile", "nope"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(err(&output).contains(wanted), "{}", err(&output));
    }
}

#[test]
fn two_files_with_one_name_are_told_apart() {
    let scratch = Scratch::new("twice");
    scratch.changed("a.yaml", &[]);
    scratch.changed("b.yaml", &[]);
    let output = guard(&["check", "--no-host", scratch.0.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        out(&output).contains("error[P042]: the policy `example-coding-agent` is also in"),
        "{}",
        out(&output)
    );
}

#[test]
fn a_symlink_in_a_rule_is_told_with_what_it_resolves_to() {
    let scratch = Scratch::new("symlink");
    let real = scratch.0.join("real");
    std::fs::create_dir(&real).unwrap();
    let link = scratch.0.join("link");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let file = scratch.changed("x.yaml", &[("/srv/prod/**", &format!("{}/**", link.display()))]);
    let shown = out(&guard(&["check", &file]));
    let real = real.canonicalize().unwrap();
    assert!(shown.contains("warning[P102]: the rule `prod-data` names"), "{shown}");
    assert!(shown.contains(&format!("write `{}/**`", real.display())), "{shown}");
}

#[test]
fn fmt_rewrites_in_place_and_keeps_the_mode_of_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = Scratch::new("fmt");
    let file = scratch.changed("x.yaml", &[("  default: allow\n", "  default:   allow\n")]);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(guard(&["fmt", "--check", &file]).status.code(), Some(1));
    assert_eq!(guard(&["fmt", &file]).status.code(), Some(0));
    let wanted = std::fs::read_to_string(root().join(EXAMPLE)).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), wanted);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(std::fs::read_dir(&scratch.0).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn the_schema_in_the_repository_is_the_generated_one() {
    let generated = out(&guard(&["schema"]));
    let path = root().join("policies/schema.json");
    if std::env::var_os("GUARD_BLESS").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(generated == committed, "run `guard policy schema > policies/schema.json`");
    let schema: serde_json::Value = serde_json::from_str(&generated).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    assert!(
        schema["properties"]["boundary"]["properties"]["allow"]["items"]["enum"].as_array().unwrap().len()
            > 40
    );
}
