//! Is the log what was written? Everything that `docs/audit-format.md` promises, checked line by line.

mod segment;

use std::collections::BTreeMap;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::head::Head;
use super::{Genesis, Hash, IdentityError, files};
use segment::Walk;

/// What is wrong, by the page's own names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The public key or the genesis is missing, damaged, or one is not the other's.
    Identity,
    /// The signed head is missing or not this key's.
    Head,
    /// The first segment neither goes on from the genesis nor from a recorded trim.
    Begin,
    /// A segment between two others is missing.
    Gap,
    /// The first line of a segment is not its header.
    Header,
    /// A line is not one.
    Line,
    /// A line does not name the one before it.
    Chain,
    /// A line's number is not the next one.
    Number,
    /// A checkpoint is missing, in the wrong place, miscounts or is not this key's.
    Checkpoint,
    /// The line that the head names is missing or a different one.
    Short,
    /// The line that a witness names is missing or a different one.
    Witness,
}

impl Fault {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Head => "head",
            Self::Begin => "begin",
            Self::Gap => "gap",
            Self::Header => "header",
            Self::Line => "line",
            Self::Chain => "chain",
            Self::Number => "number",
            Self::Checkpoint => "checkpoint",
            Self::Short => "short",
            Self::Witness => "witness",
        }
    }
}

/// A fault and its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub fault: Fault,
    /// 0 if it is about none.
    pub segment: u64,
    /// Counted from 1; 0 if it is about none.
    pub line: u64,
    pub text: String,
}

/// What the walk over a log has shown.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Empty: the log is what was written.
    pub findings: Vec<Finding>,
    pub segments: u64,
    pub first_segment: u64,
    /// Lines of all segments that are there.
    pub lines: u64,
    /// Number of the last line in the whole log, trimmed ones included.
    pub last_record: u64,
    pub last_hash: String,
    /// Lines behind the one that the head names: chained, and not signed yet.
    pub unsigned: u64,
    /// Bytes of an unfinished line at the end.
    pub torn: u64,
    /// Events that the log says were lost.
    pub lost_events: u64,
    pub corrupt_events: u64,
    /// How often a start found something to mend.
    pub recoveries: u64,
    /// How many segments were removed, provably.
    pub trimmed: u64,
}

impl Report {
    pub fn is_whole(&self) -> bool {
        self.findings.is_empty()
    }

    fn find(&mut self, fault: Fault, segment: u64, line: u64, text: impl Into<String>) {
        self.findings.push(Finding { fault, segment, line, text: text.into() });
    }
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}", path.display())]
pub struct VerifyError {
    operation: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VerifyError {
    let path = path.to_owned();
    move |source| VerifyError { operation, path, source }
}

/// Verifies the log in `directory` with the public key, genesis and head in `keys`. A witness is a head that was
/// copied away earlier: it shows a log that was put back to an older state together with its head.
pub fn verify(directory: &Path, keys: &Path, witness: Option<&[u8]>) -> Result<Report, VerifyError> {
    let mut report = Report::default();
    let genesis = match Genesis::read(keys) {
        Ok(genesis) => genesis,
        Err(IdentityError::Io { operation, path, source }) => {
            return Err(VerifyError { operation, path, source });
        }
        Err(error) => {
            report.find(Fault::Identity, 0, 0, error.to_string());
            return Ok(report);
        }
    };
    let head = Head::read(keys, &genesis).map_err(failed("read the head in", keys))?;
    if head.is_none() {
        report.find(Fault::Head, 0, 0, "the signed head is missing or not this key's");
    }
    let witness = match witness.map(|text| Head::parse(text, &genesis)) {
        Some(None) => {
            report.find(Fault::Witness, 0, 0, "the witness is not a head that this key signed");
            None
        }
        given => given.flatten(),
    };
    let segments = match files::segments(directory) {
        Ok(segments) => segments,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(failed("list", directory)(error)),
    };
    let mut verifier = Verifier::new(genesis, &head, &witness, report);
    for (index, (number, path)) in segments.iter().enumerate() {
        let file = files::open(path).map_err(failed("open", path))?;
        let last = index + 1 == segments.len();
        verifier
            .segment(*number, last, BufReader::with_capacity(1 << 20, file))
            .map_err(failed("read", path))?;
    }
    Ok(verifier.finish(head.as_ref(), witness.as_ref()))
}

/// The walk from segment to segment.
#[derive(Debug)]
struct Verifier {
    genesis: Genesis,
    report: Report,
    walk: Walk,
    /// The first segment's number and what it goes on from.
    begin: Option<(u64, Hash)>,
    /// Number of the last line that the head's signature covers.
    signed: u64,
    /// The last line of each segment that a trim record names.
    removed: BTreeMap<u64, Hash>,
    /// Places whose hash is wanted, and what was found there.
    wanted: BTreeMap<(u64, u64), Option<Hash>>,
}

impl Verifier {
    fn new(genesis: Genesis, head: &Option<Head>, witness: &Option<Head>, report: Report) -> Self {
        let wanted = head.iter().chain(witness).map(|head| ((head.segment, head.lines), None)).collect();
        let signed = head.as_ref().map_or(0, |head| head.record);
        Self { genesis, report, walk: Walk::default(), begin: None, signed, removed: BTreeMap::new(), wanted }
    }

    /// What is left to say once all lines have been seen.
    fn finish(mut self, head: Option<&Head>, witness: Option<&Head>) -> Report {
        self.check_begin();
        for (fault, head) in [(Fault::Short, head), (Fault::Witness, witness)] {
            let Some(head) = head else { continue };
            if self.holds(head) {
                continue;
            }
            let text =
                format!("record {} with the hash {} is missing or a different one", head.record, head.hash);
            self.report.find(fault, head.segment, head.lines, text);
        }
        self.report.trimmed = self.removed.len() as u64;
        self.report.last_record = self.walk.record;
        self.report.last_hash = self.walk.hash.unwrap_or(self.genesis.hash).to_string();
        self.report.unsigned = self.walk.record.saturating_sub(self.signed);
        self.report
    }

    /// Whether the line that a head names is there, or was trimmed, or is the genesis itself.
    fn holds(&self, head: &Head) -> bool {
        if head.segment == 0 {
            return head.hash == self.genesis.hash && head.record == 0;
        }
        let found = self.wanted.get(&(head.segment, head.lines)).copied().flatten();
        found == Some(head.hash) || self.removed.contains_key(&head.segment)
    }

    fn check_begin(&mut self) {
        let Some((number, prev)) = self.begin else { return };
        let from = if number == 1 {
            Some(self.genesis.hash)
        } else {
            self.removed.get(&number.saturating_sub(1)).copied()
        };
        if from != Some(prev) {
            let text = if number == 1 {
                "the first segment does not go on from the pinned genesis"
            } else {
                "older segments are missing, and no record says that they were trimmed"
            };
            self.report.find(Fault::Begin, number, 1, text);
        }
    }
}
