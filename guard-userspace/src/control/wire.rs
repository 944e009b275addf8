//! What goes over the socket: one JSON object a line, in both directions.
//!
//! `{"version":1,"do":"reload"}` is answered by `{"ok":…}` or `{"error":{"kind":"refused","text":"…"}}`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::policy::mode::Wanted;

/// Of this protocol. Another version is refused with a sentence that names both.
pub const VERSION: u32 = 1;

/// A line with more bytes is refused unread.
pub const LONGEST: usize = 64 * 1024;

/// What the daemon can be asked. Each variant says what a good answer holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Is somebody there? → [`Greeting`].
    Hello,
    /// Read the policies again now → [`Greeting`] with the generation that decides from here on.
    Reload,
    /// Which calls wait? → a list of [`crate::approvals::Request`].
    Approvals,
    /// One of them → [`crate::approvals::Request`].
    Approval {
        /// Its number.
        id: u64,
    },
    /// An answer to one of them → the [`crate::approvals::Request`] as it was.
    Answer {
        /// Its number.
        id: u64,
        approve: bool,
        /// For the record.
        note: String,
        /// Answer every such call of the session so for so many seconds; 0 for the usual time.
        session_seconds: Option<u64>,
    },
    /// Put a process that waits for it into a session of its own → [`Started`].
    Run(Run),
    /// End a session: whatever still runs in it is killed → how many processes that were.
    End { session: String },
    /// Stop everything in a session, let it go on, or kill it → [`Acted`].
    Act {
        /// Its UUID.
        session: String,
        act: Act,
        /// For the record.
        note: String,
    },
    /// Put a policy into another mode → [`Greeting`] with the generation that decides so.
    Mode {
        policy: String,
        mode: Wanted,
        /// For the record.
        note: String,
    },
    /// What lives in which domain → [`Overview`].
    Sessions,
    /// Take in the policies that a drill has put below the runtime state, or let them go → [`Greeting`].
    Drill,
    /// Write how a drill ended into the audit log → [`Greeting`].
    DrillResult(DrillResult),
}

/// What is done to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    Freeze,
    Thaw,
    Kill,
}

impl Act {
    pub fn name(self) -> &'static str {
        match self {
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
            Self::Kill => "kill",
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acted {
    pub session: String,
    pub cgroup: String,
    /// How many processes the session had, at least.
    pub processes: usize,
    /// How long it took until all of them were stopped, going on, or gone.
    pub milliseconds: u64,
}

/// What `guard run` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// A UUID of the caller's making ([`new_uuid`]).
    pub session: String,
    /// The policy to be under.
    pub policy: String,
    /// A child of the caller that runs `guard` and waits.
    pub pid: u32,
    /// On whose behalf; the caller's user if nothing is said.
    pub principal: Option<String>,
    pub purpose: Option<String>,
    /// A W3C trace id: 32 hexadecimal digits.
    pub trace: Option<String>,
}

/// The session is there, or will be in a moment: the process may go on when it is in that cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    pub session: String,
    pub cgroup: String,
}

/// Everything that is governed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Overview {
    pub domains: Vec<DomainView>,
    pub sessions: Vec<SessionView>,
}

/// One set of joined policies.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DomainView {
    pub id: u32,
    /// Policies, and profiles as `policy/profile`.
    pub policies: Vec<String>,
    /// `enforce`, `shadow`, or both where policies of both modes are joined.
    pub mode: String,
    pub sessions: usize,
    pub tasks: usize,
}

/// One life of one agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionView {
    pub session: String,
    pub domain: u32,
    pub policies: Vec<String>,
    pub cgroup: String,
    pub principal: String,
    pub purpose: String,
    pub trace: String,
    /// Seconds since 1970.
    pub began: u64,
    pub tasks: usize,
    /// Recorded decisions by verdict, since this daemon started.
    pub verdicts: std::collections::BTreeMap<String, u64>,
}

/// How a drill ended, in short; the report itself lies beside the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillResult {
    pub green: u64,
    pub gap: u64,
    pub skipped: u64,
    pub not_covered: u64,
    /// Names of the drills with a gap, as many as fit.
    pub gaps: Vec<String>,
    pub profile: String,
    /// Of the report, as JSON.
    pub report_sha256: String,
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// Of the program.
    pub version: String,
    pub pid: u32,
    pub generation: u64,
}

