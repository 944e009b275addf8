//! System calls that nix has no safe wrapper for. The only module with `unsafe`.

#![expect(unsafe_code, reason = "this is the module for it")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::libc;

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn owned(fd: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel just gave this descriptor to us alone.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// Maps the first page of a file privately, and unmaps it.
pub(crate) fn map_and_unmap(fd: BorrowedFd<'_>, protection: libc::c_int) -> io::Result<()> {
    // SAFETY: a new mapping where the kernel finds room; nobody has its address but these two calls.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), 4096, protection, libc::MAP_PRIVATE, fd.as_raw_fd(), 0);
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        check(libc::munmap(at, 4096).into()).map(drop)
    }
}

/// `bpf(2)` with an attribute union of words; only for commands that get no address but those of `keep`.
pub(crate) fn bpf(command: i64, attribute: &mut [u64; 18], keep: &[&[u8]]) -> io::Result<OwnedFd> {
    // SAFETY: the attribute is as long as said; the addresses in it are those of `keep`, which outlive the call and
    // which the kernel only reads.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, attribute.as_mut_ptr(), size_of_val(attribute)) };
    let _ = keep;
    check(result).map(owned)
}

/// `landlock_create_ruleset(2)`; without a ruleset, the version of the interface.
pub(crate) fn landlock_create(ruleset: Option<&[u64; 2]>) -> io::Result<i64> {
    const VERSION: u32 = 1;
    // SAFETY: null and nothing, or words that outlive the call.
    check(unsafe {
        match ruleset {
            None => {
                libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u64>(), 0usize, VERSION)
            }
            Some(words) => {
                libc::syscall(libc::SYS_landlock_create_ruleset, words.as_ptr(), size_of_val(words), 0u32)
            }
        }
    })
}

/// A descriptor that `landlock_create` or `seccomp_listen` gave.
pub(crate) fn adopt(fd: i64) -> OwnedFd {
    owned(fd)
}

/// `landlock_add_rule(2)`: kind 1 is a path and its rights, kind 2 a port and its rights.
pub(crate) fn landlock_add(ruleset: BorrowedFd<'_>, kind: u32, rule: &[u8]) -> io::Result<()> {
    // SAFETY: the rule's bytes outlive the call; the kernel reads 12 or 16 of them, and the callers give 16.
    let result =
        unsafe { libc::syscall(libc::SYS_landlock_add_rule, ruleset.as_raw_fd(), kind, rule.as_ptr(), 0u32) };
    check(result).map(drop)
}

pub(crate) fn landlock_restrict(ruleset: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes numbers.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0u32) }).map(drop)
}

/// Installs a classic filter that asks a listener; gives the listener's descriptor.
pub(crate) fn seccomp_listen(filter: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the filter outlives the call, and the kernel only reads it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    check(result).map(owned)
}

/// An `ioctl` of the seccomp listener on a structure of words as long as the request number says.
pub(crate) fn seccomp_ioctl<const N: usize>(
    listener: BorrowedFd<'_>,
    request: u64,
    words: &mut [u64; N],
) -> io::Result<()> {
    assert_eq!((request >> 16 & 0x3fff) as usize, size_of_val(words), "the request's size");
    // SAFETY: the kernel reads and writes as many bytes as the request number says, and the words are as many.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), request, words.as_mut_ptr()) }.into()).map(drop)
}
