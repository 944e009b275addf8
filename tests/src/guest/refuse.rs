//! Where guard cannot keep its promises it must say so and enforce nothing.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{On, Test};

pub(super) const TESTS: &[Test] = &[
    Test::new("guard refuses a kernel that is too old and says which it needs", || {
        refuses(&["too old", "6.1"])
    })
    .on(On::TooOld),
    Test::new("guard refuses a kernel without bpf in its LSM list and names the mend", || refuses(&["lsm="]))
        .on(On::WithoutBpf),
];

fn refuses(must_say: &[&str]) -> Result<()> {
    // One that does not refuse would go on for ever.
    let output = Command::new("timeout")
        .args(["20", "guard", "daemon", "--detach", "--policies", "/usr/share/guard/policies"])
        .output()
        .context("run guard daemon")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(3), "guard daemon ended with {}: {}", output.status, said.trim());
    for words in must_say {
        ensure!(said.contains(words), "guard daemon does not say {words:?}: {}", said.trim());
    }
    let status = Command::new("guard").arg("status").output().context("run guard status")?;
    ensure!(!status.status.success(), "guard status claims to enforce");
    Ok(())
}
