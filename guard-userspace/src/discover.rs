//! Processes that look like agents. Looking like one proves nothing, and not looking like one proves nothing either:
//! this is for finding what somebody forgot to put into a domain, not for enforcement.

mod endpoints;
mod signs;

use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use procfs::process::{FDTarget, Process, all_processes};
use serde::Serialize;

pub use endpoints::Endpoints;
pub use signs::Sign;

/// A process, and why it looks like an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sighting {
    pub pid: u32,
    /// In clock ticks after boot; with the pid it is the process and no later one.
    pub start: u64,
    pub uid: u32,
    pub exe: String,
    pub cgroup: String,
    pub signs: Vec<Sign>,
}

impl Sighting {
    /// A key in the environment alone is often a person's shell.
    pub fn is_sure(&self) -> bool {
        self.signs.iter().any(Sign::is_sure)
    }
}

/// Looks at every process but those that `inside` says are in a domain. What ends meanwhile is passed over.
pub fn look(endpoints: &Endpoints, inside: impl Fn(u32) -> bool) -> procfs::ProcResult<Vec<Sighting>> {
    let mut found = Vec::new();
    let mut networks = endpoints::Networks::default();
    for process in all_processes()?.flatten() {
        let Ok(pid) = u32::try_from(process.pid) else { continue };
        // The kernel's own threads have no program.
        let Ok(exe) = process.exe() else { continue };
        if pid == std::process::id() || inside(pid) {
            continue;
        }
        let argv = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let mut signs = signs::of(exe.as_os_str().as_bytes(), &argv, &environment);
        signs.extend(connections(&process, &mut networks, endpoints));
        if signs.is_empty() {
            continue;
        }
        let Ok(stat) = process.stat() else { continue };
        found.push(Sighting {
            pid,
            start: stat.starttime,
            uid: process.uid().unwrap_or(u32::MAX),
            exe: exe.to_string_lossy().into_owned(),
            cgroup: cgroup(pid),
            signs,
        });
    }
    found.sort_by_key(|sighting| sighting.pid);
    Ok(found)
}

fn connections(process: &Process, networks: &mut endpoints::Networks, endpoints: &Endpoints) -> Vec<Sign> {
    let speaking = networks.speaking(process, endpoints);
    if speaking.is_empty() {
        return Vec::new();
    }
    let Ok(files) = process.fd() else { return Vec::new() };
    let mut names: Vec<String> = files
        .flatten()
        .filter_map(|file| match file.target {
            FDTarget::Socket(inode) => speaking.get(&inode).cloned(),
            _ => None,
        })
        .collect();
    names.sort();
    names.dedup();
    names.into_iter().map(Sign::Connection).collect()
}

fn cgroup(pid: u32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_owned()
}
