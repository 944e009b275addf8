//! What this host can enforce: each finding with its evidence and, if it is bad, the exact mend.

mod fix;
mod host;

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::kernel::{self, btf};
pub use fix::{Fix, Fixed};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    Good,
    /// guard enforces, but something is weaker than it could be.
    Weak,
    /// guard cannot enforce.
    Bad,
}

/// One finding.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    pub health: Health,
    /// What was seen.
    pub evidence: String,
    /// What to do; empty if nothing.
    pub mend: String,
    /// The same as guard can do it itself, if that is safe.
    #[serde(skip)]
    pub fix: Option<Fix>,
}

impl Finding {
    fn good(what: &'static str, evidence: impl Into<String>) -> Self {
        Self { what, health: Health::Good, evidence: evidence.into(), mend: String::new(), fix: None }
    }

    fn not(what: &'static str, health: Health, evidence: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { what, health, evidence: evidence.into(), mend: mend.into(), fix: None }
    }

    /// Not good, and what guard itself can do about it.
    fn fixable(what: &'static str, health: Health, evidence: impl Into<String>, fix: Fix) -> Self {
        Self { fix: Some(fix), ..Self::not(what, health, evidence, fix.command()) }
    }
}

/// Looks at everything. `cgroups` is where cgroup v2 is mounted, if it is.
pub fn examine(cgroups: Option<&Path>) -> Vec<Finding> {
    let mut findings = vec![
        release(),
        type_information(),
        security_modules(),
        cgroup(cgroups),
        bpf_file_system(),
        tracing(),
    ];
    findings.extend([
        unprivileged_bpf(),
        addresses(),
        host::lockdown(&read("/sys/kernel/security/lockdown")),
        host::hierarchies(&read("/proc/self/mounts")),
        host::delegated(cgroups),
        host::docker(&read("/etc/group"), Path::new("/run/docker.sock").exists()),
        privilege(),
    ]);
    // Loading says most, and is asked only where nothing else speaks against it.
    if findings.iter().all(|finding| finding.health != Health::Bad) {
        findings.push(programs());
    }
    findings
}

fn release() -> Finding {
    let release = read("/proc/sys/kernel/osrelease");
    match kernel::refuse_old_kernels() {
        Ok(()) => Finding::good("kernel", release),
        Err(_) => Finding::not("kernel", Health::Bad, release, "boot Linux 6.1 or newer"),
    }
}

fn type_information() -> Finding {
    let what = "type information";
    match kernel::facts() {
        Ok(count) => Finding::good(what, format!("{} has the {count} facts guard needs", btf::VMLINUX)),
        Err(error) => Finding::not(
            what,
            Health::Bad,
            error.to_string(),
            "boot a distribution kernel with CONFIG_DEBUG_INFO_BTF=y, and run guard as root",
        ),
    }
}

fn security_modules() -> Finding {
    let what = "security modules";
    let list = read("/sys/kernel/security/lsm");
    if list.is_empty() {
        let seen = "/sys/kernel/security/lsm cannot be read";
        return Finding::fixable(what, Health::Bad, seen, fix::SECURITY);
    }
    if list.split(',').any(|name| name == "bpf") {
        return Finding::good(what, list);
    }
    let mend = format!("add lsm={list},bpf to the kernel command line (GRUB_CMDLINE_LINUX), and boot again");
    Finding::not(what, Health::Bad, format!("{list}: bpf is missing"), mend)
}

fn cgroup(at: Option<&Path>) -> Finding {
    let what = "cgroup v2";
    let Some(at) = at else {
        return Finding::fixable(what, Health::Bad, "not mounted", fix::CGROUPS);
    };
    let controllers = read(at.join("cgroup.controllers"));
    if controllers.is_empty() {
        let mend = "boot with systemd.unified_cgroup_hierarchy=1, so that limits can be enforced";
        return Finding::not(what, Health::Weak, format!("{}, without controllers", at.display()), mend);
    }
    Finding::good(what, format!("{}: {controllers}", at.display()))
}

fn bpf_file_system() -> Finding {
    let what = "bpf file system";
    let mounted = read("/proc/self/mounts").lines().any(|line| line.split(' ').nth(2) == Some("bpf"));
    if mounted {
        Finding::good(what, "/sys/fs/bpf")
    } else {
        Finding::fixable(what, Health::Bad, "not mounted", fix::BPF)
    }
}

fn tracing() -> Finding {
    let what = "ftrace";
    if crate::status::ftrace_enabled() {
        Finding::good(what, "kernel.ftrace_enabled is 1")
    } else {
        let seen = "kernel.ftrace_enabled is not 1, which silences every LSM program";
        Finding::fixable(what, Health::Bad, seen, fix::FTRACE)
    }
}

fn unprivileged_bpf() -> Finding {
    let what = "unprivileged bpf";
    match read("/proc/sys/kernel/unprivileged_bpf_disabled").as_str() {
        "0" => Finding::fixable(what, Health::Weak, "allowed", fix::UNPRIVILEGED_BPF),
        other => Finding::good(what, format!("disabled ({other})")),
    }
}

fn addresses() -> Finding {
    let what = "kernel addresses";
    match read("/proc/sys/kernel/kptr_restrict").as_str() {
        "2" => Finding::fixable(what, Health::Bad, "hidden from root", fix::ADDRESSES),
        other => Finding::good(what, format!("root sees them (kernel.kptr_restrict is {other})")),
    }
}

fn privilege() -> Finding {
    if nix::unistd::geteuid().is_root() {
        Finding::good("privilege", "root")
    } else {
        Finding::not("privilege", Health::Bad, "not root", "run guard as root")
    }
}

fn programs() -> Finding {
    match kernel::probe() {
        Ok(()) => Finding::good("LSM programs", "the kernel takes them"),
        Err(error) => Finding::not(
            "LSM programs",
            Health::Bad,
            crate::daemon::chain(&error),
            "use a kernel that lets root load BPF LSM programs (CONFIG_BPF_LSM=y, no lockdown=confidentiality)",
        ),
    }
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}
