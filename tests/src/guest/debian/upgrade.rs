//! A new version while an agent tries its luck: nothing gets through in between.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::say;

/// Made by xtask of the same program with other BPF programs in it, as far as the kernel can tell.
const NEXT: &str = "/root/next.deb";
/// What the package must not lack beside the program.
const FILES: &[&str] = &[
    "/usr/libexec/guard/guard-attempt",
    "/usr/share/doc/guard/guard.cdx.json",
    "/usr/share/man/man1/guard.1.gz",
    "/usr/share/man/man1/guard-audit-query.1.gz",
    "/usr/share/bash-completion/completions/guard",
    "/usr/share/zsh/vendor-completions/_guard",
    "/usr/share/fish/vendor_completions.d/guard.fish",
];
const STOP: &str = "/tmp/stop";

/// Tries to read what no agent may, until it is told to stop; says how often it was refused and how often not.
const AGENT: &str = "
import os, time
refused = opened = 0
while not os.path.exists('/tmp/stop'):
    for _ in range(50):
        try:
            open('/root/.profile').close()
            opened += 1
        except PermissionError:
            refused += 1
        time.sleep(0.001)
    with open('/tmp/tries', 'w') as file:
        file.write(str(refused + opened))
print(refused, opened)
";

pub(super) fn status() -> Result<Value> {
    let output = Command::new("guard").args(["status", "--json"]).output().context("start guard status")?;
    serde_json::from_slice(&output.stdout).context("read guard status")
}

fn tries() -> u64 {
    fs::read_to_string("/tmp/tries").ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

pub(super) fn until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !holds()? {
        // A busy emulator takes a minute for what takes a second.
        if begun.elapsed() >= Duration::from_secs(180) {
            bail!("not within three minutes: {what}");
        }
        thread::sleep(Duration::from_millis(100));
    }
    println!("after {:.1} s: {what}", begun.elapsed().as_secs_f32());
    Ok(())
}

pub(super) fn without_a_gap() -> Result<()> {
    fs::write("/tmp/agent.py", AGENT)?;
    let before = status()?;
    ensure!(before["enforcing"] == Value::Bool(true), "guard does not enforce: {before}");
    let agent = Command::new("guard")
        .args(["run", "--policy", "agents", "--", "python3", "/tmp/agent.py"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start the agent")?;
    until("the agent tries", || Ok(tries() > 0))?;
    let at_first = tries();
    println!("{}", say(&["dpkg", "-i", NEXT])?);
    until("the new programs decide", || {
        let now = status()?;
        Ok(now["enforcing"] == Value::Bool(true) && now["build"] != before["build"])
    })?;
    let at_last = tries();
    until("the agent tries on", || Ok(tries() > at_last + 100))?;
    fs::write(STOP, "")?;
    let output = agent.wait_with_output().context("wait for the agent")?;
    fs::remove_file(STOP)?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    println!("refused and opened: {text}; {} tries during the upgrade", at_last - at_first);
    let counts =
        text.split_once(' ').map(|(refused, opened)| (refused.parse::<u64>(), opened.parse::<u64>()));
    let Some((Ok(refused), Ok(opened))) = counts else {
        bail!("the agent said {text:?} and {}", String::from_utf8_lossy(&output.stderr));
    };
    ensure!(opened == 0, "{opened} of {} tries got through during the upgrade", refused + opened);
    ensure!(
        at_last > at_first + 100,
        "only {} tries during the upgrade: that proves nothing",
        at_last - at_first
    );
    // The same outside every domain.
    fs::write(STOP, "")?;
    fs::remove_file(STOP)?;
    let control = "open('/root/.profile').close()";
    say(&["python3", "-c", control])?;
    let files = say(&["dpkg", "-L", "guard"])?;
    for file in FILES {
        ensure!(files.lines().any(|line| line == *file), "the package has no {file}");
    }
    Ok(())
}