/// A request as it is sent.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Envelope {
    version: u32,
    #[serde(flatten)]
    request: Value,
}

/// Why there is no good answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "text", rename_all = "kebab-case")]
pub enum Refusal {
    /// Not a request of this protocol.
    Malformed(String),
    /// The caller may not ask this.
    Forbidden(String),
    /// There is no such thing as the request names.
    Unknown(String),
    /// It was tried, or could not be tried.
    Failed(String),
}

impl Refusal {
    /// The sentence alone.
    pub fn text(&self) -> &str {
        match self {
            Self::Malformed(text) | Self::Forbidden(text) | Self::Unknown(text) | Self::Failed(text) => text,
        }
    }
}

/// A random UUID.
pub fn new_uuid() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]))
}

/// Whether this can only be a UUID: it becomes part of a path.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        })
}

/// An answer as it is sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reply {
    Ok(Value),
    Error(Refusal),
}

impl Reply {
    /// A good answer. What serde cannot write, the client is told.
    pub(crate) fn ok(answer: &impl Serialize) -> Self {
        match serde_json::to_value(answer) {
            Ok(value) => Self::Ok(value),
            Err(error) => Self::Error(Refusal::Failed(format!("the answer cannot be written: {error}"))),
        }
    }
}

impl<T: Serialize> From<Result<T, Refusal>> for Reply {
    fn from(outcome: Result<T, Refusal>) -> Self {
        match outcome {
            Ok(answer) => Self::ok(&answer),
            Err(refusal) => Self::Error(refusal),
        }
    }
}

/// One request as a line, without its end.
pub fn encode(request: &Request) -> serde_json::Result<String> {
    serde_json::to_string(&Envelope { version: VERSION, request: serde_json::to_value(request)? })
}

/// Reads one line.
pub fn decode(line: &[u8]) -> Result<Request, Refusal> {
    let envelope: Envelope = serde_json::from_slice(line)
        .map_err(|error| Refusal::Malformed(format!("not a request: {error}; write {EXAMPLE}")))?;
    if envelope.version != VERSION {
        return Err(Refusal::Malformed(format!(
            "version {} of the protocol, and this daemon speaks {VERSION}: use the `guard` of the same package",
            envelope.version
        )));
    }
    serde_json::from_value(envelope.request)
        .map_err(|error| Refusal::Malformed(format!("not a request: {error}; write {EXAMPLE}")))
}

const EXAMPLE: &str = r#"{"version":1,"do":"hello"}"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_through_as_it_went_in() {
        let answer =
            Request::Answer { id: 3, approve: true, note: "fine".to_owned(), session_seconds: Some(0) };
        for request in
            [Request::Hello, Request::Reload, Request::Approvals, Request::Approval { id: 7 }, answer]
        {
            let line = encode(&request).unwrap();
            assert_eq!(decode(line.as_bytes()), Ok(request), "{line}");
        }
    }

    #[test]
    fn uuids_are_known_and_random() {
        let (one, other) = (new_uuid().unwrap(), new_uuid().unwrap());
        assert_ne!(one, other);
        assert!(is_uuid(&one) && &one[14..15] == "4");
        for wrong in ["", "../../../../../../../../../../../etc", &one[1..], &one.to_uppercase()] {
            assert!(!is_uuid(wrong), "{wrong}");
        }
    }

    #[test]
    fn whatever_else_comes_is_refused_with_what_to_write() {
        for line in [
            "",
            "{}",
            "[]",
            "hello",
            r#"{"version":1}"#,
            r#"{"version":1,"do":"x"}"#,
            "\u{0}",
            r#"{"do":"hello"}"#,
        ] {
            let refused = decode(line.as_bytes()).expect_err(line);
            assert!(refused.text().contains(EXAMPLE), "{refused:?}");
        }
        let other = decode(br#"{"version":2,"do":"hello"}"#).unwrap_err();
        assert!(other.text().contains("version 2"), "{other:?}");
    }
}
