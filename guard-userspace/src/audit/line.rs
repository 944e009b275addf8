//! A record as one line of JSON, written by hand: this is the daemon's hot path.

use std::fmt::Write as _;

use guard_common::abi::{EventFlags, EventKind, Reason};

use super::clock::Timestamps;
use super::escape::{push_json, push_name};
use super::pieces::Pieces;
use super::record::{Argv, Body, EventRecord, Note, Record, Value};
use super::scribe::Host;
use super::seal::{Hash, push_hex};
use crate::events::{Corrupt, Event, Gap, Peer};

/// A member's name as it stands in a line, in one piece: a line has forty of them.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}
pub(super) use key;

/// Bytes of a corrupt event that its record keeps: its header, because what stands behind may hold secrets.
const CORRUPT: usize = size_of::<guard_common::abi::Event>();

/// Writes lines.
#[derive(Debug)]
pub(super) struct Writer {
    times: Timestamps,
    /// `,"host":"…","boot":"…"`
    host: Vec<u8>,
    pieces: Pieces,
}

impl Writer {
    pub(super) fn new(host: &Host) -> Self {
        let mut text = b",\"host\":\"".to_vec();
        push_name(&mut text, host.name.as_bytes());
        text.extend_from_slice(b"\",\"boot\":\"");
        push_name(&mut text, host.boot.as_bytes());
        text.push(b'"');
        Self { times: Timestamps::default(), host: text, pieces: Pieces::default() }
    }

