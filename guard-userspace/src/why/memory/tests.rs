use guard_common::abi::Mode;

use super::*;
use crate::audit::Who;
use crate::events::parse_tests as kernel;

const SECOND: u64 = 1_000_000_000;

/// A decision of a session's thread on an object.
fn record(session: u64, tid: u32, reason: Reason, object: &str) -> Record {
    let mut raw = kernel::raw(0);
    (raw.session, raw.tid, raw.start_time) = (session, tid, 1);
    raw.reason = reason as u16;
    let verdict = match reason {
        Reason::OverBudget => Verdict::Throttle,
        Reason::Held | Reason::Denied | Reason::Approved => Verdict::Escalate,
        _ => Verdict::Block,
    };
    raw.verdict = verdict as u8;
    raw.detail = if reason == Reason::OverBudget { 3 * SECOND } else { 0 };
    raw.errno = match reason {
        Reason::Held | Reason::Approved => 0,
        Reason::OverBudget => -11,
        _ => -1,
    };
    let event = Event::parse(&kernel::bytes(raw, object.as_bytes())).unwrap();
    let decided = Cause {
        verdict,
        policy: "p".to_owned(),
        policy_sha256: String::new(),
        mode: Mode::Enforce,
        rule: "r".to_owned(),
        reason: "because".to_owned(),
        remedy: "do that".to_owned(),
    };
    let (time, boottime) = (event.time, event.time);
    let body = Body::Event(Box::new(EventRecord {
        event,
        who: Arc::new(Who::default()),
        exe: Arc::from(&b"/bin/sh"[..]),
        decided: Arc::new(decided),
        candidate: None,
        argv: None,
        degraded: false,
    }));
    Record { time, boottime, body }
}

fn remembers(records: &[Record]) -> Memory {
    let mut memory = Memory::new(0);
    records.iter().for_each(|record| memory.note(record));
    memory
}

fn told(memory: &Memory, session: u64) -> Vec<Refused> {
    memory.account(session, String::new(), 5 * SECOND).refusals
}

#[test]
fn a_session_is_told_its_own_and_the_newest_first() {
    let memory = remembers(&[
        record(7, 1, Reason::Rule, "/a"),
        record(8, 2, Reason::Rule, "/other"),
        record(7, 1, Reason::OverBudget, "/b"),
        record(0, 3, Reason::Rule, "/nobody"),
    ]);
    let told = told(&memory, 7);
    assert_eq!(told.iter().map(|refused| &*refused.object).collect::<Vec<_>>(), ["/b", "/a"]);
    assert_eq!((told[0].retry_after_ms, told[1].retry_after_ms), (Some(3000), None));
    assert_eq!((told[0].errno, &*told[1].reason, &*told[1].remedy), (11, "because", "do that"));
    assert!(memory.account(9, String::new(), 0).refusals.is_empty());
}

#[test]
fn a_throttle_that_is_over_says_try_now() {
    let memory = remembers(&[record(7, 1, Reason::OverBudget, "/b")]);
    let late = memory.account(7, String::new(), 60 * SECOND);
    assert_eq!(late.refusals[0].retry_after_ms, Some(0));
}

#[test]
fn what_was_let_through_is_no_refusal() {
    let mut allowed = record(7, 1, Reason::Rule, "/a");
    if let Body::Event(event) = &mut allowed.body {
        event.event.errno = 0;
    }
    // One that came with no hold before it: a session's answer.
    let memory = remembers(&[allowed, record(7, 1, Reason::Approved, "/a")]);
    assert!(told(&memory, 7).is_empty());
}

#[test]
fn the_same_refusal_takes_its_place_once() {
    let mut memory = Memory::new(0);
    for _ in 0..1000 {
        memory.note(&record(7, 1, Reason::Rule, "/a"));
        memory.note(&record(7, 2, Reason::Rule, "/b"));
    }
    let told = told(&memory, 7);
    assert_eq!(told.iter().map(|refused| refused.times).collect::<Vec<_>>(), [1000, 1000]);
}

#[test]
fn a_hold_becomes_what_came_of_it() {
    for (reason, outcome) in [(Reason::Denied, Outcome::Refused), (Reason::Approved, Outcome::Approved)] {
        let mut memory = remembers(&[
            record(7, 1, Reason::Held, "/a"),
            // Another thread waits for the same.
            record(7, 2, Reason::Held, "/a"),
            // After a reload it asks again.
            record(7, 1, Reason::Held, "/a"),
        ]);
        let outcomes =
            |memory: &Memory| told(memory, 7).iter().map(|refused| refused.outcome).collect::<Vec<_>>();
        assert_eq!(outcomes(&memory), [Outcome::Waiting, Outcome::Waiting]);
        memory.note(&record(7, 1, reason, "/a"));
        assert_eq!(outcomes(&memory), [outcome, Outcome::Waiting]);
        memory.void(7, (2, 1));
        assert_eq!(outcomes(&memory), [outcome, Outcome::Void]);
    }
}

#[test]
fn memory_is_bounded_for_each_session_and_in_all() {
    let mut memory = Memory::new(0);
    for n in 0..KEPT + 5 {
        memory.note(&record(7, 1, Reason::Rule, &format!("/{n}")));
    }
    let account = memory.account(7, String::new(), 0);
    assert_eq!((account.refusals.len(), account.forgotten), (KEPT, 5));
    assert_eq!(account.refusals[0].object, format!("/{}", KEPT + 4));
    for session in 0..SESSIONS as u64 {
        let mut one = record(100 + session, 1, Reason::Rule, "/a");
        one.boottime += session + 1;
        memory.note(&one);
    }
    assert_eq!(memory.sessions.len(), SESSIONS);
    assert!(told(&memory, 7).is_empty(), "the one that was refused something longest ago");
    memory.forget(100);
    assert!(told(&memory, 100).is_empty());
    let long = remembers(&[record(7, 1, Reason::Rule, &"/ä".repeat(2000))]);
    assert_eq!(told(&long, 7)[0].object.chars().count(), OBJECT + 1);
}
