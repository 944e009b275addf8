//! `guard audit verify`.

use std::path::PathBuf;

use anyhow::Context as _;
use guard_userspace::audit::verify::{Report, verify};

use super::super::{Ending, places, term};
use super::Where;

/// Findings that are shown; one edit breaks a few lines, a damaged disk thousands.
const SHOWN: usize = 20;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code 1 if the log is not what was written; docs/audit-format.md says what is checked, \
                        and what a witness is for."
)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Where,
    /// Directory with audit.pub, genesis and head
    #[arg(long, value_name = "DIR", default_value = places::KEYS)]
    keys: PathBuf,
    /// A head that was copied away earlier: the log must still hold what it names
    #[arg(long, value_name = "FILE")]
    witness: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        let witness = match &self.witness {
            Some(path) => {
                Some(std::fs::read(path).with_context(|| format!("read the witness {}", path.display()))?)
            }
            None => None,
        };
        if !self.place.dir.exists() && !self.keys.exists() {
            anyhow::bail!(
                "there is no audit log in {}, and no keys in {}",
                self.place.dir.display(),
                self.keys.display()
            );
        }
        let report = verify(&self.place.dir, &self.keys, witness.as_deref())?;
        if self.json {
            term::print_json(&serde_json::to_value(&report)?)?;
        } else {
            term::print(&text(&report))?;
        }
        Ok(if report.is_whole() { Ending::Fine } else { Ending::Finding })
    }
}

fn text(report: &Report) -> String {
    let mut out = String::new();
    for found in report.findings.iter().take(SHOWN) {
        let place = match (found.segment, found.line) {
            (0, _) => String::new(),
            (segment, 0) => format!(" segment {segment}:"),
            (segment, line) => format!(" segment {segment} line {line}:"),
        };
        out.push_str(&format!("{:11}{place} {}\n", found.fault.name(), found.text));
    }
    if report.findings.len() > SHOWN {
        out.push_str(&format!("… and {} more\n", report.findings.len() - SHOWN));
    }
    out.push_str(if report.is_whole() { "whole" } else { "NOT WHOLE" });
    out.push_str(&format!(
        ": {} in {}, the last one is record {}\n",
        term::count(report.lines as usize, "line"),
        term::count(report.segments as usize, "segment"),
        report.last_record
    ));
    let notices = [
        (report.trimmed, "older segments trimmed, as recorded"),
        (report.unsigned, "lines behind the signed head: chained, not signed yet"),
        (report.torn, "bytes of an unfinished line at the end"),
        (report.lost_events, "events lost, as recorded"),
        (report.corrupt_events, "corrupt events"),
        (report.recoveries, "recoveries at a start"),
    ];
    for (count, what) in notices.iter().filter(|(count, _)| *count > 0) {
        out.push_str(&format!("  {count} {what}\n"));
    }
    out
}
