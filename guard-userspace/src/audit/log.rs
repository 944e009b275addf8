//! The log on disk: lines in a hash chain, in segments that end in a signed checkpoint.
//!
//! Whatever happens at whatever byte (a crash, a full disk), the log verifies up to its last whole line and goes on
//! from there. [`Log::append`] writes a batch whole or not at all. The bytes are the kernel's when it returns and
//! the disk's when [`Log::checkpoint`] does, which also writes the signed head.

mod recover;
mod segment;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use thiserror::Error;

use super::clock::Clock;
use super::head::Head;
use super::identity::Identity;
use super::line::{self, Writer};
use super::record::{Body, Record, Value};
use super::{Hash, files, hash};
use segment::Segment;

pub use recover::Opened;

/// Why the log cannot be opened or written.
#[derive(Debug, Error)]
pub enum LogError {
    /// Nothing of the batch was written; it can be given again once there is room.
    #[error("no room left to write the audit log in {}", .0.display())]
    Full(PathBuf),
    #[error("another process writes the audit log in {}", .0.display())]
    Busy(PathBuf),
    #[error("{operation} {}", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
    let path = path.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            LogError::Full(path)
        }
        _ => LogError::Io { operation, path, source },
    }
}

/// How the log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// A segment that has this many bytes is closed before the next batch.
    pub segment_bytes: u64,
    /// Segments are removed, oldest first, while all together have more bytes than this. `None` keeps everything.
    pub keep_bytes: Option<u64>,
    /// Every batch reaches the disk before `append` returns. Without it a power cut can take what came after the last
    /// [`Log::checkpoint`]; a crash of the daemon takes nothing either way.
    pub sync_each: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, keep_bytes: None, sync_each: false }
    }
}

/// Where the next line goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Number of the last line.
    record: u64,
    /// Lines in the segment.
    lines: u64,
    /// Bytes in the segment.
    bytes: u64,
    hash: Hash,
}

/// The log, open for writing by this process alone.
#[derive(Debug)]
pub struct Log {
    directory: PathBuf,
    identity: Identity,
    options: Options,
    writer: Writer,
    /// Number of the segment that is open, or was last.
    number: u64,
    segment: Option<Segment>,
    at: Place,
    /// By CPU: the kernel's sequence number that comes next.
    sequences: BTreeMap<u32, u64>,
    /// Batches that could not be written since the last one that was.
    refused: u64,
    /// What opening found, until there is room to say it.
    found: Option<Record>,
    buffer: Vec<u8>,
    _lock: Flock<fs::File>,
}

/// What is told of the log in `guard status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStatus {
    pub segment: u64,
    pub records: u64,
    pub hash: Hash,
    /// Batches that could not be written since the last one that was; 0 is fine.
    pub refused: u64,
}

impl Log {
    /// Opens the log in `directory`, whose head lies with the identity. What a crash left is mended, and
    /// said in a record. A disk without room is no reason not to open: that shows when something is to be written.
    pub fn open(directory: &Path, identity: Identity, options: Options) -> Result<(Self, Opened), LogError> {
        files::private_directory(directory).map_err(failed("create", directory))?;
        let lock = lock(directory)?;
        let found = recover::recover(directory, &identity)?;
        let writer = Writer::new(&identity.host);
        let mut log = Self {
            directory: directory.to_owned(),
            identity,
            options,
            writer,
            number: found.number,
            segment: found.segment,
            at: found.at,
            sequences: found.sequences,
            refused: 0,
            found: found.opened.note(),
            buffer: Vec::new(),
            _lock: lock,
        };
        match log.begin() {
            Ok(()) | Err(LogError::Full(_)) => Ok((log, found.opened)),
            Err(error) => Err(error),
        }
    }

    fn begin(&mut self) -> Result<(), LogError> {
        if self.found.is_some() {
            self.write(&[])?;
        }
        self.checkpoint()
    }