    /// Appends the line of a record without `prev` and without its end.
    pub(super) fn push(&mut self, out: &mut Vec<u8>, number: u64, record: &Record) {
        let kind = match &record.body {
            Body::Event(event) => event.event.kind.name(),
            Body::Lost(_) => "lost",
            Body::Corrupt(_) => "corrupt",
            Body::Note(note) => note.kind,
        };
        out.extend_from_slice(b"{\"kind\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.push(b'"');
        push_number(out, key!("record"), number);
        out.extend_from_slice(b",\"time\":\"");
        self.times.push(out, record.time);
        out.push(b'"');
        push_number(out, key!("boottime"), record.boottime);
        out.extend_from_slice(&self.host);
        match &record.body {
            Body::Event(event) => push_event(out, event, &mut self.pieces),
            Body::Lost(gap) => push_lost(out, gap),
            Body::Corrupt(corrupt) => push_corrupt(out, corrupt),
            Body::Note(note) => push_note(out, note),
        }
    }
}

/// Appends `prev` and the line's end, without a newline.
pub(super) fn close(out: &mut Vec<u8>, prev: &Hash) {
    out.extend_from_slice(b",\"prev\":\"");
    push_hex(out, &prev.0);
    out.extend_from_slice(b"\"}");
}

fn push_event(out: &mut Vec<u8>, record: &EventRecord, pieces: &mut Pieces) {
    let EventRecord { event, argv, degraded, .. } = record;
    push_number(out, key!("cpu"), event.cpu.into());
    push_number(out, key!("seq"), event.seq);
    out.extend_from_slice(pieces.who(record));
    match event.kind {
        EventKind::Decision => push_decision(out, record, pieces),
        EventKind::Exec => {
            push_number(out, key!("generation"), event.generation);
            push_object(out, event);
            if let Some(argv) = argv {
                push_argv(out, argv);
            }
        }
        EventKind::Exit => push_status(out, event.detail),
        EventKind::Enter | EventKind::CgroupMade | EventKind::CgroupGone => {
            push_text(out, key!("op"), event.op.name());
        }
    }
    out.extend_from_slice(pieces.process(record));
    push_flags(out, event);
    push_flag(out, key!("degraded"), *degraded);
}

/// How a process ended, as `wait` tells it: a signal in the low seven bits, or a code above them.
fn push_status(out: &mut Vec<u8>, status: u64) {
    match status & 0x7f {
        0 => push_number(out, key!("exit_code"), status >> 8 & 0xff),
        signal => push_number(out, key!("signal"), signal),
    }
}

fn push_decision(out: &mut Vec<u8>, record: &EventRecord, pieces: &mut Pieces) {
    let EventRecord { event, candidate, argv, .. } = record;
    let (before, behind) = pieces.cause(record);
    out.extend_from_slice(before);
    push_object(out, event);
    if let Some(argv) = argv {
        push_argv(out, argv);
    }
    out.extend_from_slice(behind);
    match candidate {
        Some(candidate) => {
            push_text(out, key!("candidate_verdict"), candidate.verdict.name());
            push_text(out, key!("candidate_policy"), &candidate.policy);
            push_text(out, key!("candidate_rule"), &candidate.rule);
        }
        None => out.extend_from_slice(b",\"candidate_verdict\":null"),
    }
    push_number(out, key!("errno"), event.errno.into());
    if let Some(wait) = event.retry_after() {
        push_number(out, key!("retry_after_ms"), wait.as_nanos().div_ceil(1_000_000) as u64);
    }
}

/// The object, and what kind of bytes it was.
fn push_object(out: &mut Vec<u8>, event: &Event) {
    let item = event.item().map(|item| item.name());
    let item = item.or_else(|| event.capability().map(|capability| capability.name()));
    if let Some(item) = item {
        push_text(
            out,
            key!("object_kind"),
            if event.reason == Reason::Capability { "capability" } else { "boundary" },
        );
        push_text(out, key!("object"), item);
        if event.reason == Reason::Boundary {
            push_number(out, key!("detail"), event.item_detail());
        }
        return;
    }
    let address = event.flags.has(EventFlags::ADDRESS);
    match Peer::from_key(&event.object) {
        Some(peer) if address || event.object[0] != b'/' => {
            let mut text = String::with_capacity(48);
            // Writing to a string cannot fail.
            let _ = write!(text, "{peer}");
            push_text(out, key!("object_kind"), "address");
            push_text(out, key!("object"), &text);
        }
        _ => {
            let kind: &[u8] = match event.object.first() {
                None => b",\"object_kind\":\"none\"",
                Some(b'@') => b",\"object_kind\":\"socket\"",
                Some(_) => b",\"object_kind\":\"path\"",
            };
            out.extend_from_slice(kind);
            push_bytes(out, key!("object"), &event.object);
        }
    }
}

fn push_argv(out: &mut Vec<u8>, argv: &Argv) {
    push_number(out, key!("argc"), argv.count.into());
    out.extend_from_slice(b",\"argv_sha256\":\"");
    push_hex(out, &argv.digest);
    out.push(b'"');
    if let Some(text) = &argv.text {
        out.extend_from_slice(b",\"argv\":[");
        for (index, entry) in text.iter().enumerate() {
            out.extend_from_slice(if index == 0 { b"\"" } else { b",\"" });
            push_name(out, entry);
            out.push(b'"');
        }
        out.push(b']');
    }
}

fn push_flags(out: &mut Vec<u8>, event: &Event) {
    let names = [
        (EventFlags::SHADOWED, key!("shadowed")),
        (EventFlags::IO_WORKER, key!("io_worker")),
        (EventFlags::DIRECTORY, key!("directory")),
        (EventFlags::CUT, key!("cut")),
    ];
    for (_, name) in names.iter().filter(|(flag, _)| event.flags.has(*flag)) {
        push_flag(out, name, true);
    }
}

fn push_lost(out: &mut Vec<u8>, gap: &Gap) {
    push_number(out, key!("cpu"), gap.cpu.into());
    push_number(out, key!("first"), gap.first);
    push_number(out, key!("count"), gap.count);
    push_number(out, key!("after"), gap.after);
    push_number(out, key!("before"), gap.before);
}

fn push_corrupt(out: &mut Vec<u8>, corrupt: &Corrupt) {
    if let Some((cpu, seq)) = corrupt.place {
        push_number(out, key!("cpu"), cpu.into());
        push_number(out, key!("seq"), seq);
    }
    push_text(out, key!("field"), corrupt.field.name());
    push_number(out, key!("value"), corrupt.value);
    push_number(out, key!("length"), corrupt.bytes.len() as u64);
    out.extend_from_slice(b",\"bytes\":\"");
    push_hex(out, &corrupt.bytes[..corrupt.bytes.len().min(CORRUPT)]);
    out.push(b'"');
}

fn push_note(out: &mut Vec<u8>, note: &Note) {
    for (name, value) in &note.fields {
        let key = &format!(",\"{name}\":");
        match value {
            Value::Text(text) => push_text(out, key, text),
            Value::Name(bytes) => push_bytes(out, key, bytes),
            Value::Number(number) => push_number(out, key, *number),
            Value::Signed(number) => {
                push_key(out, key);
                out.extend_from_slice(number.to_string().as_bytes());
            }
            Value::Flag(flag) => push_flag(out, key, *flag),
            Value::Pairs(pairs) => {
                push_key(out, key);
                out.push(b'[');
                for (index, (cpu, next)) in pairs.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    out.extend_from_slice(format!("{comma}[{cpu},{next}]").as_bytes());
                }
                out.push(b']');
            }
            Value::Segments(segments) => {
                push_key(out, key);
                out.push(b'[');
                for (index, (number, hash)) in segments.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    let entry = format!("{comma}{{\"segment\":{number},\"hash\":\"{hash}\"}}");
                    out.extend_from_slice(entry.as_bytes());
                }
                out.push(b']');
            }
        }
    }
}

