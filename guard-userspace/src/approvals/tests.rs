use std::sync::Arc;

use guard_common::abi::{Action, EventKind, Mode, Op, Reason, Verdict};

use super::*;
use crate::audit::{Cause, EventRecord, Who};
use crate::events::Event;

const BOUNDS: Bounds = Bounds { timeout: Duration::from_secs(300), pending: 3, pending_per_session: 2 };

fn call(tid: u32, session: u64, digest: u64, object: &str) -> HeldCall {
    let mut raw = crate::events::parse_tests::raw(u64::from(tid));
    raw.pid = tid;
    raw.tid = tid;
    raw.session = session;
    raw.detail = digest;
    raw.reason = Reason::Held as u16;
    raw.verdict = Verdict::Escalate as u8;
    raw.errno = 0;
    let event = Event::parse(&crate::events::parse_tests::bytes(raw, object.as_bytes())).unwrap();
    assert_eq!((event.kind, event.action, event.op), (EventKind::Decision, Action::Write, Op::Open));
    let decided = Cause {
        verdict: Verdict::Escalate,
        policy: "p".to_owned(),
        policy_sha256: String::new(),
        mode: Mode::Enforce,
        rule: "r".to_owned(),
        reason: String::new(),
        remedy: String::new(),
    };
    let record = EventRecord {
        event,
        who: Arc::new(Who::default()),
        exe: Arc::from(&b"/bin/sh"[..]),
        decided: Arc::new(decided),
        candidate: None,
        argv: None,
        degraded: false,
    };
    HeldCall { record, argv: None }
}

#[test]
fn a_session_and_a_policy_have_their_bounds() {
    let mut queue = Queue::default();
    assert_eq!(queue.arrive(&call(1, 7, 1, "/a"), 0, BOUNDS), Arrival::New(1));
    assert_eq!(queue.arrive(&call(2, 7, 2, "/b"), 0, BOUNDS), Arrival::New(2));
    assert_eq!(queue.arrive(&call(3, 7, 3, "/c"), 0, BOUNDS), Arrival::Full);
    assert_eq!(queue.arrive(&call(4, 8, 4, "/d"), 0, BOUNDS), Arrival::New(3));
    assert_eq!(queue.arrive(&call(5, 9, 5, "/e"), 0, BOUNDS), Arrival::Full);
    assert!(queue.take(1).is_some());
    assert_eq!(queue.arrive(&call(5, 9, 5, "/e"), 0, BOUNDS), Arrival::New(4));
}

#[test]
fn a_call_that_comes_again_waits_once_and_keeps_its_time() {
    let mut queue = Queue::default();
    assert_eq!(queue.arrive(&call(1, 7, 1, "/a"), 10, BOUNDS), Arrival::New(1));
    assert_eq!(queue.arrive(&call(1, 7, 1, "/a"), 20, BOUNDS), Arrival::Known(1));
    // The same object with other arguments, or under another generation: a number that somebody has seen is of what they saw.
    assert_eq!(queue.arrive(&call(1, 7, 99, "/a"), 30, BOUNDS), Arrival::New(2));
    let pending = queue.get(2).unwrap();
    assert_eq!((pending.digest, pending.since), (99, 10));
    assert_eq!(queue.replaced().map(|(before, _)| before.request.id), Some(1));
    assert!(queue.get(1).is_none());
    // Another call of the same thread.
    assert_eq!(queue.arrive(&call(1, 7, 5, "/b"), 40, BOUNDS), Arrival::New(3));
    assert_eq!(queue.replaced().map(|(before, _)| before.request.id), Some(2));
    assert!(queue.replaced().is_none());
    assert!(queue.get(2).is_none());
    // Another daemon's.
    assert_eq!(Queue::after(300).arrive(&call(1, 7, 1, "/a"), 50, BOUNDS), Arrival::New(301));
}

#[test]
fn what_nobody_answers_is_over_at_its_deadline() {
    let mut queue = Queue::default();
    queue.arrive(&call(1, 7, 1, "/a"), 0, BOUNDS);
    let end = 300_000_000_000;
    assert!(queue.expire(end - 1).is_empty());
    assert_eq!(queue.list(end - 5_000_000)[0].left_ms, 5);
    assert_eq!(queue.expire(end).len(), 1);
    assert!(queue.is_empty());
}