    /// By CPU, the kernel's sequence number that comes next, as the log's last segment tells for this boot.
    pub fn sequences(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.sequences.iter().map(|(cpu, next)| (*cpu, *next))
    }

    pub fn status(&self) -> LogStatus {
        LogStatus { segment: self.number, records: self.at.record, hash: self.at.hash, refused: self.refused }
    }

    /// The lines of the last batch that was written, each with its newline.
    pub fn written(&self) -> &[u8] {
        &self.buffer
    }

    /// Writes a batch whole or not at all. On an error the caller keeps it, reads no more events and tries again:
    /// then the kernel's ring fills up, and each policy's `on_loss` decides.
    pub fn append(&mut self, records: &[Record]) -> Result<(), LogError> {
        if records.is_empty() {
            return Ok(());
        }
        let result = self.write(records);
        match &result {
            Ok(()) => self.refused = 0,
            Err(_) => self.refused += 1,
        }
        result
    }

    fn write(&mut self, records: &[Record]) -> Result<(), LogError> {
        if self.at.bytes >= self.options.segment_bytes {
            self.close()?;
        }
        self.ensure_open()?;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let mut at = self.at;
        let found = self.found.take();
        if let Some(note) = &found {
            self.push(&mut buffer, &mut at, note);
        }
        if self.refused > 0 {
            let batches = Value::Number(self.refused);
            let resumed = now_note("log-resumed", vec![("refused_batches", batches)]);
            self.push(&mut buffer, &mut at, &resumed);
        }
        for record in records {
            self.push(&mut buffer, &mut at, record);
        }
        let result = self.put(&buffer);
        self.buffer = buffer;
        if result.is_err() {
            self.found = found;
        }
        result?;
        self.at = at;
        records.iter().for_each(|record| count(&mut self.sequences, record));
        if self.options.sync_each {
            self.sync()?;
        }
        Ok(())
    }

    /// Appends one line to the buffer.
    fn push(&mut self, buffer: &mut Vec<u8>, at: &mut Place, record: &Record) {
        let start = buffer.len();
        self.writer.push(buffer, at.record + 1, record);
        line::close(buffer, &at.hash);
        self.finish_line(buffer, start, at);
    }

    fn finish_line(&self, buffer: &mut Vec<u8>, start: usize, at: &mut Place) {
        let hash = hash(&buffer[start..]);
        buffer.push(b'\n');
        *at = Place {
            record: at.record + 1,
            lines: at.lines + 1,
            bytes: at.bytes + (buffer.len() - start) as u64,
            hash,
        };
    }

    /// Writes bytes at the open segment's end. If not all can be written, none of them stay.
    fn put(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        match &mut self.segment {
            Some(segment) => segment.put(self.at.bytes, bytes),
            None => Err(failed("write", &self.directory)(io::ErrorKind::NotFound.into())),
        }
    }

    fn sync(&self) -> Result<(), LogError> {
        self.segment.as_ref().map_or(Ok(()), Segment::sync)
    }

    /// Makes everything written so far durable, and signs how far that is. For every few seconds, and for the end.
    pub fn checkpoint(&mut self) -> Result<(), LogError> {
        self.sync()?;
        let head = Head {
            segment: self.number,
            lines: self.at.lines,
            record: self.at.record,
            hash: self.at.hash,
            genesis: self.identity.genesis.hash,
        };
        let (now, _) = now();
        let keys = &self.identity.directory;
        head.write(keys, &self.identity.key, &self.identity.host.name, now)
            .map_err(failed("write the head in", keys))
    }

    /// Ends the segment with a signed checkpoint. The next batch begins a new one.
    pub fn close(&mut self) -> Result<(), LogError> {
        if self.segment.is_none() {
            return Ok(());
        }
        let mut at = self.at;
        let fields = vec![("segment", Value::Number(self.number)), ("lines", Value::Number(at.lines + 1))];
        let line = self.signed_line(&mut at, &now_note("checkpoint", fields));
        self.put(&line)?;
        self.at = at;
        self.checkpoint()?;
        self.segment = None;
        Ok(())
    }

