//! A program that answers held calls. It is asked about one call on one connection; whatever is not a right answer in
//! time is none.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::sign;
use crate::config::{Ask, Decider, Secret, Url};
use crate::control::Peer;
use crate::sinks::http::{self, Response};

/// Longest answer, in bytes.
const LONGEST: usize = 16 << 10;
/// Longest note.
const NOTE: usize = 1024;
/// Between tries to reach one that is not there: it may be starting again.
const PAUSE: Duration = Duration::from_millis(50);

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    Approve,
    Deny,
    /// It is for people.
    Pass,
}

impl Word {
    pub const ALL: [Self; 3] = [Self::Approve, Self::Deny, Self::Pass];

    pub fn name(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Deny => "deny",
            Self::Pass => "pass",
        }
    }
}

/// What a decider says of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub word: Word,
    pub note: String,
    /// Who listens on the socket, if it is one.
    pub peer: Option<Peer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerText {
    answer: Word,
    note: Option<String>,
    /// What it answers, if it says so: the call's digest.
    digest: Option<String>,
}

/// Why there is no answer yet, or none at all.
enum Fault {
    /// It is not there, or went away: maybe it comes back.
    Away(io::Error),
    /// It is there, and answers wrongly.
    Wrong(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::Wrong(error.to_string()),
            _ => Self::Away(error),
        }
    }
}

/// Asks about the call with this digest; an error says why that gave no answer.
pub async fn ask(decider: &Decider, digest: &str, question: &[u8]) -> Result<Said, String> {
    let mut last = None;
    let tries = async {
        loop {
            let attempt = match &decider.ask {
                Ask::Socket(path) => by_socket(path, question).await,
                Ask::Http(url, secret) => by_http(url, secret, question).await,
            };
            match attempt.and_then(|(text, peer)| read(&text, digest, peer).map_err(Fault::Wrong)) {
                Ok(said) => return Ok(said),
                Err(Fault::Wrong(why)) => return Err(why),
                Err(Fault::Away(error)) => last = Some(error),
            }
            sleep(PAUSE).await;
        }
    };
    match timeout(decider.deadline, tries).await {
        Ok(done) => done,
        Err(_) => {
            let away = last.map(|error| format!(", at last: {error}")).unwrap_or_default();
            Err(format!("no answer within {} ms{away}", decider.deadline.as_millis()))
        }
    }
}

/// One line there, one line back.
async fn by_socket(path: &Path, question: &[u8]) -> Result<(Vec<u8>, Option<Peer>), Fault> {
    is_guarded(path)?;
    let mut stream = UnixStream::connect(path).await?;
    let peer = Peer::of(&stream)?;
    stream.write_all(&[question, b"\n"].concat()).await?;
    // Whoever reads up to the end is not kept waiting.
    stream.shutdown().await?;
    let mut answer = Vec::new();
    BufReader::new(stream).take(LONGEST as u64 + 1).read_until(b'\n', &mut answer).await?;
    if answer.is_empty() {
        return Err(Fault::Away(io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up")));
    }
    Ok((answer, Some(peer)))
}

/// Whoever could put a socket of their own in the decider's place would answer in its name.
fn is_guarded(path: &Path) -> Result<(), Fault> {
    let socket = std::fs::metadata(path)?;
    for (above, directory) in path.ancestors().skip(1).enumerate() {
        let facts = std::fs::metadata(directory)?;
        let owned = [0, socket.uid(), nix::unistd::geteuid().as_raw()].contains(&facts.uid());
        // What is further up may be everybody's, if nobody can rename what is another's there.
        let open = facts.mode() & 0o022 != 0 && (above == 0 || facts.mode() & 0o1000 == 0);
        if open || !owned {
            return Err(Fault::Wrong(format!(
                "others could put a socket in its place: {} has to be its owner's or root's alone to write",
                directory.display()
            )));
        }
    }
    Ok(())
}

async fn by_http(url: &Url, secret: &Secret, question: &[u8]) -> Result<(Vec<u8>, Option<Peer>), Fault> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let headers = sign::headers(secret, now, question);
    let answer = http::exchange(url, &headers, question, LONGEST + 1).await?;
    if answer.is_empty() {
        return Err(Fault::Away(io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up")));
    }
    if answer.len() > LONGEST {
        return Err(Fault::Wrong(too_long()));
    }
    let response = Response::parse(&answer)?;
    if response.status != 200 {
        return Err(Fault::Wrong(format!("it answered with status {}", response.status)));
    }
    let [_, (_, signature)] = &headers;
    let signed = response.header("guard-signature");
    if !signed.is_some_and(|signed| sign::answers(secret, signature, &response.body, signed)) {
        return Err(Fault::Wrong(format!("its answer is not signed with the secret ({})", sign::SIGNATURE)));
    }
    Ok((response.body, None))
}

fn too_long() -> String {
    format!("its answer has more than {LONGEST} bytes")
}

fn read(text: &[u8], digest: &str, peer: Option<Peer>) -> Result<Said, String> {
    if text.len() > LONGEST {
        return Err(too_long());
    }
    let wrong =
        |why: &str| format!("its answer is not {{\"answer\": \"approve|deny|pass\", \"note\": …}}: {why}");
    // A list of the values alone would do for serde.
    if !text.trim_ascii_start().starts_with(b"{") {
        return Err(wrong("no object"));
    }
    let answer: AnswerText = serde_json::from_slice(text).map_err(|error| wrong(&error.to_string()))?;
    if answer.digest.is_some_and(|answered| answered != digest) {
        return Err("its answer is to another call".to_owned());
    }
    let note = answer.note.unwrap_or_default();
    if note.len() > NOTE {
        return Err(format!("its note has more than {NOTE} bytes"));
    }
    Ok(Said { word: answer.answer, note, peer })
}

#[cfg(test)]
mod tests;
