//! The daemon: killed, whether it has begun or not, and kept busy.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill as signal};
use nix::unistd::Pid;

use super::{Cause, count};
use crate::control::{Client, Greeting, Request};

/// A while in which no daemon lives a second, then one in which it may begin and reload.
const STORMY: Duration = Duration::from_secs(15);
const CALM: Duration = Duration::from_secs(40);
/// So many reloads are enough of the calm.
const ENOUGH: u64 = 5;

pub(super) fn kill(cause: &Cause) {
    while !cause.ended() {
        let begun = Instant::now();
        while begun.elapsed() < STORMY {
            for daemon in daemons() {
                if signal(daemon, Signal::SIGKILL).is_ok() {
                    count(&cause.counts.kills);
                }
            }
            if !cause.pause(Duration::from_secs(1)) {
                return;
            }
        }
        let (begun, reloads) = (Instant::now(), reloads(cause));
        while begun.elapsed() < CALM && reloads + ENOUGH > self::reloads(cause) {
            if !cause.pause(Duration::from_millis(200)) {
                return;
            }
        }
    }
}

fn reloads(cause: &Cause) -> u64 {
    cause.counts.reloads.load(std::sync::atomic::Ordering::Relaxed)
}

/// Every `guard daemon` of this very program.
fn daemons() -> Vec<Pid> {
    let own = fs::read_link("/proc/self/exe").unwrap_or_default();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let of = |file: &str| format!("/proc/{pid}/{file}");
        let line = fs::read(of("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).nth(1) == Some(b"daemon")
            && fs::read_link(of("exe")).is_ok_and(|exe| exe == own)
    })
    .map(Pid::from_raw)
    .collect()
}

pub(super) fn reload(cause: &Cause) {
    while cause.pause(Duration::from_millis(100)) {
        let asked =
            Client::connect(&cause.run).and_then(|mut client| client.ask::<Greeting>(&Request::Drill));
        if asked.is_ok() {
            count(&cause.counts.reloads);
        }
    }
}
