//! The hooks, taken away one by one: a drill that stays green without the hook it names would say nothing.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use guard_userspace::drill::{End, Kind, catalogue};

use super::hook::take_away;
use super::list;
use super::scene::{Scene, drill, links};

/// Hooks that no drill can show to be gone, and why.
const UNSEEN: &[(&str, &str)] = &[
    ("cgroup_rmdir", "forgets a cgroup that is gone; it decides nothing"),
    ("sched_process_exit", "forgets a process that is gone; it decides nothing"),
    (
        "mptcp_add_subflow",
        "needs a peer with a second address; the socket itself is refused where it is made",
    ),
    ("file_send_sigiotask", "is behind file_fcntl, for files whose owner was set before"),
    ("shm_alloc_security", "tells whose an object is; without it a session's own are refused too"),
    ("msg_queue_alloc_security", "as shm_alloc_security"),
    ("sem_alloc_security", "as shm_alloc_security"),
    ("quota_on", "needs a file system with quotas, which these guests do not have"),
];

pub(super) fn each() -> Result<()> {
    Scene::set()?;
    let mut wrong = Vec::new();
    let mut count = 0;
    for pin in links()? {
        let hook = pin.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if UNSEEN.iter().any(|(name, _)| *name == hook) {
            continue;
        }
        let gone = take_away(&pin)?;
        let mut red = seen(&hook);
        if matches!(red, Ok(None)) {
            // The kernel lets go of a link's program when it has time, which beside other guests can be later.
            thread::sleep(Duration::from_secs(2));
            red = seen(&hook);
        }
        gone.back()?;
        match red? {
            Some(drill) => println!("without {hook}, {drill} is red"),
            None => wrong.push(format!("{hook} is gone and no drill turns red")),
        }
        count += 1;
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    ensure!(count > 60, "only {count} hooks are pinned");
    // All of them are back: what was red is green.
    let report =
        drill(&["--only", "mkdir", "--only", "kill", "--only", "sysctl-ftrace-off", "--profile", "vm"])?;
    ensure!(report["summary"]["green"] == 3, "with all hooks back: {}", report["summary"]);
    Ok(())
}

/// The first drill of the hook that turns red: those first that name it first.
fn seen(hook: &str) -> Result<Option<String>> {
    let attacks = || catalogue::all().map(|(_, drill)| drill).filter(|drill| drill.kind == Kind::Attack);
    let first = attacks().filter(|drill| drill.hooks.first() == Some(&hook));
    let others = attacks().filter(|drill| drill.hooks.iter().skip(1).any(|name| *name == hook));
    for drill_of in first.chain(others).take(TRIED) {
        let report = drill(&["--only", drill_of.name, "--profile", "vm"])?;
        if let [red, ..] = list(&report, "gap").as_slice() {
            // A control that fails is red too, and says nothing of the hook: unless it must fail, for the whole host.
            let of_host = drill_of.control.first() == Some(&End::Errno(libc::EPERM));
            if of_host || red["why"].to_string().contains("inside as") {
                return Ok(Some(drill_of.name.to_owned()));
            }
        }
    }
    Ok(None)
}

/// Each one is a run of its own.
const TRIED: usize = 6;
