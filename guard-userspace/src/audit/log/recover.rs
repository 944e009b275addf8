//! What is on disk when the log is opened, and where it can go on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::super::head::Head;
use super::super::{Hash, files, hash};
use super::segment::Segment;
use super::{Identity, LogError, Place, Record, Value, failed, now_note};

/// How the log was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Bytes of an unfinished last line that were cut off.
    pub cut: u64,
    /// Why the chain could not be gone on with, if it could not. A new segment names what should have been there,
    /// so that `guard audit verify` will always find the place.
    pub broken: Option<&'static str>,
}

impl Opened {
    pub(super) fn note(&self) -> Option<Record> {
        if self.cut == 0 && self.broken.is_none() {
            return None;
        }
        let mut fields = vec![("cut_bytes", Value::Number(self.cut))];
        fields.extend(self.broken.map(|why| ("broken", Value::Text(why.to_owned()))));
        Some(now_note("recovery", fields))
    }
}

/// Where writing goes on.
pub(super) struct Found {
    pub(super) number: u64,
    pub(super) segment: Option<Segment>,
    pub(super) at: Place,
    pub(super) sequences: BTreeMap<u32, u64>,
    pub(super) opened: Opened,
}

/// The parts of a line that writing goes on from. None of the texts is one that would have to be escaped.
#[derive(Deserialize)]
struct Line<'a> {
    kind: &'a str,
    record: u64,
    prev: &'a str,
    boot: Option<&'a str>,
    cpu: Option<u32>,
    seq: Option<u64>,
    first: Option<u64>,
    count: Option<u64>,
    #[serde(default)]
    sequences: Vec<(u32, u64)>,
}

/// No log gets as far as this number: a line that says more was not written here, and numbers must still fit behind it.
const LAST: u64 = u64::MAX / 2;

/// The whole lines of a segment.
#[derive(Default)]
struct Scan {
    lines: u64,
    bytes: u64,
    record: u64,
    hash: Option<Hash>,
    first_prev: Option<Hash>,
    complete: bool,
    chained: bool,
    /// The hash at the line that the head names.
    at_head: Option<Hash>,
    sequences: BTreeMap<u32, u64>,
}

pub(super) fn recover(directory: &Path, identity: &Identity) -> Result<Found, LogError> {
    let keys = &identity.directory;
    let head = Head::read(keys, &identity.genesis).map_err(failed("read the head in", keys))?;
    let mut segments = files::segments(directory).map_err(failed("list", directory))?;
    let mut scan = Scan::default();
    let mut cut = 0;
    // A segment without one whole line was never begun.
    while let Some((_, path)) = segments.last() {
        let bytes = files::contents(path).map_err(failed("read", path))?;
        let at_line = head.as_ref().filter(|head| Some(head.segment) == segments.last().map(|last| last.0));
        scan = Scan::of(&bytes, at_line.map_or(0, |head| head.lines), &identity.host.boot);
        cut += bytes.len() as u64 - scan.bytes;
        if scan.lines > 0 {
            break;
        }
        fs::remove_file(path).map_err(failed("remove", path))?;
        segments.pop();
    }
    let last = segments.pop();
    let broken = fault(head.as_ref(), last.as_ref().map(|(number, _)| *number), &scan, identity.genesis.hash);
    Found::new(head, last, scan, Opened { cut, broken })
}

/// Why the chain on disk is not the one that the head tells of.
fn fault(head: Option<&Head>, last: Option<u64>, scan: &Scan, genesis: Hash) -> Option<&'static str> {
    let Some(head) = head else { return Some("the signed head is missing or not this key's") };
    let Some(last) = last else {
        return (head.hash != genesis).then_some("every segment is missing");
    };
    if !scan.chained {
        return Some("the last segment's lines are not a chain");
    }
    let reached = if last == head.segment {
        scan.at_head == Some(head.hash)
    } else {
        // The segment was begun, and the daemon stopped before the head could say so.
        Some(last) == head.segment.checked_add(1) && scan.first_prev == Some(head.hash)
    };
    (!reached).then_some("lines that the head names are missing or changed")
}

impl Found {
    fn new(
        head: Option<Head>,
        last: Option<(u64, PathBuf)>,
        scan: Scan,
        opened: Opened,
    ) -> Result<Self, LogError> {
        let head_number = head.as_ref().map_or(0, |head| head.segment);
        let head_record = head.as_ref().map_or(0, |head| head.record);
        let last_number = last.as_ref().map_or(0, |(number, _)| *number);
        let mut at = Place {
            record: scan.record.max(head_record),
            lines: 0,
            bytes: 0,
            hash: head.map_or(Hash::NOTHING, |head| head.hash),
        };
        let mut segment = None;
        if let (None, Some((_, path)), Some(hash)) = (opened.broken, last, scan.hash) {
            at = Place { record: scan.record, lines: scan.lines, bytes: scan.bytes, hash };
            if !scan.complete {
                segment = Some(Segment::resume(path, scan.bytes)?);
            }
        }
        let number = if opened.broken.is_some() { head_number.max(last_number) } else { last_number };
        Ok(Self { number, segment, at, sequences: scan.sequences, opened })
    }
}

impl Scan {
    fn of(bytes: &[u8], head_line: u64, boot: &str) -> Self {
        let mut scan = Self { chained: true, ..Self::default() };
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let Some(line) = line.strip_suffix(b"\n") else { break };
            scan.bytes += line.len() as u64 + 1;
            scan.lines += 1;
            let this = hash(line);
            match serde_json::from_slice::<Line<'_>>(line) {
                Ok(parsed) => scan.take(&parsed, boot),
                Err(_) => scan.chained = false,
            }
            scan.hash = Some(this);
            if scan.lines == head_line {
                scan.at_head = Some(this);
            }
        }
        scan
    }

    fn take(&mut self, line: &Line<'_>, boot: &str) {
        let prev = Hash::from_hex(line.prev);
        match self.hash {
            Some(hash) => {
                let next = self.record.checked_add(1);
                self.chained &= prev == Some(hash) && Some(line.record) == next && !self.complete;
            }
            None => {
                self.first_prev = prev;
                self.chained &= line.kind == "segment" && prev.is_some();
            }
        }
        self.chained &= line.record <= LAST;
        self.record = line.record.min(LAST);
        self.complete = line.kind == "checkpoint";
        if line.boot != Some(boot) {
            // Another boot's numbers.
            self.sequences.clear();
            return;
        }
        self.sequences.extend(line.sequences.iter().copied());
        let next = match (line.seq, line.first, line.count) {
            (Some(seq), ..) => seq.saturating_add(1),
            (None, Some(first), Some(count)) => first.saturating_add(count),
            _ => return,
        };
        if let Some(cpu) = line.cpu {
            let known = self.sequences.entry(cpu).or_default();
            *known = next.max(*known);
        }
    }
}
