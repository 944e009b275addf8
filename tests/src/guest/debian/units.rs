//! Units under a real systemd: what its executor prepares works, and what it starts is inside.

use std::fs;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::say;
use super::upgrade::{status, until};

const POLICY: &str = "/etc/guard/policies/units.yaml";
const TEXT: &str = "version: 1
policy: units
applies_to:
  - unit: \"agent-*.service\"
  - unit: \"agent-*.scope\"
mode: enforce
audit: { allows: every, on_loss: block }
exec: { default: allow }
connect: { default: block }
write:
  default: block
  rules:
    - { id: scratch, paths: [\"/tmp/**\", \"/var/tmp/**\", /dev/null], verdict: allow }
";

/// What only an outsider can do.
const ACT: &str = "echo x > /srv/dev/made";

/// What the executor does between entering the cgroup and starting the service: mounts, namespaces, another user.
const PREPARED: &[&str] = &[
    "--property=User=dev",
    "--property=PrivateTmp=yes",
    "--property=PrivateDevices=yes",
    "--property=ProtectSystem=full",
    "--property=ProtectHome=yes",
    "--property=ProtectKernelTunables=yes",
    "--property=ProtectControlGroups=yes",
];

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

fn service(unit: &str, more: &[&str], script: &str) -> Result<Output> {
    let unit = format!("--unit={unit}");
    let mut command = Command::new("systemd-run");
    command.args(["--quiet", "--wait", "--pipe", "--collect", &unit]).args(PREPARED).args(more);
    command.args(["sh", "-c", script]).stdin(Stdio::null()).output().context("start systemd-run")
}

/// A scope of the user's own manager.
fn scope(unit: &str, script: &str) -> Result<Output> {
    let unit = format!("--unit={unit}");
    Command::new("setpriv")
        .args(["--reuid=dev", "--regid=dev", "--init-groups", "env", "XDG_RUNTIME_DIR=/run/user/1000"])
        .args(["systemd-run", "--user", "--quiet", "--scope", "--collect", &unit, "sh", "-c", script])
        .stdin(Stdio::null())
        .output()
        .context("start systemd-run as the user")
}

fn set() -> Result<()> {
    say(&[
        "sh",
        "-ec",
        "id dev >/dev/null 2>&1 || useradd --create-home --uid 1000 dev
        mkdir -p /srv/dev; chown dev: /srv/dev; systemctl start user@1000.service",
    ])?;
    fs::write(POLICY, TEXT)?;
    say(&["systemctl", "reload", "guard"])?;
    until("the policy for units is loaded", || {
        let now = status()?;
        let loaded = |policy: &Value| policy["name"] == "units";
        Ok(now["policies"].as_array().is_some_and(|list| list.iter().any(loaded)) && now["enforcing"] == true)
    })
}

/// It ran, and could not do what its policy forbids.
fn governed(what: &str, output: &Output, cgroup: &str) -> Result<()> {
    let said = text(output);
    println!("{what}: {said}");
    ensure!(said.contains("here: ") && said.contains(cgroup), "{what} did not start in {cgroup}: {said}");
    ensure!(!output.status.success(), "{what} was not refused: {said}");
    ensure!(said.contains("Operation not permitted"), "{what} failed for another reason: {said}");
    ensure!(!fs::exists("/srv/dev/made")?, "{what} was refused and made a file");
    Ok(())
}

/// It ran outside and did it.
fn free(what: &str, output: &Output) -> Result<()> {
    ensure!(output.status.success(), "{what}, the control, failed: {}", text(output));
    fs::remove_file("/srv/dev/made").with_context(|| format!("{what}, the control, made no file"))
}

pub(super) fn are_governed() -> Result<()> {
    set()?;
    let script = format!("echo here: $(cat /proc/self/cgroup); {ACT}");
    free("a service", &service("other-1", &[], &script)?)?;
    governed("a service", &service("agent-1", &[], &script)?, "/agent-1.service")?;
    // The policy knows the unit wherever it is, and a slice's whole tree is inside.
    let deep = service("agent-2", &["--slice=batch-deep-er.slice"], &script)?;
    governed("a service in a nested slice", &deep, "/batch-deep-er.slice/agent-2.service")?;
    let nested = service("nested-1", &["--slice=agents-deep-er.slice"], &script)?;
    governed("a unit below a governed slice", &nested, "/agents-deep.slice/agents-deep-er.slice/nested-1")?;
    free("a user's scope", &scope("other-2", &script)?)?;
    governed("a user's scope", &scope("agent-3", &script)?, "/user@1000.service/app.slice/agent-3.scope")?;
    let query = ["audit", "query", "--json", "--verdict", "block", "--path", "/srv/dev/made"];
    until("each refusal is recorded", || {
        let found = text(&Command::new("guard").args(query).output()?);
        let cgroups = ["/agent-1.service", "/agent-2.service", "/nested-1.service", "/agent-3.scope"];
        Ok(cgroups.iter().all(|cgroup| found.contains(cgroup)))
    })?;
    fs::remove_file(POLICY)?;
    say(&["systemctl", "reload", "guard"]).map(drop)
}
