//! As whom: an ordinary user, root as containers have it, root.

use std::io;

use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};

use super::sys;

/// What docker leaves root in a container: chown, dac-override, fowner, fsetid, kill, setgid, setuid, setpcap,
/// net-bind-service, net-raw, sys-chroot, mknod, audit-write, setfcap.
const CONTAINER: u64 = 1
    | 1 << 1
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 6
    | 1 << 7
    | 1 << 8
    | 1 << 10
    | 1 << 13
    | 1 << 18
    | 1 << 27
    | 1 << 29
    | 1 << 31;

const CAPABILITIES: u64 = 41;

/// Nobody's.
pub(crate) const USER: u32 = 65534;

/// Becomes it; unknown words are an error, or a mistyped tier would be root.
pub(crate) fn become_it(tier: &str) -> io::Result<()> {
    match tier {
        "user" => {
            setgroups(&[])?;
            setgid(Gid::from_raw(USER))?;
            setuid(Uid::from_raw(USER))?;
            // Or its own files in procfs would belong to root.
            nix::sys::prctl::set_dumpable(true)?;
            Ok(())
        }
        "container" => {
            for capability in (0..CAPABILITIES).filter(|bit| CONTAINER >> bit & 1 == 0) {
                // Newer kernels know more, older ones fewer.
                let _ = sys::call(libc::SYS_prctl, &mut [libc::PR_CAPBSET_DROP.into(), capability.into()]);
            }
            let header: Vec<u8> = [0x2008_0522_u32, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
            let (low, high) = (CONTAINER as u32, (CONTAINER >> 32) as u32);
            let sets: Vec<u8> =
                [low, low, 0, high, high, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
            sys::call(libc::SYS_capset, &mut [header.as_slice().into(), sets.as_slice().into()]).map(drop)
        }
        "root" => Ok(()),
        other => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("tier={other}"))),
    }
}
