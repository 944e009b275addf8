//! Every diagnostic has a file in `policies/invalid/` and, beside it, exactly what a terminal shows for it.
//! `GUARD_BLESS=1` rewrites the snapshots.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use guard_userspace::policy::check;
use guard_userspace::policy::diag::{Code, Report, Style, render};
use guard_userspace::policy::parse;

/// Codes that no file in a repository can show, and where they are shown instead.
const ELSEWHERE: &[(Code, &str)] = &[
    (Code::TooLarge, "policy_hostile.rs: a file of 100 MB"),
    (Code::DuplicatePolicy, "policy_cli.rs: it takes two files"),
    (Code::SymlinkPath, "policy_cli.rs: it depends on the host"),
];

fn invalid() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/invalid")
}

fn report(name: &str) -> Report {
    let parsed = parse::load(&invalid().join(name));
    let mut report = parsed.report;
    if let Some(policy) = &parsed.policy {
        check::advice(policy, &mut report);
        check::compiles(&Arc::new(policy.clone()), &mut report);
        if name.starts_with("p101") {
            check::host(policy, &mut report);
        }
    }
    // As if started in the repository's root, so that no path of this machine is in a snapshot.
    let mut source = (*report.source).clone();
    source.path = Path::new("policies/invalid").join(name);
    report.source = source.into();
    report
}

fn files() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(invalid())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    names.sort();
    names
}

#[test]
fn each_file_gets_the_message_beside_it() {
    let mut stale = Vec::new();
    for name in files() {
        let report = report(&name);
        let shown: Vec<String> =
            report.diagnostics.iter().map(|found| render(found, &report.source, Style::Plain)).collect();
        let shown = shown.join("\n");
        let beside = invalid().join(name.replace(".yaml", ".txt"));
        if std::env::var_os("GUARD_BLESS").is_some() {
            std::fs::write(&beside, &shown).unwrap();
        } else if std::fs::read_to_string(&beside).unwrap_or_default() != shown {
            stale.push(format!("--- {name} now shows:\n{shown}"));
        }
    }
    assert!(stale.is_empty(), "{}\nrun with GUARD_BLESS=1 if that is meant", stale.join("\n"));
}

#[test]
fn a_file_shows_the_diagnostic_it_is_named_after_and_no_other() {
    for name in files() {
        let report = report(&name);
        let codes: BTreeSet<&str> = report.diagnostics.iter().map(|found| found.code.id()).collect();
        let wanted = name[..4].to_uppercase();
        assert_eq!(codes.into_iter().collect::<Vec<_>>(), [wanted.as_str()], "{name}");
    }
}

#[test]
fn every_diagnostic_has_a_file() {
    let files = files();
    for code in Code::ALL {
        let shown = files.iter().any(|name| name[..4].to_uppercase() == code.id());
        let elsewhere = ELSEWHERE.iter().any(|(other, _)| other == code);
        assert!(
            shown != elsewhere,
            "{} ({}): in policies/invalid: {shown}, elsewhere: {elsewhere}",
            code.id(),
            code.summary()
        );
    }
}

#[test]
fn every_diagnostic_says_what_to_write_instead() {
    for name in files() {
        for found in report(&name).diagnostics {
            assert!(!found.help.is_empty(), "{name}: {found:?}");
            assert!(found.message.starts_with(|c: char| !c.is_uppercase()), "{name}: {}", found.message);
        }
    }
}
