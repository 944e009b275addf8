//! The table: a line for each arm, a column for each operation.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::results::Results;

/// What an arm is called in the table, and what it is compared with.
pub(super) struct Row {
    pub(super) arm: &'static str,
    pub(super) over: &'static str,
    pub(super) text: &'static str,
}

const fn row(arm: &'static str, over: &'static str, text: &'static str) -> Row {
    Row { arm, over, text }
}

pub(super) const ROWS: &[Row] = &[
    row("floor", "none", "empty programs on guard's hooks"),
    row("outside", "none", "guard, task outside every domain"),
    row("inside", "none", "guard, inside, not recorded"),
    row("first", "none", "guard, inside, the first of its kind recorded"),
    row("recorded", "none", "guard, inside, every call recorded"),
    row("candidate", "none", "guard, inside, with a candidate policy"),
    row("10 rules", "none", "guard, inside, 10 rules"),
    row("500 rules", "none", "guard, inside, 500 rules"),
    row("5000 rules", "none", "guard, inside, 5,000 rules"),
    row("1000 cgroups", "none", "guard, inside, 1,000 governed cgroups"),
    row("10000 cgroups", "none", "guard, inside, 10,000 governed cgroups"),
    row("apparmor idle", "no lsm", "AppArmor, task unconfined"),
    row("apparmor", "no lsm", "AppArmor, a profile like the policy"),
    row("landlock", "no lsm", "Landlock, a sandbox like the policy"),
    row("seccomp-notify", "no lsm", "seccomp user notification, argument read"),
    row("fanotify", "no lsm", "fanotify permission events, name read"),
];

/// Operations of the table; the others are in the JSON.
const COLUMNS: &[&str] = &[
    "getpid",
    "open",
    "open, names in turn",
    "open for writing",
    "create+unlink",
    "write 4 KiB",
    "stat",
    "TCP connect",
    "UDP send",
    "UDP send, connected",
    "exec",
    "mmap",
    "mmap to execute",
    "kill(0)",
    "pipe write+read",
];

pub(super) fn markdown(results: &Results) -> String {
    let columns: Vec<&str> =
        COLUMNS.iter().copied().filter(|op| results.ops.iter().any(|known| known == op)).collect();
    let mut text = format!("Linux {}, guest instructions per operation, inline.\n\n", results.release);
    let line = |text: &mut String, name: &str, cells: Vec<String>| {
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    };
    line(&mut text, "arm", columns.iter().map(|&op| op.to_owned()).collect());
    line(&mut text, "---", columns.iter().map(|_| "---:".to_owned()).collect());
    for (arm, name) in [("none", "base: nothing loaded"), ("no lsm", "base: no security module")] {
        if results.arms.iter().any(|known| known == arm) {
            let cell = |op: &&str| {
                results.get(arm, op).map_or("–".to_owned(), |f| grouped(f.inline.cast_signed()))
            };
            line(&mut text, name, columns.iter().map(cell).collect());
        }
    }
    for row in ROWS.iter().filter(|row| results.arms.iter().any(|known| known == row.arm)) {
        let cells = columns.iter().map(|op| cell(results, row, op)).collect();
        line(&mut text, row.text, cells);
    }
    footnotes(results, &mut text);
    text
}

fn cell(results: &Results, row: &Row, op: &str) -> String {
    let (Some(this), Some(more)) = (results.get(row.arm, op), results.over(row.arm, row.over, op)) else {
        return "–".to_owned();
    };
    if this.failed > 0 {
        return "refused".to_owned();
    }
    let base = this.inline.cast_signed() - more;
    let sign = if more < 0 { "−" } else { "+" };
    format!("{sign}{} ({:.2}×)", grouped(more.abs()), this.inline as f64 / base.max(1) as f64)
}

fn footnotes(results: &Results, text: &mut String) {
    let _ = writeln!(text);
    for (arm, what) in [
        ("recorded", "of guard's daemon, chain and disk included, over what it does when idle"),
        ("seccomp-notify", "of the process that answers"),
        ("fanotify", "of the process that answers"),
    ] {
        if let Some(figure) = results.get(arm, "open") {
            let _ = writeln!(
                text,
                "- {arm}: an open costs {} more {what}; {} pass until it is over.",
                grouped(figure.daemon.cast_signed()),
                grouped(figure.elapsed.cast_signed())
            );
        }
    }
    if let Some(start) = results.start {
        let _ = writeln!(
            text,
            "- From the daemon's start to enforcing: {} instructions.",
            grouped(start.cast_signed())
        );
    }
    if !results.verified.is_empty() {
        let all: u64 = results.verified.values().sum();
        let count = results.verified.len();
        let _ = writeln!(
            text,
            "- {count} programs; the verifier processes {} instructions.",
            grouped(all.cast_signed())
        );
    }
    if let Some(resident) = results.resident {
        let _ = writeln!(text, "- Resident memory of the daemon: {:.1} MiB.", resident as f64 / 1_048_576.0);
    }
    for (arm, reload) in &results.reloads {
        let _ = writeln!(
            text,
            "- Reload to {arm}: {} instructions until it is in force.",
            grouped(reload.cast_signed())
        );
    }
}

/// Thousands apart.
pub(super) fn grouped(number: i64) -> String {
    let digits = number.abs().to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("−{text}") } else { text }
}

const BEGIN: &str = "<!-- bench: begin -->";
const END: &str = "<!-- bench: end -->";

/// Puts the table in place of the last one.
pub(super) fn into_docs(page: &Path, table: &str) -> Result<()> {
    let text = fs::read_to_string(page).with_context(|| format!("read {}", page.display()))?;
    let split = || {
        let (before, rest) = text.split_once(BEGIN)?;
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    };
    let (before, after) = split().with_context(|| format!("{} has no {BEGIN} … {END}", page.display()))?;
    crate::paths::write(page, format!("{before}{BEGIN}\n{table}{END}{after}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_stand_apart() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567"), (-1000, "−1,000")]
        {
            assert_eq!(grouped(number), text);
        }
    }
}
