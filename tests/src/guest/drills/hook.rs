//! One hook's program, taken away and put back: the programs stay loaded, so that it costs no verifying.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use guard_userspace::kernel::hooks::{HOOKS, Kind};

use super::super::sys::{Arg, c, call, call_fd};

const OBJ_PIN: i32 = 6;
const OBJ_GET: i32 = 7;
const PROG_GET_FD_BY_ID: i32 = 13;
const OBJ_GET_INFO_BY_FD: i32 = 15;
const LINK_CREATE: i32 = 28;

/// `enum bpf_attach_type`.
const INET_EGRESS: u32 = 1;
const SYSCTL: u32 = 18;
const TRACE_RAW_TP: u32 = 23;
const LSM_MAC: u32 = 27;

/// `union bpf_attr`: words of 32 bits at their places.
fn attr(words: &[(usize, u32)], addresses: &[(usize, u64)]) -> [u8; 128] {
    let mut bytes = [0; 128];
    for (at, word) in words {
        bytes[*at..at + 4].copy_from_slice(&word.to_ne_bytes());
    }
    for (at, address) in addresses {
        bytes[*at..at + 8].copy_from_slice(&address.to_ne_bytes());
    }
    bytes
}

fn bpf(command: i32, attr: &[u8; 128]) -> io::Result<OwnedFd> {
    call_fd(libc::SYS_bpf, &mut [command.into(), attr.as_slice().into(), Arg::Num(128)])
}

fn number(fd: &OwnedFd) -> u32 {
    std::os::fd::AsRawFd::as_raw_fd(fd).cast_unsigned()
}

/// A hook without its program, until [`Gone::back`].
#[derive(Debug)]
pub(super) struct Gone {
    pin: PathBuf,
    program: OwnedFd,
    kind: Kind,
}

/// Takes the program of a pinned link off its hook.
pub(super) fn take_away(pin: &Path) -> Result<Gone> {
    let name = pin.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let hook = HOOKS.iter().find(|hook| hook.name == name).with_context(|| format!("no hook is {name}"))?;
    let path = c(pin);
    let link = bpf(OBJ_GET, &attr(&[], &[(0, path.as_ptr() as u64)])).context("open the link")?;
    // struct bpf_link_info: type, id, program's id.
    let mut info = [0u8; 128];
    let ask = attr(&[(0, number(&link)), (4, 128)], &[(8, info.as_mut_ptr() as u64)]);
    call(libc::SYS_bpf, &mut [OBJ_GET_INFO_BY_FD.into(), ask.as_slice().into(), Arg::Num(128)])
        .context("ask for the link's program")?;
    let id = u32::from_ne_bytes([info[8], info[9], info[10], info[11]]);
    let program = bpf(PROG_GET_FD_BY_ID, &attr(&[(0, id)], &[])).context("open the program")?;
    fs::remove_file(pin).context("remove the pin")?;
    Ok(Gone { pin: pin.to_owned(), program, kind: hook.kind })
}

impl Gone {
    /// Attaches it again and pins the new link where the old one was.
    pub(super) fn back(self) -> Result<()> {
        let (target, kind) = match self.kind {
            Kind::Lsm => (None, LSM_MAC),
            Kind::Tracepoint => (None, TRACE_RAW_TP),
            Kind::Sysctl => (Some(root()?), SYSCTL),
            Kind::Egress => (Some(root()?), INET_EGRESS),
            Kind::Address(_) | Kind::Socket => (Some(root()?), u32::MAX),
        };
        ensure!(kind != u32::MAX, "{} is not attached where LSM programs are", self.pin.display());
        let target = target.as_ref().map_or(0, number);
        let ask = attr(&[(0, number(&self.program)), (4, target), (8, kind)], &[]);
        let link = bpf(LINK_CREATE, &ask).with_context(|| format!("attach {} again", self.pin.display()))?;
        let path = c(&self.pin);
        let ask = attr(&[(8, number(&link))], &[(0, path.as_ptr() as u64)]);
        call(libc::SYS_bpf, &mut [OBJ_PIN.into(), ask.as_slice().into(), Arg::Num(128)])
            .with_context(|| format!("pin {} again", self.pin.display()))?;
        Ok(())
    }
}

fn root() -> Result<OwnedFd> {
    Ok(fs::File::open("/sys/fs/cgroup")?.into())
}
