//! For people at a terminal: 100 columns, gaps last and whole.

use std::fmt::Write as _;

use crate::drill::catalogue;
use crate::drill::engine::{Outcome, Report, Status};

const WIDTH: usize = 100;

/// The report.
pub fn text(report: &Report, colour: bool) -> String {
    let mut out = String::new();
    let mut groups: Vec<&str> = Vec::new();
    for drill in &report.drills {
        if groups.last() != Some(&drill.group.as_str()) {
            groups.push(&drill.group);
        }
    }
    for group in groups {
        let drills: Vec<&Outcome> = report.drills.iter().filter(|drill| drill.group == group).collect();
        let count = |status| drills.iter().filter(|drill| drill.status == status).count();
        let mut counts = Vec::new();
        for status in [Status::Green, Status::Gap, Status::Skipped, Status::NotCovered] {
            if count(status) > 0 {
                counts.push(format!("{} {}", count(status), status.name()));
            }
        }
        let _ = writeln!(out, "{:40} {}", group, counts.join(", "));
        for drill in drills {
            line(&mut out, drill, colour);
        }
        out.push('\n');
    }
    for drill in report.drills.iter().filter(|drill| drill.status == Status::Gap) {
        gap(&mut out, drill);
    }
    totals(&mut out, report);
    out
}

fn line(out: &mut String, drill: &Outcome, colour: bool) {
    let (mark, code) = match drill.status {
        Status::Green => ("green  ", "32"),
        Status::Gap => ("GAP    ", "1;31"),
        Status::Skipped => ("skipped", "33"),
        Status::NotCovered => ("open   ", "33"),
    };
    let mark = if colour { format!("\x1b[{code}m{mark}\x1b[0m") } else { mark.to_owned() };
    let name = cut(&drill.name, WIDTH - 10 - 32);
    let _ = writeln!(out, "  {mark} {:31} {name}", drill.id);
    if matches!(drill.status, Status::Skipped | Status::NotCovered) {
        for part in wrapped(&drill.why.join("; "), WIDTH - 10) {
            let _ = writeln!(out, "          {part}");
        }
    }
}

fn gap(out: &mut String, drill: &Outcome) {
    let _ = writeln!(out, "GAP {}: {}", drill.id, drill.name);
    for why in drill.why.iter().take(6) {
        for part in wrapped(why, WIDTH - 4) {
            let _ = writeln!(out, "    {part}");
        }
    }
    if drill.why.len() > 6 {
        let _ = writeln!(out, "    and {} more", drill.why.len() - 6);
    }
    if !drill.hooks.is_empty() {
        let _ = writeln!(out, "    should have been seen by: {}", drill.hooks.join(", "));
    }
    out.push('\n');
}

fn totals(out: &mut String, report: &Report) {
    let summary = report.summary;
    let _ = writeln!(
        out,
        "{} green, {} gap, {} skipped, {} not covered; {} attempts in {:.1} s",
        summary.green,
        summary.gap,
        summary.skipped,
        summary.not_covered,
        report.attempts,
        report.milliseconds as f64 / 1000.0,
    );
    let _ = writeln!(
        out,
        "{} on Linux {}, guard {}, generation {}",
        report.host, report.kernel, report.version, report.generation
    );
    if let Some(chaos) = report.chaos {
        let meanwhile = format!(
            "meanwhile: {} kills of the daemon, {} reloads, {} jumps of the clock, {} full disks, {} records lost, \
             {} times hardly any memory",
            chaos.kills, chaos.reloads, chaos.clock_jumps, chaos.full_disks, chaos.floods, chaos.tight_memory,
        );
        for part in wrapped(&meanwhile, WIDTH) {
            let _ = writeln!(out, "{part}");
        }
    }
    for reason in &report.reasons {
        for part in wrapped(&format!("status: {reason}"), WIDTH) {
            let _ = writeln!(out, "{part}");
        }
    }
}

/// Everything there is, by group.
pub fn list() -> String {
    let mut out = String::new();
    for group in catalogue::GROUPS {
        let _ = writeln!(out, "{}", group.name);
        for drill in group.drills {
            let _ = writeln!(out, "  {:38} {}", drill.name, cut(drill.says, WIDTH - 41));
        }
        out.push('\n');
    }
    let _ = writeln!(out, "Not covered");
    for residual in catalogue::RESIDUAL {
        let _ = writeln!(out, "  {:38} {}", residual.name, cut(residual.says, WIDTH - 41));
    }
    out
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_the_list_is_wider_than_a_screen() {
        for line in list().lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }

    #[test]
    fn long_words_are_wrapped_between_and_never_lost() {
        let text = "one two three four";
        assert_eq!(wrapped(text, 9), ["one two", "three", "four"]);
        assert_eq!(wrapped(text, 3).join(" "), text);
    }
}
