//! Emulation or hardware: hardware only where it has been seen to boot this kernel.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};

use super::{Failure, Guest};
use crate::paths;

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accel {
    Emulation,
    Hardware,
}

/// Where hardware works a guest is up in a second; where it does not, it hangs.
const PATIENCE: Duration = Duration::from_secs(6);

/// `GUARD_ACCEL=tcg|kvm` decides; else a probe does, once for each kernel of this host.
pub(super) fn choose(guest: &Guest) -> Result<Accel> {
    match std::env::var("GUARD_ACCEL").as_deref() {
        Ok("tcg") => return Ok(Accel::Emulation),
        Ok("kvm") => return Ok(Accel::Hardware),
        Ok(other) => bail!("GUARD_ACCEL={other}: write tcg or kvm"),
        Err(_) => {}
    }
    // A device node is no promise: on nested or restricted hosts it opens, and stock kernels hang.
    if guest.icount || OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
        return Ok(Accel::Emulation);
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let note = |name: &str| paths::target().join("vm").join(format!("kvm-{name}-{}", host.trim()));
    if known(&note("any")) == Some(false) {
        return Ok(Accel::Emulation);
    }
    let note_here = note(&guest.kernel.release);
    let boots = match known(&note_here) {
        Some(boots) => boots,
        None => {
            let boots = probe(guest)?;
            paths::write(&note_here, if boots { b"yes" } else { b"no" })?;
            if !boots {
                // One kernel that hangs is reason enough not to wait for the others to hang too.
                paths::write(&note("any"), b"no")?;
            }
            boots
        }
    };
    Ok(if boots { Accel::Hardware } else { Accel::Emulation })
}

fn known(note: &Path) -> Option<bool> {
    match std::fs::read_to_string(note).ok()?.as_str() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn probe(guest: &Guest) -> Result<bool> {
    eprintln!("xtask: trying hardware virtualisation (once; GUARD_ACCEL=tcg or kvm decides instead)");
    let bare = Guest {
        accel: Some(Accel::Hardware),
        root: None,
        overlays: Vec::<(PathBuf, String)>::new(),
        files: Vec::new(),
        fetch: Vec::new(),
        timeout: PATIENCE,
        ..guest.clone()
    };
    let boots = match bare.run(&["true".to_owned()]) {
        Ok(output) => output.status.success(),
        // Only a guest that failed says something about the hardware.
        Err(error) if error.is::<Failure>() => false,
        Err(error) => return Err(error),
    };
    eprintln!("xtask: {}", if boots { "it boots" } else { "it does not boot: guests are emulated" });
    Ok(boots)
}
