//! What all commands share in what they print.

use std::io::{self, IsTerminal as _, Write as _};

use guard_userspace::policy::diag::Style;

/// Colour only if `stdout` is a terminal and nobody asked for none.
pub(crate) fn stdout_style() -> Style {
    style(io::stdout().is_terminal())
}

pub(crate) fn stderr_style() -> Style {
    style(io::stderr().is_terminal())
}

fn style(terminal: bool) -> Style {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if terminal && !refused { Style::Colour } else { Style::Plain }
}

/// Prints to standard output; a closed pipe is an error of its own, not a panic.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

/// The same for an answer whose exit code says as much as its text: who has read enough of it gets the code all the same.
pub(crate) fn show(text: &str) -> anyhow::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

pub(crate) fn print_json(value: &serde_json::Value) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// `1 rule`, `2 rules`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
