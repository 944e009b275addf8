//! A task that is refused without end, so that there are more records than anybody reads.

use std::fs::OpenOptions;
use std::os::fd::AsFd;
use std::process::ExitCode;

use nix::poll::{PollFd, PollFlags, poll};

/// Tries to open the file for writing, in bursts, until standard input is closed.
pub(crate) fn beat(file: &str) -> ExitCode {
    const BURST: usize = 300;
    const PAUSE: u16 = 50;
    loop {
        for _ in 0..BURST {
            let _ = OpenOptions::new().write(true).open(file);
        }
        let input = std::io::stdin();
        let mut waits = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
        if poll(&mut waits, PAUSE) != Ok(0) {
            return ExitCode::SUCCESS;
        }
    }
}
