//! The main job, from a policy file to the audit log.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Test;

pub(super) const TESTS: &[Test] =
    &[Test::new("the demo comes out as its policy says", demo_comes_out_as_told).within(120)];

fn demo_comes_out_as_told() -> Result<()> {
    let policies = "/etc/guard/policies";
    std::fs::create_dir_all(policies).with_context(|| format!("create {policies}"))?;
    std::fs::copy("/usr/share/guard/policies/demo.yaml", format!("{policies}/demo.yaml"))
        .context("put the demo's policy in place")?;
    let output = Command::new("demo").output().context("run the demo")?;
    let said = [output.stdout, output.stderr].concat();
    print!("{}", String::from_utf8_lossy(&said));
    std::fs::remove_dir_all("/etc/guard").context("remove the demo's policy")?;
    ensure!(output.status.success(), "the demo ended with {}", output.status);
    Ok(())
}
