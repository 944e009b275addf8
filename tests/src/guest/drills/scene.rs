//! A guard as it is installed, with its usual directories: drills try those too.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::super::stage::PINS;

const POLICY: &str = r#"version: 1
policy: box
applies_to: [{ cgroup: /box/** }]
mode: enforce
gateway: ["127.0.0.1:18080"]
exec: { default: allow }
connect: { default: block }
write: { default: allow }
"#;

const PATIENCE: Duration = Duration::from_secs(240);
pub(super) const LOG: &str = "/tmp/drill-daemon.log";

#[derive(Debug)]
pub(super) struct Scene;

impl Scene {
    /// Starts the daemon unless one runs already.
    pub(super) fn set() -> Result<Self> {
        // Another one's veto of the kernel's knobs holds for the whole host, as if a hook of this one had refused.
        ensure!(!Path::new(PINS).exists(), "a guard of other tests is still there: {PINS}");
        if answers() {
            return Ok(Self);
        }
        for directory in ["/etc/guard/policies", "/etc/systemd/system", "/etc/cron.d", "/tmp"] {
            fs::create_dir_all(directory)?;
        }
        fs::write("/etc/guard/policies/box.yaml", POLICY)?;
        // Anybody may send a ping outside.
        fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")?;
        let child = start()?;
        ready(child)?;
        Ok(Self)
    }
}

/// Starts a daemon that outlives the test.
pub(super) fn start() -> Result<Child> {
    let log = File::options().create(true).append(true).open(LOG)?;
    Command::new("guard")
        .arg("daemon")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("start guard daemon")
}

fn ready(mut child: Child) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    // What is pinned enforces without a daemon too.
    while !answers() {
        if let Some(status) = child.try_wait()? {
            bail!("guard daemon ended with {status}: {}", log_end());
        }
        ensure!(Instant::now() < deadline, "guard does not enforce: {}; {}", status(), log_end());
        thread::sleep(Duration::from_millis(250));
    }
    Ok(())
}

/// Whether a daemon listens, and everything is in place.
fn answers() -> bool {
    UnixStream::connect("/run/guard/control.sock").is_ok() && status()["enforcing"] == true
}

pub(super) fn status() -> Value {
    let asked = Command::new("guard").args(["status", "--json"]).stderr(Stdio::null()).output();
    asked.ok().and_then(|answer| serde_json::from_slice(&answer.stdout).ok()).unwrap_or_default()
}

/// The process of the daemon that runs.
pub(super) fn daemon() -> Option<i32> {
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        line.starts_with(b"guard\0daemon\0").then_some(pid)
    })
}

fn log_end() -> String {
    let text = fs::read_to_string(LOG).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}

/// Runs drills; a gap is no error here.
pub(super) fn drill(arguments: &[&str]) -> Result<Value> {
    let output = Command::new("guard").args(["drill", "--format", "json"]).args(arguments).output()?;
    ensure!(
        matches!(output.status.code(), Some(0 | 1)),
        "guard drill ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("no report: {}", String::from_utf8_lossy(&output.stderr)))
}

/// The pinned links.
pub(super) fn links() -> Result<Vec<PathBuf>> {
    let mut links = Vec::new();
    for build in fs::read_dir(Path::new("/sys/fs/bpf/guard/links"))?.flatten() {
        links.extend(fs::read_dir(build.path())?.flatten().map(|entry| entry.path()));
    }
    links.sort();
    Ok(links)
}
