//! For an auditor: one page that needs nothing else.

use std::fmt::Write as _;

use super::escaped;
use crate::audit::timestamp;
use crate::drill::engine::{Outcome, Report, Status};

const STYLE: &str = include_str!("page.css");

pub fn html(report: &Report) -> String {
    let mut out = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    let _ = writeln!(out, "<title>guard drill: {}</title>", escaped(&report.host));
    let _ = writeln!(out, "<style>\n{STYLE}</style>\n</head>\n<body>");
    head(&mut out, report);
    gaps(&mut out, report);
    let mut last = "";
    for drill in &report.drills {
        if drill.group != last {
            if !last.is_empty() {
                out.push_str("</table>\n");
            }
            last = &drill.group;
            let _ = writeln!(out, "<h2>{}</h2>", escaped(last));
            out.push_str("<table>\n<tr><th>Result</th><th>What is true when it is green</th><th>Seen by</th><th>Expected record</th><th>Tried as</th><th>Tags</th></tr>\n");
        }
        row(&mut out, drill);
    }
    out.push_str("</table>\n");
    out.push_str(FOOT);
    out.push_str("</body>\n</html>\n");
    out
}

fn head(out: &mut String, report: &Report) {
    let summary = report.summary;
    let (class, verdict) = if summary.gap > 0 {
        ("gap", format!("{} of the attempts found a gap", summary.gap))
    } else if !report.enforcing {
        ("gap", "guard does not enforce everything it promised".to_owned())
    } else {
        ("green", "No gap was found".to_owned())
    };
    let _ =
        writeln!(out, "<header class=\"{class}\">\n<h1>guard drill</h1>\n<p class=\"verdict\">{verdict}</p>");
    let _ = writeln!(
        out,
        "<p class=\"counts\"><b class=\"green\">{}</b> green <b class=\"gap\">{}</b> gap <b class=\"skipped\">{}</b> skipped <b class=\"open\">{}</b> not covered</p>",
        summary.green, summary.gap, summary.skipped, summary.not_covered
    );
    out.push_str("</header>\n<dl>\n");
    let facts = [
        ("Host", report.host.clone()),
        ("Kernel", format!("Linux {}", report.kernel)),
        ("guard", report.version.to_owned()),
        ("Time", timestamp(report.time.saturating_mul(1_000_000_000))),
        ("Policies", format!("generation {}, sha256 {}", report.generation, report.policy_sha256)),
        ("Profile", format!("{:?}", report.profile).to_lowercase()),
        (
            "Attempts",
            format!("{} in {:.1} s, controls included", report.attempts, report.milliseconds as f64 / 1000.0),
        ),
    ];
    for (name, value) in facts {
        let _ = writeln!(out, "<dt>{name}</dt><dd>{}</dd>", escaped(&value));
    }
    for reason in &report.reasons {
        let _ = writeln!(out, "<dt>Status</dt><dd class=\"gap\">{}</dd>", escaped(reason));
    }
    out.push_str("</dl>\n");
}

fn gaps(out: &mut String, report: &Report) {
    let mut gaps = report.drills.iter().filter(|drill| drill.status == Status::Gap).peekable();
    if gaps.peek().is_none() {
        return;
    }
    out.push_str("<section class=\"gaps\">\n<h2>Gaps</h2>\n");
    for drill in gaps {
        let _ = writeln!(out, "<h3>{} <code>{}</code></h3>\n<ul>", escaped(&drill.name), escaped(&drill.id));
        for why in &drill.why {
            let _ = writeln!(out, "<li>{}</li>", escaped(why));
        }
        let _ = writeln!(out, "</ul>\n<p>Should have been seen by: {}</p>", escaped(&drill.hooks.join(", ")));
    }
    out.push_str("</section>\n");
}

fn row(out: &mut String, drill: &Outcome) {
    let class = match drill.status {
        Status::Green => "green",
        Status::Gap => "gap",
        Status::Skipped => "skipped",
        Status::NotCovered => "open",
    };
    let why = match drill.status {
        Status::Green | Status::Gap => String::new(),
        Status::Skipped | Status::NotCovered => {
            format!("<div class=\"why\">{}</div>", escaped(&drill.why.join("; ")))
        }
    };
    let mut tried: Vec<String> = Vec::new();
    for arm in drill.arms.iter().filter(|arm| arm.inside) {
        tried.push(format!("{} {}", arm.tier.name(), arm.way.name()));
    }
    let record: Vec<String> = drill.record.iter().map(ToString::to_string).collect();
    let tags = [&drill.attack, &drill.owasp, &drill.cve].map(|list| list.join(" ")).join(" ");
    let _ = writeln!(
        out,
        "<tr class=\"{class}\"><td>{}</td><td>{}<br><code>{}</code>{why}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
        drill.status.name(),
        escaped(&drill.name),
        escaped(&drill.id),
        escaped(&drill.hooks.join(", ")),
        escaped(&record.join(" or ")),
        escaped(&tried.join(", ")),
        escaped(tags.trim()),
    );
}

const FOOT: &str = "<footer>
<p>A drill is green only if the same technique worked outside every domain as a control, nothing came of it inside as
seen from outside, the error was the expected one and the audit log holds the expected record. Skipped drills name what
this host lacks. What is not covered is listed with its reason and is never a pass. This result is recorded in the audit
log under the sha256 of its JSON form; <code>guard audit verify</code> checks the log.</p>
</footer>
";
