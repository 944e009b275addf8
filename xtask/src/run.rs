//! Running other programs, with one sentence when it goes wrong.

use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// Runs to the end with the terminal's output; a failure is an error that names `what`.
pub(crate) fn loud(what: &str, command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| cannot_start(what, command))?;
    if !status.success() {
        bail!("{what} failed ({status}); its own output is above");
    }
    Ok(())
}

/// Runs to the end and gives back standard output; on failure the error carries the last lines of standard error.
pub(crate) fn quiet(what: &str, command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().with_context(|| cannot_start(what, command))?;
    if !status.success() {
        bail!("{what} failed ({status}): {}", last_lines(&String::from_utf8_lossy(&stderr)));
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

fn cannot_start(what: &str, command: &Command) -> String {
    format!("{what}: cannot start {}", command.get_program().display())
}

/// The lines that say what went wrong: errors if the program marks them, else the last three.
fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let marked: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with("E:") || line.starts_with("error"))
        .take(3)
        .copied()
        .collect();
    let shown = if marked.is_empty() { &lines[lines.len().saturating_sub(3)..] } else { &marked[..] };
    if shown.is_empty() { "it said nothing".to_owned() } else { shown.join("; ") }
}

/// The program's full path, if it is on the PATH.
pub(crate) fn which(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// What `cargo run` tells the program it runs, and what would change how the program's own builds come out.
const LEAKS: &[&str] =
    &["CARGO_BIN_", "CARGO_BUILD_TARGET", "CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_PROFILE_", "CARGO_TARGET_"];
const LEAKING: &[&str] = &[
    "CARGO",
    "CARGO_BUILD_RUSTC",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "RUST_RECURSION_COUNT",
];

/// Cargo and rustc without the settings of the `cargo run` that started us: its target directory, flags or toolchain
/// must not get into another build.
pub(crate) fn clean_env(command: &mut Command) -> &mut Command {
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        if LEAKS.iter().any(|start| name.starts_with(start)) || LEAKING.contains(&&*name) {
            command.env_remove(&key);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::last_lines;

    #[test]
    fn marked_errors_win_over_last_lines() {
        assert_eq!(last_lines("W: x\nE: no such suite\nbye\n"), "E: no such suite");
        assert_eq!(last_lines("a\nb\n\nc\nd\n"), "b; c; d");
        assert_eq!(last_lines(""), "it said nothing");
    }
}
