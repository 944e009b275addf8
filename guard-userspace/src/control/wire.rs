//! What goes over the socket: one JSON object a line, in both directions.
//!
//! `{"version":1,"do":"reload"}` is answered by `{"ok":…}` or `{"error":{"kind":"refused","text":"…"}}`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    /// Take in the policies that a drill has put below the runtime state, or let them go → [`Greeting`].
    Drill,
    /// Write how a drill ended into the audit log → [`Greeting`].
    DrillResult(DrillResult),
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

/// One request as a line, without its end.
pub(super) fn encode(request: &Request) -> serde_json::Result<String> {
    serde_json::to_string(&Envelope { version: VERSION, request: serde_json::to_value(request)? })
}

/// Reads one line.
pub(super) fn decode(line: &[u8]) -> Result<Request, Refusal> {
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
        for request in [Request::Hello, Request::Reload] {
            let line = encode(&request).unwrap();
            assert_eq!(decode(line.as_bytes()), Ok(request), "{line}");
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
