//! `guard policy …`: everything that can be known about a policy without a kernel.

mod check;
pub(super) mod diff;
mod explain;
mod fmt;
mod schema;
mod test;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use guard_userspace::policy::diag::{Code, Diagnostic, Report, Severity, render};
use guard_userspace::policy::model::Policy;
use guard_userspace::policy::parse::{self, Parsed};

use super::{Ending, term};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say everything that is wrong with policy files, and what to write instead
    Check(check::Args),
    /// Run the tests that policies carry
    Test(test::Args),
    /// Say what a policy answers to one request, and why
    Explain(explain::Args),
    /// Say which requests two versions of a policy answer differently
    Diff(diff::Args),
    /// Write policy files in their canonical form
    Fmt(fmt::Args),
    /// Print the JSON Schema of the policy language, for editors
    Schema(schema::Args),
}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        match self {
            Self::Check(args) => args.run(),
            Self::Test(args) => args.run(),
            Self::Explain(args) => args.run(),
            Self::Diff(args) => args.run(),
            Self::Fmt(args) => args.run(),
            Self::Schema(args) => args.run(),
        }
    }
}

/// Policy files as given: a directory stands for the `*.yaml` and `*.yml` in it, but for the hidden ones, which editors
/// leave there.
fn files(given: &[PathBuf]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in given {
        let Ok(entries) = std::fs::read_dir(path) else {
            files.push(path.clone());
            continue;
        };
        let mut inside: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")))
            .filter(|path| {
                path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
            })
            .collect();
        inside.sort();
        if inside.is_empty() {
            files.push(path.clone());
        }
        files.extend(inside);
    }
    files
}

/// Parses all files; of two with one policy name, the second is told so.
fn load(paths: &[PathBuf]) -> Vec<Parsed> {
    let mut names: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut all = Vec::new();
    for path in files(paths) {
        let mut parsed = parse::load(&path);
        if let Some(policy) = &parsed.policy {
            let name = policy.name.value.clone();
            if let Some(first) = names.get(&name) {
                let message = format!("the policy `{name}` is also in {}", first.display());
                parsed.report.diagnostics.push(
                    Diagnostic::new(Code::DuplicatePolicy, policy.name.span, message)
                        .help("rename one; write `candidate_for:` if it is meant to replace the other"),
                );
            } else {
                names.insert(name, path);
            }
        }
        all.push(parsed);
    }
    all
}

/// The one policy in `path`, or its errors on standard error.
pub(super) fn load_one(path: &Path) -> Result<Policy, Ending> {
    let parsed = parse::load(path);
    match parsed.policy {
        Some(policy) => Ok(policy),
        None => {
            print_errors(&parsed.report);
            Err(ending(&parsed.report))
        }
    }
}

fn print_errors(report: &Report) {
    let style = term::stderr_style();
    for found in report.diagnostics.iter().filter(|found| found.severity() == Severity::Error) {
        eprintln!("{}", render(found, &report.source, style));
    }
}

/// Unreadable is "cannot", anything else wrong is a finding.
fn ending(report: &Report) -> Ending {
    let unreadable = |found: &Diagnostic| matches!(found.code, Code::Unreadable | Code::NotAFile);
    if report.diagnostics.iter().any(unreadable) {
        Ending::Cannot
    } else if report.has_errors() {
        Ending::Finding
    } else {
        Ending::Fine
    }
}
