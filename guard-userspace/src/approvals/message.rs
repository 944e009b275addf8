//! What others are told of a held call: the kernel's facts, and what became of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::Request;
use crate::audit::{Host, timestamp};

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// To a decider: what is the answer?
    Ask,
    /// It waits.
    Held,
    /// It was answered, or its time is up.
    Answered,
    /// Whoever made the call is gone, or makes another one.
    Void,
}

/// How a call ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// A reason code of the records.
    pub outcome: String,
    /// A user, `guard`, or a decider.
    pub by: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Why a decider's answer did not count.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_session_seconds: Option<u64>,
}

#[derive(Serialize)]
struct Message<'a> {
    event: Event,
    time: String,
    host: &'a str,
    boot: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_ms: Option<u64>,
    #[serde(flatten)]
    outcome: Option<&'a Outcome>,
    call: &'a Request,
}

/// One message, as JSON in one line without its newline.
pub fn message(event: Event, host: &Host, call: &Request, outcome: Option<&Outcome>) -> Vec<u8> {
    written(event, host, call, outcome, None)
}

/// What a decider is asked.
pub fn question(host: &Host, call: &Request, deadline: Duration) -> Vec<u8> {
    written(Event::Ask, host, call, None, u64::try_from(deadline.as_millis()).ok())
}

fn written(
    event: Event,
    host: &Host,
    call: &Request,
    outcome: Option<&Outcome>,
    deadline_ms: Option<u64>,
) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let time = timestamp(u64::try_from(now).unwrap_or(u64::MAX));
    let message = Message { event, time, host: &host.name, boot: &host.boot, deadline_ms, outcome, call };
    // Strings and numbers alone: there is nothing that JSON could not say.
    serde_json::to_vec(&message).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_message_holds_the_facts_as_they_are_shown() {
        let host = Host { name: "h".to_owned(), boot: "b".to_owned() };
        let call = Request { id: 3, object: "/a \\x0a".to_owned(), ..Request::default() };
        let held: Value = serde_json::from_slice(&message(Event::Held, &host, &call, None)).unwrap();
        assert_eq!((held["event"].as_str(), held["host"].as_str()), (Some("held"), Some("h")));
        assert_eq!(held["call"], serde_json::to_value(&call).unwrap());
        assert!(held.get("outcome").is_none() && held.get("deadline_ms").is_none());
        let outcome = Outcome { outcome: "denied".to_owned(), by: "dev".to_owned(), ..Outcome::default() };
        let text = message(Event::Answered, &host, &call, Some(&outcome));
        assert!(!text.contains(&b'\n'));
        let answered: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!((answered["outcome"].as_str(), answered["by"].as_str()), (Some("denied"), Some("dev")));
        let asked: Value = serde_json::from_slice(&question(&host, &call, Duration::from_secs(2))).unwrap();
        assert_eq!((asked["event"].as_str(), asked["deadline_ms"].as_u64()), (Some("ask"), Some(2000)));
    }
}
