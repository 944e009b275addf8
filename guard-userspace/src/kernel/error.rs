//! Why the kernel half is not there.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::btf::BtfError;
use super::facts::FactError;

/// Why the kernel half could not be brought up.
#[derive(Debug, Error)]
pub enum LoadError {
    /// No usable type information.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// Another daemon is at work with the same programs.
    #[error("a daemon is at work with the programs in {}: stop it first", .0.display())]
    Busy(PathBuf),
    /// A structure has not got a member that the programs read.
    #[error("kernel structure {of} has no member {member}: this kernel is not one guard knows")]
    Member {
        /// The structure.
        of: &'static str,
        /// The member.
        member: &'static str,
    },
    /// Two members that are read with one access lie apart.
    #[error("kernel structure {of}: {second} does not follow {first}: this kernel is not one guard knows")]
    Adjacent {
        /// The structure.
        of: &'static str,
        /// The first member.
        first: &'static str,
        /// The second.
        second: &'static str,
    },
    /// A kernel variable's address is not shown.
    #[error(
        "kernel variable {name} is not in /proc/kallsyms: guard needs root and kernel.kptr_restrict below 2"
    )]
    Symbol {
        /// The variable.
        name: &'static str,
    },
    /// The kernel is older than guard promises anything for.
    #[error(
        "kernel {release} is too old: guard needs 6.1 or newer (bpf_loop, sleepable hooks, stable prototypes)"
    )]
    TooOld {
        /// `uname -r`.
        release: String,
    },
    /// Programs would load, attach, and never be called.
    #[error(
        "bpf is not in the kernel's list of security modules ({list}), so no LSM program is ever called: boot with \
         lsm={list},bpf on the kernel command line, or start with --allow-partial to enforce the network alone"
    )]
    NotListed {
        /// The list.
        list: String,
    },
    /// The list of security modules is not to be seen.
    #[error(
        "read /sys/kernel/security/lsm: mount securityfs with `mount -t securityfs none /sys/kernel/security`"
    )]
    NoList(#[source] io::Error),
    /// The programs cannot be told what they must know.
    #[error(transparent)]
    Facts(#[from] FactError),
    /// The object could not be loaded.
    #[error("load the eBPF object")]
    Object(#[source] Box<aya::EbpfError>),
    /// A program was refused.
    #[error("load program {hook}: {reason}")]
    Program {
        /// The hook.
        hook: &'static str,
        /// The kernel's words.
        reason: String,
    },
    /// Promised hooks are missing.
    #[error("{} promised hook(s) missing: {}", .0.len(), .0.join("; "))]
    Missing(Vec<String>),
    /// Pins could not be read or written.
    #[error("{what} {path}")]
    Pin {
        /// The operation.
        what: &'static str,
        /// The pin.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

pub(super) fn pin_error(what: &'static str, path: &Path, source: io::Error) -> LoadError {
    LoadError::Pin { what, path: path.display().to_string(), source }
}
