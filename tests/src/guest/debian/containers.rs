//! Real container runtimes: the launcher prepares in peace, what it starts is inside, however deep its cgroup.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::say;

const ROOT: &str = "/run/box";

/// A root that is an overlay over the guest's own.
fn root() -> Result<()> {
    let _ = Command::new("umount").arg(format!("{ROOT}/rootfs")).output();
    let _ = fs::remove_dir_all(ROOT);
    for name in ["rootfs", "upper", "work"] {
        fs::create_dir_all(format!("{ROOT}/{name}"))?;
    }
    say(&["mount", "-t", "tmpfs", "box", &format!("{ROOT}/upper")])?;
    for name in ["up", "work"] {
        fs::create_dir_all(format!("{ROOT}/upper/{name}"))?;
    }
    let options = format!("lowerdir=/,upperdir={ROOT}/upper/up,workdir={ROOT}/upper/work");
    say(&["mount", "-t", "overlay", "overlay", "-o", &options, &format!("{ROOT}/rootfs")]).map(drop)
}

/// A bundle with such a root, whose program is this.
fn bundle(slice: &str, script: &str) -> Result<()> {
    root()?;
    let spec = Command::new("runc").args(["spec", "--bundle", ROOT]).output().context("runc spec")?;
    ensure!(spec.status.success(), "runc spec: {}", String::from_utf8_lossy(&spec.stderr));
    let path = format!("{ROOT}/config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = serde_json::json!(["sh", "-c", script]);
    config["root"]["readonly"] = false.into();
    config["linux"]["cgroupsPath"] = format!("{slice}:guard:box").into();
    fs::write(&path, serde_json::to_vec(&config)?)?;
    Ok(())
}

fn run(runtime: &str, slice: &str, script: &str) -> Result<(bool, String)> {
    let mut command = Command::new(runtime);
    if runtime == "podman" {
        root()?;
        // Networks are what netavark makes of nftables, which has nothing to do with who is governed.
        command.args(["run", "--rm", "--network=none", "--cgroup-manager=systemd"]);
        command.arg(format!("--cgroup-parent={slice}"));
        command.args(["--rootfs", &format!("{ROOT}/rootfs"), "sh", "-c", script]);
    } else {
        bundle(slice, script)?;
        command.args(["--systemd-cgroup", "run", "--bundle", ROOT, "box"]);
    }
    let output = command.output().with_context(|| format!("start {runtime}"))?;
    let text = [output.stdout, output.stderr].concat();
    for at in ["rootfs", "upper"] {
        let _ = Command::new("umount").arg(format!("{ROOT}/{at}")).output();
    }
    Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

pub(super) fn are_governed() -> Result<()> {
    for runtime in ["runc", "crun", "podman"] {
        let act = "echo inside; cat /root/.profile > /dev/null";
        let (control, said) = run(runtime, "system.slice", act)?;
        ensure!(control && said.contains("inside"), "the control under {runtime} failed: {said}");
        let (through, said) = run(runtime, "agents.slice", act)?;
        ensure!(said.contains("inside"), "{runtime} could not start a governed container: {said}");
        ensure!(!through && said.contains("Operation not permitted"), "{runtime}: {said}");
    }
    Ok(())
}
