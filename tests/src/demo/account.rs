//! Tells what happened, from what the agent saw and what guard's audit log says.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use serde_json::Value;

use super::attempts::{ATTEMPTS, Act, Attempt, DOWNLOADED, Expect};

/// Where guard keeps its audit log.
const AUDIT: &str = "/var/lib/guard/audit";

/// How long the daemon may take to write down what the kernel has told it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Every record, once there is one for each attempt or the daemon had time enough to write it.
pub(super) fn records() -> Result<Vec<Value>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let records = read_log()?;
        if Instant::now() >= deadline || ATTEMPTS.iter().all(|attempt| find(attempt, &records).is_some()) {
            return Ok(records);
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// The log as it is now, oldest record first; a line that is still being written is left out.
fn read_log() -> Result<Vec<Value>> {
    let entries = match fs::read_dir(AUDIT) {
        Ok(entries) => entries,
        // Every attempt will then say that it left no record.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("list {AUDIT}")),
    };
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let mut records = Vec::new();
    for file in files.iter().filter(|file| is_log(file)) {
        let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines() {
            records
                .push(serde_json::from_str(line).with_context(|| format!("a line of {}", file.display()))?);
        }
    }
    Ok(records)
}

fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|ext| ext == "ndjson")
}

/// One line for each attempt; whether all came out as the policy says and left their record.
pub(super) fn print(outcomes: &[i32], records: &[Value]) -> bool {
    let mut as_told = true;
    for (attempt, &errno) in ATTEMPTS.iter().zip(outcomes) {
        let record = find(attempt, records);
        let (word, expected) = match (errno, attempt.expect) {
            (0, Expect::Approved) => ("APPROVED", record.is_some()),
            (0, Expect::Sandboxed) => ("SANDBOX", record.is_some()),
            (0, expect) => ("allowed", expect == Expect::Allowed),
            (libc::EPERM, expect) => ("BLOCKED", expect == Expect::Blocked),
            (libc::EAGAIN, expect) => ("THROTTLE", expect == Expect::Throttled),
            _ => ("failed", false),
        };
        println!("  {word:8} {:34} {} {}", attempt.says, attempt.act.action(), attempt.act.object());
        let why = record.map(because).unwrap_or_default();
        if errno != 0 {
            println!("           {}{why}", Errno::from_raw(errno));
        } else if attempt.expect != Expect::Allowed {
            println!("           {}", why.trim_start_matches(", "));
        }
        let recorded = record.is_some() || attempt.expect == Expect::Allowed;
        if !expected || !recorded {
            as_told = false;
            println!(
                "           this is not what the policy says{}",
                if recorded { "" } else { ": no record of it" }
            );
        }
    }
    as_told
}

/// The same program, run by someone the policy says nothing about.
pub(super) fn print_outside(runs: bool) {
    let word = if runs { "allowed" } else { "BLOCKED" };
    println!("\n  {word:8} {:34} exec {DOWNLOADED}", "outside the domain, the same tool");
    if !runs {
        println!("           this is wrong: nobody but the agent is governed");
    }
}

/// The last record of the attempt: the same action on the same object, decided the same way.
fn find<'a>(attempt: &Attempt, records: &'a [Value]) -> Option<&'a Value> {
    let verdict = match attempt.expect {
        Expect::Allowed => "allow",
        Expect::Blocked => "block",
        Expect::Throttled => "throttle",
        Expect::Approved => "escalate",
        Expect::Sandboxed => "sandbox",
    };
    // The log has the resolved path: in a guest most tools are links to one program.
    let object = fs::canonicalize(attempt.act.object());
    let mut object = object.map_or(attempt.act.object().to_owned(), |path| path.display().to_string());
    if matches!(attempt.act, Act::Connect(..)) {
        object.push_str("/tcp");
    }
    let fits = |record: &&Value| {
        record["action"] == attempt.act.action()
            && record["verdict"] == verdict
            && (attempt.expect != Expect::Approved || record["reason_code"] == "approved")
            && (attempt.expect != Expect::Throttled || record["reason_code"] == "over-budget")
            && (attempt.act.action() == "boundary" || record["object"] == object.as_str())
    };
    records.iter().rev().find(fits)
}

fn because(record: &Value) -> String {
    let text = |key: &str| record[key].as_str().filter(|text| !text.is_empty());
    let rule = text("rule").map(|rule| format!(", rule {rule}")).unwrap_or_default();
    let reason =
        text("reason").or(text("reason_code")).map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("{rule}{reason}")
}
