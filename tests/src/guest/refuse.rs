//! Where guard cannot keep its promises it must say so and enforce nothing.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{On, Test};

pub(super) const TESTS: &[Test] =
    &[Test::new("guard refuses a kernel that is too old and says which it needs", old_kernel_is_refused)
        .on(On::TooOld)];

fn old_kernel_is_refused() -> Result<()> {
    let output = Command::new("guard")
        .args(["daemon", "--policies", "/usr/share/guard/policies"])
        .output()
        .context("run guard daemon")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(3), "guard daemon ended with {}: {}", output.status, said.trim());
    ensure!(said.contains("too old") && said.contains("6.1"), "guard daemon said: {}", said.trim());
    let status = Command::new("guard").arg("status").output().context("run guard status")?;
    ensure!(!status.status.success(), "guard status claims to enforce");
    Ok(())
}