    /// A line of its own with a signature.
    fn signed_line(&mut self, at: &mut Place, note: &Record) -> Vec<u8> {
        let mut line = Vec::new();
        self.writer.push(&mut line, at.record + 1, note);
        line::close(&mut line, &at.hash);
        super::seal::sign(&mut line, &self.identity.key);
        self.finish_line(&mut line, 0, at);
        line
    }

    /// Begins the next segment if none is open.
    fn ensure_open(&mut self) -> Result<(), LogError> {
        if self.segment.is_some() {
            return Ok(());
        }
        let number = self.number + 1;
        let mut at = Place { lines: 0, bytes: 0, ..self.at };
        let header = now_note(
            "segment",
            vec![
                ("format", Value::Number(super::identity::FORMAT)),
                ("segment", Value::Number(number)),
                ("genesis", Value::Text(self.identity.genesis.hash.to_string())),
                ("key", Value::Text(super::seal::hex(self.identity.genesis.key.as_bytes()))),
                ("sequences", Value::Pairs(self.sequences().collect())),
            ],
        );
        let line = self.signed_line(&mut at, &header);
        let segment = Segment::create(&self.directory, number, &line)?;
        self.segment = Some(segment);
        self.number = number;
        self.at = at;
        self.checkpoint()?;
        self.trim()
    }

    /// Removes the oldest segments once there are too many bytes, after a record that says where the rest begins.
    fn trim(&mut self) -> Result<(), LogError> {
        let Some(keep) = self.options.keep_bytes else { return Ok(()) };
        let doomed =
            segment::beyond(&self.directory, self.number, keep).map_err(failed("list", &self.directory))?;
        let Some(last) = doomed.last().map(|(number, _)| *number) else { return Ok(()) };
        let removed = segment::last_hashes(&doomed)?;
        let note = now_note(
            "trim",
            vec![("first_kept", Value::Number(last + 1)), ("removed", Value::Segments(removed))],
        );
        let mut line = Vec::new();
        let mut at = self.at;
        self.push(&mut line, &mut at, &note);
        self.put(&line)?;
        self.at = at;
        self.checkpoint()?;
        for (_, path) in &doomed {
            fs::remove_file(path).map_err(failed("remove", path))?;
        }
        Ok(())
    }
}

/// Takes note of the kernel's numbers in a record.
fn count(sequences: &mut BTreeMap<u32, u64>, record: &Record) {
    let (cpu, next) = match &record.body {
        Body::Event(record) => (record.event.cpu, record.event.seq.saturating_add(1)),
        Body::Lost(gap) => (gap.cpu, gap.first.saturating_add(gap.count)),
        Body::Corrupt(corrupt) => match corrupt.place {
            Some((cpu, seq)) => (cpu, seq.saturating_add(1)),
            None => return,
        },
        Body::Note(_) => return,
    };
    let known = sequences.entry(cpu).or_default();
    *known = next.max(*known);
}

/// Wall clock and CLOCK_BOOTTIME, both in nanoseconds. A clock that cannot be read is no reason to lose a record.
fn now() -> (u64, u64) {
    let boottime = Clock::boottime().unwrap_or_default();
    (Clock::now().map_or(boottime, |clock| clock.wall(boottime)), boottime)
}

fn now_note(kind: &'static str, fields: Vec<(&'static str, Value)>) -> Record {
    let (wall, boottime) = now();
    Record::note(wall, boottime, kind, fields)
}

/// Keeps a second writer out for as long as the process lives.
fn lock(directory: &Path) -> Result<Flock<fs::File>, LogError> {
    let file = fs::File::open(directory).map_err(failed("open", directory))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => LogError::Busy(directory.to_owned()),
        other => failed("lock", directory)(other.into()),
    })
}
