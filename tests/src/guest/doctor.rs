//! `guard doctor`: what it finds, and what it mends when it is told to.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::Test;

pub(super) const TESTS: &[Test] = &[
    Test::new("doctor mends what is safe when it is told to, and nothing else", mends).within(60),
    Test::new("a program finds the kernel's symbols where its list has them", symbols).within(60),
];

const UNPRIVILEGED: &str = "/proc/sys/kernel/unprivileged_bpf_disabled";
const ADDRESSES: &str = "/proc/sys/kernel/kptr_restrict";

fn doctor(words: &[&str]) -> Result<(Option<i32>, Value)> {
    let output = Command::new("guard").args(["doctor", "--json"]).args(words).output()?;
    let answer = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok((output.status.code(), answer))
}

fn health<'a>(answer: &'a Value, what: &str) -> &'a str {
    let findings = answer["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = findings.iter().find(|finding| finding["what"] == what);
    found.and_then(|finding| finding["health"].as_str()).unwrap_or("not looked at")
}

fn symbols() -> Result<()> {
    ensure!(guard_userspace::kernel::symbols_agree()?, "the program and /proc/kallsyms do not agree");
    Ok(())
}

fn mends() -> Result<()> {
    let read = |path| fs::read_to_string(path).map(|text| text.trim().to_owned());
    fs::write(UNPRIVILEGED, "0").context("let anybody load programs")?;
    fs::write(ADDRESSES, "2").context("hide the kernel's addresses")?;
    let (code, answer) = doctor(&[])?;
    let found = (health(&answer, "unprivileged bpf"), health(&answer, "kernel addresses"));
    ensure!(code == Some(3) && found == ("weak", "bad"), "{code:?}: {answer}");
    ensure!(read(UNPRIVILEGED)? == "0" && read(ADDRESSES)? == "2", "it mended something unasked");
    let (code, answer) = doctor(&["--fix"])?;
    let found = (health(&answer, "unprivileged bpf"), health(&answer, "kernel addresses"));
    ensure!(code == Some(0) && found == ("good", "good"), "{code:?}: {answer}");
    ensure!(read(UNPRIVILEGED)? == "2" && read(ADDRESSES)? == "1", "it says that it mended, and did not");
    let said: Vec<&str> =
        answer["fixed"].as_array().into_iter().flatten().filter_map(|fixed| fixed["did"].as_str()).collect();
    let expected = ["sysctl kernel.unprivileged_bpf_disabled=2", "sysctl kernel.kptr_restrict=1"];
    ensure!(said == expected, "{said:?}");
    let (code, answer) = doctor(&["--fix"])?;
    ensure!(code == Some(0) && answer["fixed"].as_array().is_some_and(Vec::is_empty), "{code:?}: {answer}");
    Ok(())
}
