//! The guest is what the job says it is: without these a whole run could pass on the wrong kernel.

use std::env;
use std::fs;

use anyhow::{Context, Result, ensure};

use super::{On, Test};

pub(super) const TESTS: &[Test] = &[
    Test::new("the guest runs the kernel the job claims", runs_the_claimed_kernel).on(On::Every),
    Test::new("bpf is in the list of active security modules", bpf_is_an_active_lsm),
    Test::new("the kernel publishes its types", publishes_btf).on(On::Every),
    Test::new("cgroup v2 has the pids and memory controllers", has_controllers).on(On::Every),
];

fn runs_the_claimed_kernel() -> Result<()> {
    let release = read("/proc/sys/kernel/osrelease")?;
    let claimed = env::var("GUARD_GUEST_RELEASE").context("the job claims no kernel release")?;
    ensure!(release == claimed, "running {release}, the job claims {claimed}");
    let series = env::var("GUARD_GUEST_SERIES").context("the job claims no kernel series")?;
    let fits = match series.as_str() {
        // Whatever is newest at the time.
        "rc" => true,
        "7.x" => release.starts_with("7."),
        series => release.strip_prefix(series).is_some_and(|rest| rest.starts_with('.')),
    };
    ensure!(fits, "{release} is not of series {series}");
    Ok(())
}

fn bpf_is_an_active_lsm() -> Result<()> {
    let active = read("/sys/kernel/security/lsm")?;
    ensure!(active.split(',').any(|name| name == "bpf"), "active security modules: {active}");
    Ok(())
}

fn publishes_btf() -> Result<()> {
    let size = fs::metadata("/sys/kernel/btf/vmlinux").context("look at /sys/kernel/btf/vmlinux")?.len();
    ensure!(size > 1024 * 1024, "/sys/kernel/btf/vmlinux has only {size} bytes");
    Ok(())
}

fn has_controllers() -> Result<()> {
    let enabled = read("/sys/fs/cgroup/cgroup.subtree_control")?;
    for wanted in ["pids", "memory"] {
        ensure!(enabled.split(' ').any(|name| name == wanted), "enabled controllers: {enabled}");
    }
    Ok(())
}

fn read(path: &str) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    Ok(text.trim().to_owned())
}
