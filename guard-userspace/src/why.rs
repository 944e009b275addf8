//! `guard why`: what an agent is told of its own refusals, and of nobody else's.
//!
//! The daemon remembers the last refusals, throttles and holds of each session ([`Memory`], fed where records are made)
//! and tells them over a socket that every domain may connect to ([`Server`]). Whoever connects says nothing: whose the
//! connection is, the kernel wrote onto the socket when it was made ([`crate::kernel::WhyMarks`]). The answer is one
//! line of JSON, and the end ([`ask`]).
#![forbid(unsafe_code)]

mod client;
mod memory;
mod server;

use serde::{Deserialize, Serialize};

pub use client::{WhyError, ask};
pub(crate) use memory::Memory;
pub(crate) use server::{Question, Server, listen};

/// The socket's name in the directory of runtime state.
pub const SOCKET: &str = "why.sock";

/// Of the answer's form.
const VERSION: u32 = 1;

/// An answer has at most so many bytes: less than what a socket takes without anybody reading.
const LONGEST: usize = 64 * 1024;

/// What one session is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub session: String,
    /// The daemon's start: nothing is remembered from before.
    pub since: String,
    /// Other refusals since then that had to make room.
    pub forgotten: u64,
    /// The newest first.
    pub refusals: Vec<Refused>,
}

/// One refusal, or several of the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Of the last one.
    pub time: String,
    pub times: u64,
    pub outcome: Outcome,
    pub verdict: String,
    pub action: String,
    pub object: String,
    /// The process that made the call.
    pub pid: u32,
    pub policy: String,
    pub rule: String,
    pub reason_code: String,
    pub reason: String,
    /// What to do instead, if the rule says it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    /// What the call returned; 0 while it waits.
    pub errno: u32,
    /// Of a throttle: from now on, and 0 if the call may be made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was not done.
    #[default]
    Refused,
    /// It is held.
    Waiting,
    /// It was held, and then let go on.
    Approved,
    /// It was held, and its process has gone.
    Void,
}

/// What goes over the socket, with the version beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    Ok(Account),
    Error(String),
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    version: u32,
    #[serde(flatten)]
    answer: Answer,
}

/// The answer as a line; an account that would be too long loses its oldest part.
fn encode(mut answer: Answer) -> serde_json::Result<Vec<u8>> {
    loop {
        let mut text = serde_json::to_vec(&Line { version: VERSION, answer: answer.clone() })?;
        text.push(b'\n');
        match &mut answer {
            Answer::Ok(account) if text.len() > LONGEST && !account.refusals.is_empty() => {
                let kept = account.refusals.len() / 2;
                account.forgotten += (account.refusals.len() - kept) as u64;
                account.refusals.truncate(kept);
            }
            Answer::Ok(_) | Answer::Error(_) => return Ok(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_too_long_for_the_socket_keeps_its_newest_part() {
        let refusal = |n: usize| Refused {
            pid: u32::try_from(n).unwrap(),
            reason: "x".repeat(5000),
            ..Refused::default()
        };
        let account = Account {
            session: "s".to_owned(),
            since: String::new(),
            forgotten: 3,
            refusals: (0..32).map(refusal).collect(),
        };
        let line = encode(Answer::Ok(account)).unwrap();
        assert!(line.len() <= LONGEST && line.ends_with(b"\n"));
        let Line { version, answer: Answer::Ok(told) } = serde_json::from_slice(&line).unwrap() else {
            panic!("{}", String::from_utf8_lossy(&line));
        };
        assert_eq!((version, told.forgotten + told.refusals.len() as u64), (VERSION, 35));
        assert!(!told.refusals.is_empty() && told.refusals[0].pid == 0);
    }
}
