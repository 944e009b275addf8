//! Where guard keeps things, unless told otherwise.

use anyhow::Context;

pub(crate) const POLICIES: &str = "/etc/guard/policies";
pub(crate) const STATE: &str = "/var/lib/guard";
/// The audit log's segments, below the state.
pub(crate) const AUDIT: &str = "/var/lib/guard/audit";
/// What signs them, and what they are checked against.
pub(crate) const KEYS: &str = "/var/lib/guard/keys";
pub(crate) const RUN: &str = "/run/guard";
pub(crate) const PINS: &str = "/sys/fs/bpf/guard";

/// Where cgroup v2 is mounted.
pub(crate) fn cgroups() -> anyhow::Result<std::path::PathBuf> {
    let mounts = procfs::process::Process::myself()
        .and_then(|own| own.mountinfo())
        .context("read the list of mounts")?;
    mounts
        .0
        .into_iter()
        .find(|mount| mount.fs_type == "cgroup2")
        .map(|mount| mount.mount_point)
        .context("no cgroup v2 is mounted: mount one with `mount -t cgroup2 none /sys/fs/cgroup`")
}
