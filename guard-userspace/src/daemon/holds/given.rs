//! An answer to a held call, and what the log says of it.

use std::time::Duration;

use guard_common::abi::Reason;

use super::now;
use crate::approvals::Pending;
use crate::audit::Value;

/// An answer as somebody gave it.
#[derive(Clone, Debug)]
pub(in crate::daemon) struct Given {
    pub(in crate::daemon) reason: Reason,
    pub(in crate::daemon) note: String,
    /// For as long, to every such call of the session.
    pub(in crate::daemon) session: Option<Duration>,
    /// Who gave it: `by`, and what else is known of them.
    pub(in crate::daemon) by: Vec<(&'static str, Value)>,
    /// Why it is not what somebody said, or somebody said nothing.
    pub(in crate::daemon) why: String,
}

impl Given {
    /// guard's own answer.
    pub(in crate::daemon) fn own(reason: Reason) -> Self {
        let by = vec![("by", Value::Text("guard".to_owned()))];
        Self { reason, note: String::new(), session: None, by, why: String::new() }
    }
}

/// What a record says of an answer.
pub(in crate::daemon) fn record(
    pending: &Pending,
    outcome: &str,
    given: &Given,
) -> Vec<(&'static str, Value)> {
    let mut record = fields(pending, outcome, now());
    if let Some(time) = given.session {
        record.push(("for_session_seconds", Value::Number(time.as_secs())));
    }
    for (name, text) in [("note", &given.note), ("why", &given.why)] {
        if !text.is_empty() {
            record.push((name, Value::Name(text.clone().into_bytes())));
        }
    }
    record.extend(given.by.iter().cloned());
    record
}

/// What a record says of the call that was answered.
pub(super) fn fields(pending: &Pending, outcome: &str, now: u64) -> Vec<(&'static str, Value)> {
    let request = pending.seen(now);
    let text = |text: String| Value::Text(text);
    vec![
        ("request", Value::Number(request.id)),
        ("outcome", text(outcome.to_owned())),
        ("session", text(request.session)),
        ("policy", text(request.policy)),
        ("rule", text(request.rule)),
        ("action", text(request.action)),
        ("object", text(request.object)),
        ("pid", Value::Number(request.pid.into())),
        ("file_sha256", text(request.sha256)),
        ("digest", text(request.digest)),
        ("waited_ms", Value::Number(request.waited_ms)),
    ]
}
