//! The floor: programs that do nothing, on every hook that guard attaches to. What they cost, any program there costs.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use guard_userspace::kernel::btf::Btf;
use guard_userspace::kernel::hooks::{Hook, Kind, Tier, hooks};

use crate::sys;

const PROG_LOAD: i64 = 5;
const RAW_TRACEPOINT_OPEN: i64 = 17;
const LINK_CREATE: i64 = 28;

/// How a kind of hook is spelt in `bpf(2)`: the program's type, the attach type, and what the program returns.
struct Spelling {
    program: u64,
    attach: u64,
    result: u8,
}

fn spelling(kind: Kind) -> Spelling {
    match kind {
        Kind::Lsm => Spelling { program: 29, attach: 27, result: 0 },
        Kind::Tracepoint => Spelling { program: 26, attach: 23, result: 0 },
        Kind::Sysctl => Spelling { program: 23, attach: 18, result: 1 },
        Kind::Egress => Spelling { program: 8, attach: 1, result: 1 },
        Kind::Socket => Spelling { program: 9, attach: 2, result: 1 },
        Kind::Address(kind) => Spelling { program: 18, attach: kind.into(), result: 1 },
    }
}

/// Attaches an empty program to each hook of this kernel, for as long as the result lives.
pub(crate) fn attach() -> Result<Vec<OwnedFd>> {
    let types = Btf::vmlinux()?;
    let root = File::open("/sys/fs/cgroup").context("open the root cgroup")?;
    let mut links = Vec::new();
    for hook in hooks(Tier::Full) {
        let target = match hook.prototype() {
            None => 0,
            Some(function) => match types.id(&function) {
                Some(id) => id,
                // This kernel has no such hook.
                None => continue,
            },
        };
        let program = load(hook, target).with_context(|| format!("load an empty {}", hook.name))?;
        links.push(
            link(hook, program.as_fd(), root.as_fd())
                .with_context(|| format!("attach an empty {}", hook.name))?,
        );
    }
    Ok(links)
}

fn load(hook: &Hook, target: u32) -> io::Result<OwnedFd> {
    let spelling = spelling(hook.kind);
    // r0 = result; exit
    let code = [0xb7, 0, 0, 0, spelling.result, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    let licence = *b"GPL\0";
    let mut words = [0u64; 18];
    words[0] = spelling.program | 2 << 32;
    words[1] = code.as_ptr() as u64;
    words[2] = licence.as_ptr() as u64;
    words[8] = spelling.attach << 32;
    words[13] = u64::from(target) << 32;
    sys::bpf(PROG_LOAD, &mut words, &[&code, &licence])
}

fn link(hook: &Hook, program: BorrowedFd<'_>, root: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let program = u64::from(program.as_raw_fd().cast_unsigned());
    let mut words = [0u64; 18];
    match hook.kind {
        Kind::Lsm | Kind::Tracepoint => {
            words[1] = program;
            sys::bpf(RAW_TRACEPOINT_OPEN, &mut words, &[])
        }
        Kind::Sysctl | Kind::Egress | Kind::Socket | Kind::Address(_) => {
            words[0] = program | u64::from(root.as_raw_fd().cast_unsigned()) << 32;
            words[1] = spelling(hook.kind).attach;
            sys::bpf(LINK_CREATE, &mut words, &[])
        }
    }
}
