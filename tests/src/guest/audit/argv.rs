//! What an exec's record shows of argv: all of it, up to its end, and nothing of the environment behind it.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::wait::waitpid;
use nix::unistd::execve;
use serde_json::Value;

use super::log::{of, until};
use crate::guest::agent::{End, Way, Who, attempt};
use crate::guest::ground::{At, Kind};
use crate::guest::stage::Stage;
use crate::guest::{sys, written};

/// Shows argv.
pub(in crate::guest) const POLICY: &str = "version: 1
policy: kt-argv
applies_to:
  - cgroup: /kt/argv/**
mode: enforce
audit: { allows: every, argv: text }
exec: { default: allow }
connect: { default: block }
write: { default: block }
read: { default: allow }
";

/// So much of argv is read, the program's own name included.
const READ: usize = 2046;

/// Arguments behind the program's name: each length around whole words of eight bytes, words that are empty, and those
/// that just fit.
fn lists(name: usize) -> Vec<Vec<String>> {
    let of_length = |length: usize| "a".repeat(length);
    let mut lists: Vec<Vec<String>> = (0..=17).map(|length| vec![of_length(length)]).collect();
    lists.extend((0..=9).map(|length| vec![String::new(), of_length(length), String::new()]));
    lists.extend((1..=17).map(|count| vec![String::new(); count]));
    let fits = READ - (name + 1) - 1;
    lists.extend((fits - 9..=fits).map(|length| vec![of_length(length)]));
    lists.push(vec![of_length(fits - 3), "bc".to_owned()]);
    lists
}

fn become_it(program: &Path, arguments: &[String]) -> i32 {
    let Ok(path) = CString::new(program.as_os_str().as_bytes()) else { return 1 };
    let mut argv = vec![path.clone()];
    argv.extend(arguments.iter().filter_map(|argument| CString::new(argument.as_str()).ok()));
    let _ = execve(&path, &argv, &[c"SECRET=of the environment"]);
    1
}

pub(super) fn whole() -> Result<()> {
    let stage = Stage::set()?;
    let at = At::fresh(Kind::Open, Who::Root)?;
    let program = at.on("prog");
    let cgroup = stage.cgroup("argv")?;
    let name = cgroup.name();
    let length = program.as_os_str().len();
    let mut given = lists(length);
    // One byte and one word too many.
    let cut = [vec!["a".repeat(READ - length - 1)], vec!["a".repeat(READ - length - 2), String::new()]];
    given.extend(cut.iter().cloned());
    let end = attempt(
        Some(cgroup.path()),
        Who::Root,
        Way::Direct,
        || Ok(()),
        |()| {
            for arguments in &given {
                let child = sys::spawn(|| become_it(&program, arguments))?;
                waitpid(child, None)?;
            }
            Ok(())
        },
    )?;
    ensure!(end == End::Did, "the programs did not run: {end:?}");
    let told = until(Duration::from_secs(20), || {
        let mut told = of(written::of_kind("exec")?, &name);
        told.retain(|record| record["object"] == program.display().to_string());
        Ok((told.len() >= given.len()).then_some(told))
    })?;
    ensure!(told.len() == given.len(), "{} records of {} programs", told.len(), given.len());
    for (record, arguments) in told.iter().zip(&given) {
        let text = record.to_string();
        ensure!(!text.contains("SECRET"), "the environment is in the record: {text}");
        ensure!(record["argc"] == arguments.len(), "{} arguments: {text}", arguments.len());
        let is_cut = cut.contains(arguments);
        ensure!(record["cut"] == if is_cut { Value::Bool(true) } else { Value::Null }, "cut or not: {text}");
        let shown = record["argv"][0].as_str().unwrap_or_default();
        let beginning = arguments[0].starts_with(shown) && shown.len() > 2000;
        ensure!(
            if is_cut { beginning } else { record["argv"] == serde_json::json!(arguments) },
            "{arguments:?}: {text}"
        );
    }
    Ok(())
}
