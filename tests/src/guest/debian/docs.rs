//! The pages under `docs/` whose commands an operator types: each block of them, in order.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Where the package, and in the guest xtask, puts the pages.
const DOCS: &str = "/root/docs";

/// Seconds for one block.
const PATIENCE: &str = "100";

/// Runs every block of a page that is marked as a shell's; the first that fails is the error.
pub(super) fn follow(page: &str) -> Result<()> {
    let path = format!("{DOCS}/{page}");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let blocks = blocks(&text);
    ensure!(!blocks.is_empty(), "{page} has no commands");
    for block in blocks {
        // What hangs ends, and then says where.
        let output = Command::new("timeout")
            .args([PATIENCE, "bash", "-euxc", &strict(&block)])
            .current_dir("/root")
            .output()
            .context("start bash")?;
        println!("{block}{}", String::from_utf8_lossy(&output.stdout));
        ensure!(
            output.status.success(),
            "{page}: this ended with {}: {block}{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

/// A command that must fail is written `! command`, which alone would not end a shell under `-e`.
fn strict(block: &str) -> String {
    let line = |line: &str| match line.strip_prefix("! ") {
        Some(command) => format!("if {command}; then echo 'this should have failed' >&2; exit 1; fi\n"),
        None => format!("{line}\n"),
    };
    block.lines().map(line).collect()
}

fn blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        match (&mut open, line) {
            (None, "```sh") => open = Some(String::new()),
            (Some(_), "```") => blocks.extend(open.take()),
            (Some(block), line) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// What the walk follows; the rest of the pages may show what is run elsewhere, by xtask.
    const FOLLOWED: &[&str] = &["operations.md", "policy-guide.md", "quick-start.md"];

    #[test]
    fn no_page_has_commands_that_nobody_follows() {
        let docs = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs"));
        for entry in fs::read_dir(docs).expect("list the pages").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(text) = fs::read_to_string(entry.path()) else { continue };
            let blocks = blocks(&text);
            let elsewhere =
                blocks.iter().flat_map(|block| block.lines()).all(|line| line.starts_with("cargo "));
            assert!(FOLLOWED.contains(&name.as_str()) || elsewhere, "{name} has {blocks:?}");
        }
    }

    #[test]
    fn blocks_of_a_shell_are_found_and_others_are_not() {
        assert_eq!(blocks("a\n```sh\nb\nc\n```\n```text\nd\n```\n"), ["b\nc\n"]);
    }

    #[test]
    fn what_must_fail_is_an_error_when_it_does_not() {
        assert!(strict("! true\nls\n").starts_with("if true; then"));
        assert!(strict("ls\n").starts_with("ls\n"));
    }
}
