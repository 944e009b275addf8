//! Whose a connection to guard's own socket for agents is, as the programs wrote it onto the connection.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use zerocopy::IntoBytes as _;

use super::Kernel;
use crate::sys::bpf;

/// What the programs know of sockets: see `WHY` in the programs.
#[derive(Debug)]
pub struct WhyMarks(OwnedFd);

impl Kernel {
    /// Marks and reads sockets, in whatever task.
    pub fn why_marks(&self) -> io::Result<WhyMarks> {
        Ok(WhyMarks(self.map("WHY")?.try_clone_to_owned()?))
    }
}

impl WhyMarks {
    /// Makes a socket the one that every domain may connect to, for as long as the socket is there.
    pub fn mark(&self, listener: BorrowedFd<'_>) -> io::Result<()> {
        bpf::update(self.0.as_fd(), listener.as_raw_fd().as_bytes(), 0u64.as_bytes())
    }

    /// The session that made the connection that this socket was accepted for; `None` for one from outside.
    pub fn session(&self, accepted: BorrowedFd<'_>) -> io::Result<Option<u64>> {
        let mut session = 0u64;
        let found = bpf::lookup(self.0.as_fd(), accepted.as_raw_fd().as_bytes(), session.as_mut_bytes())?;
        Ok(found.then_some(session).filter(|session| *session != 0))
    }
}
