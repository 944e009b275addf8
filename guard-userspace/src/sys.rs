//! System calls that neither aya nor nix offers, each behind a safe function. The only module with `unsafe`.

#![expect(unsafe_code, reason = "this is the module for it")]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub(crate) mod bpf;

/// A descriptor that tokio can wait on.
pub(crate) fn wait_on(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and ours until it is dropped, and always the same number.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(io::Error::from)
}
