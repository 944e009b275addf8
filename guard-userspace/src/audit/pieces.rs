//! Parts of lines that are the same in the next line of the same process, session or cause: written once and copied.

use std::sync::Arc;

use super::line::{key, push_bytes, push_number, push_text};
use super::names::{Cause, Who};
use super::record::EventRecord;
use crate::events::Event;

/// Pieces of each kind that are kept; the next one takes the place of whichever has its number.
const KEPT: usize = 64;

/// The pieces of the last lines.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    whos: Shelf<(Arc<Who>, u32)>,
    causes: Shelf<CauseKey>,
    processes: Shelf<ProcessKey>,
}

/// The cause, and what of its event stands beside it.
#[derive(Debug)]
struct CauseKey {
    cause: Arc<Cause>,
    generation: u64,
    /// Action, operation and reason.
    numbers: (u8, u8, u16),
}

#[derive(Debug)]
struct ProcessKey {
    who: Arc<Who>,
    exe: Arc<[u8]>,
    comm: [u8; 16],
    /// When it started, and its cgroup.
    long: (u64, u64),
    /// Process, thread, parent, user, user at login.
    ids: [u32; 5],
}

const fn numbers(event: &Event) -> (u8, u8, u16) {
    (event.action as u8, event.op as u8, event.reason as u16)
}

const fn ids(event: &Event) -> [u32; 5] {
    [event.pid, event.tid, event.ppid, event.uid, event.loginuid]
}

impl Pieces {
    /// On whose behalf, and in which domain.
    pub(super) fn who(&mut self, EventRecord { event, who, .. }: &EventRecord) -> &[u8] {
        let piece = self.whos.piece(
            place(who),
            |(known, domain)| Arc::ptr_eq(known, who) && *domain == event.domain,
            || (Arc::clone(who), event.domain),
            |piece| {
                push_who(&mut piece.text, who);
                push_number(&mut piece.text, key!("domain"), event.domain.into());
            },
        );
        &piece.text
    }

    /// What stands of the decision before the object, and what behind it.
    pub(super) fn cause(&mut self, EventRecord { event, decided, .. }: &EventRecord) -> (&[u8], &[u8]) {
        let piece = self.causes.piece(
            place(decided) ^ event.op as usize,
            |known| {
                Arc::ptr_eq(&known.cause, decided)
                    && known.generation == event.generation
                    && known.numbers == numbers(event)
            },
            || CauseKey { cause: Arc::clone(decided), generation: event.generation, numbers: numbers(event) },
            |Piece { text: out, middle }| {
                push_number(out, key!("generation"), event.generation);
                push_text(out, key!("policy"), &decided.policy);
                push_text(out, key!("policy_sha256"), &decided.policy_sha256);
                push_text(out, key!("mode"), decided.mode.name());
                push_text(out, key!("action"), event.action.name());
                push_text(out, key!("op"), event.op.name());
                *middle = out.len();
                push_text(out, key!("verdict"), decided.verdict.name());
                push_text(out, key!("rule"), &decided.rule);
                push_text(out, key!("reason_code"), event.reason.name());
                push_text(out, key!("reason"), &decided.reason);
                if !decided.remedy.is_empty() {
                    push_text(out, key!("remedy"), &decided.remedy);
                }
            },
        );
        piece.text.split_at(piece.middle)
    }

    /// The process, and where it was.
    pub(super) fn process(&mut self, EventRecord { event, who, exe, .. }: &EventRecord) -> &[u8] {
        let piece = self.processes.piece(
            event.tid as usize,
            |known| {
                known.ids == ids(event)
                    && known.long == (event.start_time, event.cgroup)
                    && known.comm == event.comm
                    && Arc::ptr_eq(&known.exe, exe)
                    && Arc::ptr_eq(&known.who, who)
            },
            || ProcessKey {
                who: Arc::clone(who),
                exe: Arc::clone(exe),
                comm: event.comm,
                long: (event.start_time, event.cgroup),
                ids: ids(event),
            },
            |Piece { text: out, .. }| {
                push_process(out, event);
                push_bytes(out, key!("exe"), exe);
                push_bytes(out, key!("cgroup"), &who.cgroup);
                push_number(out, key!("cgroup_id"), event.cgroup);
            },
        );
        &piece.text
    }
}

fn push_who(out: &mut Vec<u8>, who: &Who) {
    push_text(out, key!("session"), &who.session);
    push_text(out, key!("principal"), &who.principal);
    if !who.purpose.is_empty() {
        push_text(out, key!("purpose"), &who.purpose);
    }
    push_text(out, key!("trace"), &who.trace);
}

fn push_process(out: &mut Vec<u8>, event: &Event) {
    push_number(out, key!("pid"), event.pid.into());
    push_number(out, key!("tid"), event.tid.into());
    push_number(out, key!("ppid"), event.ppid.into());
    push_number(out, key!("start_time"), event.start_time);
    push_number(out, key!("uid"), event.uid.into());
    if event.loginuid == u32::MAX {
        out.extend_from_slice(b",\"loginuid\":null");
    } else {
        push_number(out, key!("loginuid"), event.loginuid.into());
    }
    push_bytes(out, key!("comm"), event.comm());
}

/// Where what belongs to this value is kept.
fn place<T>(value: &Arc<T>) -> usize {
    // The allocator's granularity is sixteen bytes; these values have more than sixty-four.
    Arc::as_ptr(value).addr() >> 6
}

#[derive(Debug, Default)]
struct Piece {
    text: Vec<u8>,
    /// Where its second part begins, if it has two.
    middle: usize,
}

/// Pieces of one kind, each with what it depends on. A key that holds what it compares by address keeps that address
/// from being used again.
#[derive(Debug)]
struct Shelf<K>([(Option<K>, Piece); KEPT]);

impl<K> Default for Shelf<K> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| (None, Piece::default())))
    }
}

impl<K> Shelf<K> {
    /// The piece of which the key `is` the right one, written if it is not there.
    fn piece(
        &mut self,
        place: usize,
        is: impl FnOnce(&K) -> bool,
        key: impl FnOnce() -> K,
        write: impl FnOnce(&mut Piece),
    ) -> &Piece {
        let (known, piece) = &mut self.0[place % KEPT];
        if !known.as_ref().is_some_and(is) {
            piece.text.clear();
            write(piece);
            *known = Some(key());
        }
        piece
    }
}
