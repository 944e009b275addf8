//! The agent's end.

use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

use super::{Account, Answer, LONGEST, Line, SOCKET, VERSION};

/// How long an answer may take: the daemon may be compiling policies.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why nothing is known.
#[derive(Debug, Error)]
pub enum WhyError {
    /// Nobody listens.
    #[error(
        "no daemon answers at {path}, so nobody knows why; whoever runs this host can start it (`guard daemon`) and \
         read the audit log"
    )]
    NoDaemon {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The socket may not be used.
    #[error("may not connect to {path}")]
    NotAllowed {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The answer broke off, or never came.
    #[error("hear the daemon's answer")]
    Io(#[from] io::Error),
    /// The answer makes no sense: another version, most likely.
    #[error("the daemon's answer cannot be read: use the `guard` of the same package")]
    Answer,
    /// There is nothing to tell.
    #[error("{0}")]
    Untold(String),
}

/// Asks the daemon whose runtime state is in `run` for the refusals of the caller's own session.
pub fn ask(run: &Path) -> Result<Account, WhyError> {
    let path = run.join(SOCKET);
    let stream = UnixStream::connect(&path).map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => WhyError::NotAllowed { path: path.clone(), source },
        _ => WhyError::NoDaemon { path: path.clone(), source },
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = Vec::new();
    let heard = stream.take(2 * LONGEST as u64).read_to_end(&mut line);
    let hung_up = || io::Error::new(io::ErrorKind::UnexpectedEof, "the daemon hung up");
    match heard {
        Ok(0) => Err(WhyError::NoDaemon { path, source: hung_up() }),
        Ok(_) => read(&line),
        // It ended while this waited to be accepted.
        Err(source) if source.kind() == io::ErrorKind::ConnectionReset => {
            Err(WhyError::NoDaemon { path, source })
        }
        Err(error) => Err(error.into()),
    }
}

fn read(line: &[u8]) -> Result<Account, WhyError> {
    let value: Value = serde_json::from_slice(line).map_err(|_| WhyError::Answer)?;
    if value["version"] != VERSION {
        return Err(WhyError::Answer);
    }
    let line: Line = serde_json::from_value(value).map_err(|_| WhyError::Answer)?;
    match line.answer {
        Answer::Ok(account) => Ok(account),
        Answer::Error(text) => Err(WhyError::Untold(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_another_version_or_none_at_all_is_refused() {
        for line in
            ["", "{}", "[]", r#"{"version":2,"error":"x"}"#, r#"{"version":1}"#, r#"{"version":1,"ok":3}"#]
        {
            assert!(matches!(read(line.as_bytes()), Err(WhyError::Answer)), "{line}");
        }
        let told = read(br#"{"version":1,"error":"no domain"}"#).unwrap_err();
        assert_eq!(told.to_string(), "no domain");
    }
}
