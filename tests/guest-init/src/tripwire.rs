//! Notices a SIGKILL meant for PID 1. The kernel drops it (init is unkillable from its own namespace), so that a
//! command which tries to take the guest down would look like one that ended well.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

const INSTANCE: &str = "/sys/kernel/tracing/instances/guest-init";

pub(crate) struct Tripwire {
    pipe: File,
}

impl Tripwire {
    /// A trace instance of its own, so that a test may use the main one as it likes.
    pub(crate) fn set() -> io::Result<Self> {
        fs::create_dir(INSTANCE)?;
        let event = format!("{INSTANCE}/events/signal/signal_generate");
        write(&format!("{event}/filter"), "sig==9 && pid==1")?;
        write(&format!("{event}/enable"), "1")?;
        let pipe = OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open(format!("{INSTANCE}/trace_pipe"))?;
        Ok(Self { pipe })
    }

    /// Who pulled it: the trace line, if there is one.
    pub(crate) fn pulled(&mut self) -> Option<String> {
        let mut text = vec![0; 4096];
        let length = self.pipe.read(&mut text).ok().filter(|&length| length > 0)?;
        Some(String::from_utf8_lossy(&text[..length]).lines().next().unwrap_or_default().trim().to_owned())
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

fn write(path: &str, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}