fn push_key(out: &mut Vec<u8>, key: &str) {
    out.extend_from_slice(key.as_bytes());
}

/// Text that is not an agent's choice, but may hold anything an author of policies can write: escaped like names.
pub(super) fn push_text(out: &mut Vec<u8>, key: &str, text: &str) {
    push_bytes(out, key, text.as_bytes());
}

/// Text that has been escaped already.
pub(super) fn push_plain(out: &mut Vec<u8>, key: &str, text: &str) {
    push_key(out, key);
    out.push(b'"');
    push_json(out, text.as_bytes());
    out.push(b'"');
}

pub(super) fn push_bytes(out: &mut Vec<u8>, key: &str, bytes: &[u8]) {
    push_key(out, key);
    out.push(b'"');
    push_name(out, bytes);
    out.push(b'"');
}

fn push_flag(out: &mut Vec<u8>, key: &str, flag: bool) {
    push_key(out, key);
    out.extend_from_slice(if flag { b"true" } else { b"false" });
}

pub(super) fn push_number(out: &mut Vec<u8>, key: &str, number: u64) {
    push_key(out, key);
    if number < 10 {
        out.push(b'0' + number as u8);
        return;
    }
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    // Two at a time: a division costs more than all the rest.
    while rest >= 10 {
        let pair = PAIRS[(rest % 100) as usize];
        rest /= 100;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&pair);
    }
    if rest > 0 {
        at -= 1;
        digits[at] = b'0' + rest as u8;
    }
    out.extend_from_slice(&digits[at..]);
}

/// `00` to `99`.
pub(super) const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut n = 0;
    while n < 100 {
        pairs[n] = [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
        n += 1;
    }
    pairs
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_everybody_writes_them() {
        let edges = (0..20).flat_map(|n| [10_u64.pow(n) - 1, 10_u64.pow(n), 10_u64.pow(n) + 1]);
        for number in edges.chain([u64::MAX, 99, 100, 101, 12_345]).chain(0..1_100) {
            let mut out = Vec::new();
            push_number(&mut out, key!("n"), number);
            assert_eq!(String::from_utf8(out).unwrap(), format!(",\"n\":{number}"));
        }
    }
}
