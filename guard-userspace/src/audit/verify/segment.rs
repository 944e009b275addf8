//! One segment, line by line.

use std::io::{self, BufRead};

use serde::Deserialize;

use super::super::{Hash, hash, seal};
use super::{Fault, Verifier};

/// Where the walk is.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) hash: Option<Hash>,
    pub(super) record: u64,
    /// Number of the segment before.
    segment: Option<u64>,
}

/// What a line must say for the chain.
#[derive(Deserialize)]
struct Line {
    kind: String,
    record: u64,
    prev: String,
    segment: Option<u64>,
    lines: Option<u64>,
    format: Option<u64>,
    key: Option<String>,
    genesis: Option<String>,
    count: Option<u64>,
    #[serde(default)]
    removed: Vec<Removed>,
}

#[derive(Deserialize)]
struct Removed {
    segment: u64,
    hash: String,
}

/// Where a segment is in its own life.
#[derive(Clone, Copy)]
struct At {
    number: u64,
    line: u64,
    closed: bool,
}

impl Verifier {
    /// Walks one segment. Only the last one may lack its checkpoint.
    pub(super) fn segment(&mut self, number: u64, last: bool, mut text: impl BufRead) -> io::Result<()> {
        if let Some(before) = self.walk.segment
            && let next = before.saturating_add(1)
            && number != next
        {
            self.report.find(Fault::Gap, number, 0, format!("segment {next} is missing"));
        }
        self.walk.segment = Some(number);
        self.report.segments += 1;
        if self.report.first_segment == 0 {
            self.report.first_segment = number;
        }
        let mut at = At { number, line: 0, closed: false };
        let mut line = Vec::new();
        loop {
            line.clear();
            if text.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if line.pop_if(|byte| *byte == b'\n').is_none() {
                if last {
                    self.report.torn = line.len() as u64;
                } else {
                    self.report.find(Fault::Line, number, at.line + 1, "the line has no end");
                }
                break;
            }
            at.line += 1;
            self.line(&mut at, &line);
        }
        if !at.closed && !last {
            self.report.find(Fault::Checkpoint, number, at.line, "the segment has no checkpoint at its end");
        }
        Ok(())
    }

    fn line(&mut self, at: &mut At, text: &[u8]) {
        self.report.lines += 1;
        let this = hash(text);
        if let Some(wanted) = self.wanted.get_mut(&(at.number, at.line)) {
            *wanted = Some(this);
        }
        match serde_json::from_slice::<Line>(text) {
            Ok(line) => self.parsed(at, &line, text),
            Err(error) => {
                let text = format!("this is no record: {error}");
                self.report.find(Fault::Line, at.number, at.line, text);
                self.walk.record = self.walk.record.saturating_add(1);
            }
        }
        self.walk.hash = Some(this);
    }

    fn parsed(&mut self, at: &mut At, line: &Line, text: &[u8]) {
        let prev = Hash::from_hex(&line.prev);
        match self.walk.hash {
            Some(before) => {
                if prev != Some(before) {
                    self.report.find(
                        Fault::Chain,
                        at.number,
                        at.line,
                        "the line before is not the one it names",
                    );
                }
                // Behind the largest number there is none.
                if Some(line.record) != self.walk.record.checked_add(1) {
                    let text = format!("record {} follows record {}", line.record, self.walk.record);
                    self.report.find(Fault::Number, at.number, at.line, text);
                }
            }
            None => self.begin = Some((at.number, prev.unwrap_or(Hash::NOTHING))),
        }
        self.walk.record = line.record;
        if at.line == 1 {
            self.header(at, line, text);
        } else if line.kind == "segment" {
            self.report.find(Fault::Header, at.number, at.line, "a header inside a segment");
        }
        if at.closed {
            self.report.find(Fault::Checkpoint, at.number, at.line, "a line behind the checkpoint");
        }
        match line.kind.as_str() {
            "checkpoint" => self.checkpoint(at, line, text),
            "lost" => {
                self.report.lost_events = self.report.lost_events.saturating_add(line.count.unwrap_or(0));
            }
            "corrupt" => self.report.corrupt_events += 1,
            "recovery" => self.report.recoveries += 1,
            // Behind the signed head, anybody who can write the file could have put one.
            "trim" if line.record <= self.signed => {
                let removed = line.removed.iter();
                self.removed
                    .extend(removed.filter_map(|gone| Some((gone.segment, Hash::from_hex(&gone.hash)?))));
            }
            _ => {}
        }
    }

    fn header(&mut self, at: &At, line: &Line, text: &[u8]) {
        let wrong = if line.kind != "segment" {
            "the first line is not the segment's header"
        } else if line.format != Some(super::super::identity::FORMAT) {
            "the header is of a different format"
        } else if line.segment != Some(at.number) {
            "the header is another segment's"
        } else if line.key.as_deref() != Some(seal::hex(self.genesis.key.as_bytes()).as_str())
            || line.genesis.as_deref() != Some(self.genesis.hash.to_string().as_str())
        {
            "the header names another key or genesis: another host's log, or another life of this one's"
        } else if !seal::is_signed(text, &self.genesis.key) {
            "the header's signature is not this key's"
        } else {
            return;
        };
        self.report.find(Fault::Header, at.number, at.line, wrong);
    }

    fn checkpoint(&mut self, at: &mut At, line: &Line, text: &[u8]) {
        let wrong = if !seal::is_signed(text, &self.genesis.key) {
            Some("the checkpoint's signature is not this key's")
        } else if line.segment != Some(at.number) || line.lines != Some(at.line) {
            Some("the checkpoint is another one's: it counts differently")
        } else {
            None
        };
        if let Some(wrong) = wrong {
            self.report.find(Fault::Checkpoint, at.number, at.line, wrong);
        }
        at.closed = true;
    }
}
