//! `guard drill --profile chaos`, with somebody who starts the daemon again whenever it is gone.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::scene::{Scene, daemon, drill, start, status};
use super::{list, tell};

/// What a daemon's directory of records is given, so that it can be full.
const STATE: &str = "/var/lib/guard";

pub(super) fn run() -> Result<()> {
    Scene::set()?;
    // The log on a small disk of its own.
    stop()?;
    fs::create_dir_all(STATE)?;
    mount(Some("small"), STATE, Some("tmpfs"), MsFlags::empty(), Some("size=16m,mode=700"))?;
    Scene::set()?;
    let done = AtomicBool::new(false);
    let report = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if daemon().is_none()
                    && let Ok(mut child) = start()
                {
                    let _ = child.wait();
                }
                thread::sleep(Duration::from_millis(100));
            }
        });
        let report = drill(&["--profile", "chaos", "--tier", "root"]);
        done.store(true, Ordering::Relaxed);
        if let Some(pid) = daemon() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        report
    })?;
    let gaps = list(&report, "gap");
    println!("{} in {} ms; {}", report["summary"], report["milliseconds"], report["chaos"]);
    ensure!(gaps.is_empty(), "{} gap(s):\n{}", gaps.len(), tell(&gaps));
    ensure!(list(&report, "green").len() > 300, "{}", report["summary"]);
    // Each disturbance took place.
    let chaos = report["chaos"].as_object().cloned().unwrap_or_default();
    for what in ["kills", "reloads", "clock_jumps", "full_disks", "floods", "tight_memory"] {
        ensure!(
            chaos.get(what).and_then(serde_json::Value::as_u64) > Some(0),
            "no {what}: {}",
            report["chaos"]
        );
    }
    let _ = fs::remove_file("/var/lib/guard/guard-drill-filler");
    Scene::set()?;
    ensure!(status()["enforcing"] == true, "afterwards: {}", status());
    Ok(())
}

fn stop() -> Result<()> {
    let Some(pid) = daemon() else { return Ok(()) };
    kill(Pid::from_raw(pid), Signal::SIGTERM)?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while daemon() == Some(pid) {
        ensure!(Instant::now() < deadline, "the daemon does not end");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
