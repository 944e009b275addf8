//! The commands' end.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use thiserror::Error;

use super::wire::{self, Reply};
use super::{Refusal, Request, SOCKET};

/// How long an answer may take: a reload compiles every policy, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// Answers are longer than requests: lists of sessions and approvals.
const LONGEST_ANSWER: u64 = 16 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error("no daemon answers at {path}: start `guard daemon`")]
    NoDaemon {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The socket may not be used.
    #[error("may not speak with the daemon at {path}: be root or in the group `guard`, outside every domain")]
    NotAllowed {
        /// The socket.
        path: PathBuf,
    },
    /// The conversation broke off.
    #[error("speak with the daemon")]
    Io(#[from] io::Error),
    /// The answer makes no sense: another version, most likely.
    #[error("the daemon's answer cannot be read: use the `guard` of the same package")]
    Answer(#[from] serde_json::Error),
    /// The daemon said no.
    #[error("{}", .0.text())]
    Refused(Refusal),
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the daemon whose runtime state is in `run`.
    pub fn connect(run: &Path) -> Result<Self, ControlError> {
        let path = run.join(SOCKET);
        let stream = UnixStream::connect(&path).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => ControlError::NotAllowed { path },
            _ => ControlError::NoDaemon { path, source },
        })?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Asks, and waits for the answer; [`Request`] says what type it has.
    pub fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, ControlError> {
        let line = format!("{}\n", wire::encode(request)?);
        self.stream.get_mut().write_all(line.as_bytes())?;
        let mut answer = Vec::new();
        self.stream.by_ref().take(LONGEST_ANSWER).read_until(b'\n', &mut answer)?;
        if answer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the daemon hung up").into());
        }
        match serde_json::from_slice(&answer)? {
            Reply::Ok(value) => Ok(serde_json::from_value(value)?),
            Reply::Error(refusal) => Err(ControlError::Refused(refusal)),
        }
    }
}
