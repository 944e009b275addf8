//! The way back to the host: a serial port that carries nothing but frames.
//!
//! A frame is one byte of kind, the payload's length as four bytes, least significant first, and the payload.
//! `xtask/src/guest/frame.rs` reads them.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::termios::{SetArg, cfmakeraw, tcdrain, tcgetattr, tcsetattr};

/// How the command ended, or why it could not be run to its end.
pub(crate) enum Ending {
    Exited(i32),
    Killed(i32),
    Broken(String),
}

pub(crate) struct Link {
    port: File,
}

impl Link {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let port = OpenOptions::new().read(true).write(true).open(path)?;
        let mut settings = tcgetattr(&port)?;
        cfmakeraw(&mut settings);
        tcsetattr(&port, SetArg::TCSANOW, &settings)?;
        Ok(Self { port })
    }

    pub(crate) fn ready(&mut self, release: &str) -> io::Result<()> {
        self.frame(b'R', release.as_bytes())
    }

    pub(crate) fn stdout(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.frame(b'O', bytes)
    }

    pub(crate) fn stderr(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.frame(b'E', bytes)
    }

    /// A file the host asked for: its path, then its content in pieces.
    pub(crate) fn file(&mut self, path: &Path) -> io::Result<()> {
        let mut file = File::open(path)?;
        self.frame(b'F', path.as_os_str().as_bytes())?;
        let mut bytes = [0; 4096];
        loop {
            match file.read(&mut bytes)? {
                0 => return Ok(()),
                length => self.frame(b'D', &bytes[..length])?,
            }
        }
    }

    pub(crate) fn end(&mut self, ending: &Ending) -> io::Result<()> {
        match ending {
            Ending::Exited(code) => self.frame(b'X', &code.to_le_bytes())?,
            Ending::Killed(signal) => self.frame(b'K', &signal.to_le_bytes())?,
            Ending::Broken(why) => self.frame(b'B', why.as_bytes())?,
        }
        tcdrain(&self.port).map_err(Into::into)
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let mut frame = Vec::with_capacity(payload.len() + 5);
        frame.push(kind);
        frame.extend(length.to_le_bytes());
        frame.extend(payload);
        self.port.write_all(&frame)
    }
}
