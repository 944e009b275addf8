//! What commands print into a pipe that nobody reads to its end, as in `guard status | head -1`.

use std::process::{Command, Stdio};

#[test]
fn a_closed_pipe_is_no_panic_and_keeps_the_exit_code() {
    let nowhere = std::env::temp_dir().join(format!("guard-nowhere-{}", std::process::id()));
    let nowhere = nowhere.to_str().unwrap();
    for (words, code) in
        [(&["status", "--run", nowhere, "--pins", nowhere][..], 1), (&["policy", "schema"][..], 0)]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_guard"))
            .args(words)
            .stdout(Stdio::from(writer))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(code) && said.is_empty(),
            "{words:?}: {}: {said}",
            output.status
        );
    }
}

#[test]
fn a_run_without_a_daemon_ends_as_its_help_says() {
    let nowhere = std::env::temp_dir().join(format!("guard-nowhere-{}", std::process::id()));
    let output = Command::new(env!("CARGO_BIN_EXE_guard"))
        .args(["run", "--policy", "x", "--run", nowhere.to_str().unwrap(), "--", "true"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains("no daemon answers"), "{said}");
}
