//! What `guard doctor --fix` does: until the next boot, and nothing that could take something away.

use std::io;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use serde::Serialize;

use super::{Finding, Health};

/// One thing that guard can do itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fix {
    /// A file below `/proc/sys`, by the name that sysctl has for it.
    Sysctl { name: &'static str, value: &'static str },
    /// A file system that the kernel makes up.
    Mount { kind: &'static str, at: &'static str },
}

pub(super) const SECURITY: Fix = Fix::Mount { kind: "securityfs", at: "/sys/kernel/security" };
pub(super) const CGROUPS: Fix = Fix::Mount { kind: "cgroup2", at: "/sys/fs/cgroup" };
pub(super) const BPF: Fix = Fix::Mount { kind: "bpf", at: "/sys/fs/bpf" };
pub(super) const FTRACE: Fix = Fix::Sysctl { name: "kernel.ftrace_enabled", value: "1" };
pub(super) const ADDRESSES: Fix = Fix::Sysctl { name: "kernel.kptr_restrict", value: "1" };
/// Not 1, which nobody could take back before the next boot.
pub(super) const UNPRIVILEGED_BPF: Fix = Fix::Sysctl { name: "kernel.unprivileged_bpf_disabled", value: "2" };

/// What came of one.
#[derive(Clone, Debug, Serialize)]
pub struct Fixed {
    pub what: &'static str,
    /// The command that does the same.
    pub did: String,
    /// Why it could not be done.
    pub error: Option<String>,
}

impl Fix {
    /// As somebody would do it by hand.
    pub fn command(self) -> String {
        match self {
            Self::Sysctl { name, value } => format!("sysctl {name}={value}"),
            Self::Mount { kind, at } => format!("mount -t {kind} none {at}"),
        }
    }

    fn apply(self) -> io::Result<()> {
        match self {
            Self::Sysctl { name, value } => {
                std::fs::write(Path::new("/proc/sys").join(name.replace('.', "/")), value)
            }
            Self::Mount { kind, at } => {
                let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
                mount(Some("none"), at, Some(kind), flags, None::<&str>).map_err(io::Error::from)
            }
        }
    }
}

impl Fixed {
    /// Does everything that can be done about these.
    pub fn all(findings: &[Finding]) -> Vec<Self> {
        let open = findings.iter().filter(|finding| finding.health != Health::Good);
        open.filter_map(|finding| {
            let fix = finding.fix?;
            let error = fix.apply().err().map(|error| error.to_string());
            Some(Self { what: finding.what, did: fix.command(), error })
        })
        .collect()
    }
}
