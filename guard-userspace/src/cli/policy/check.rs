//! `guard policy check FILES`.

use std::path::PathBuf;
use std::sync::Arc;

use guard_userspace::policy::check;
use guard_userspace::policy::diag::{Severity, render};

use super::super::{Ending, term};
use super::{ending, load};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Policy files, or directories of them
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Do not look at this host's files: no warnings about paths that are missing or symlinks
    #[arg(long)]
    no_host: bool,
    /// A warning is a finding too
    #[arg(long)]
    strict: bool,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        let mut worst = Ending::Fine;
        let (mut errors, mut warnings) = (0, 0);
        let mut json = Vec::new();
        let mut text = String::new();
        let all = load(&self.files);
        for parsed in &all {
            let mut report = parsed.report.clone();
            if let Some(policy) = &parsed.policy {
                check::advice(policy, &mut report);
                check::compiles(&Arc::new(policy.clone()), &mut report);
                if !self.no_host {
                    check::host(policy, &mut report);
                }
            }
            worst = worst.max(ending(&report));
            for found in &report.diagnostics {
                match found.severity() {
                    Severity::Error => errors += 1,
                    Severity::Warning => warnings += 1,
                }
                json.push(found.json(&report.source));
                text.push_str(&render(found, &report.source, term::stdout_style()));
                text.push('\n');
            }
        }
        if self.strict && warnings > 0 {
            worst = worst.max(Ending::Finding);
        }
        if self.json {
            term::print_json(&serde_json::json!({
                "files": all.len(), "errors": errors, "warnings": warnings, "findings": json,
            }))?;
        } else {
            text.push_str(&format!(
                "{} checked: {}, {}\n",
                term::count(all.len(), "file"),
                term::count(errors, "error"),
                term::count(warnings, "warning")
            ));
            term::print(&text)?;
        }
        Ok(worst)
    }
}
