//! For build servers: JUnit's XML.

use std::fmt::Write as _;

use super::escaped;
use crate::drill::engine::{Report, Status};

pub fn junit(report: &Report) -> String {
    let summary = report.summary;
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuite name=\"guard drill\" hostname=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" errors=\"0\" time=\"{:.3}\">",
        escaped(&report.host),
        report.drills.len(),
        summary.gap,
        summary.skipped + summary.not_covered,
        report.milliseconds as f64 / 1000.0,
    );
    for drill in &report.drills {
        let _ = write!(
            out,
            "  <testcase classname=\"{}\" name=\"{}: {}\"",
            escaped(&drill.group),
            escaped(&drill.id),
            escaped(&drill.name)
        );
        let why = escaped(&drill.why.join("\n"));
        match drill.status {
            Status::Green => out.push_str("/>\n"),
            Status::Gap => {
                let hooks = escaped(&drill.hooks.join(", "));
                let _ = writeln!(
                    out,
                    "><failure message=\"gap; should have been seen by {hooks}\">{why}</failure></testcase>"
                );
            }
            Status::Skipped => {
                let _ = writeln!(out, "><skipped message=\"{why}\"/></testcase>");
            }
            Status::NotCovered => {
                let _ = writeln!(out, "><skipped message=\"not covered: {why}\"/></testcase>");
            }
        }
    }
    out.push_str("</testsuite>\n");
    out
}
