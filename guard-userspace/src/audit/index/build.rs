//! Makes an index from its segment.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;

use super::super::read::Entry;
use super::super::{clock, files, line};
use super::{HEADER, Header, Index, MAGIC, fingerprint, path_of};

/// Columns and dictionaries as they grow.
#[derive(Default)]
struct Builder {
    shapes: Dictionary,
    objects: Dictionary,
    shape: Vec<u32>,
    time: Vec<u64>,
    offset: Vec<u32>,
    pid: Vec<u32>,
    object: Vec<u32>,
    /// Room for a key.
    key: Vec<u8>,
}

/// Strings by number.
#[derive(Default)]
struct Dictionary {
    numbers: HashMap<Box<[u8]>, u32>,
    bytes: Vec<u8>,
}

impl Dictionary {
    fn number(&mut self, key: &[u8]) -> u32 {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        let number = self.numbers.len() as u32;
        self.numbers.insert(key.into(), number);
        self.bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(key);
        number
    }
}

/// Makes the index of a closed segment, unless it has one.
pub fn build(segment: &Path) -> io::Result<()> {
    if Index::open(segment)?.is_some() {
        return Ok(());
    }
    let file = files::open(segment)?;
    let (length, tail) = fingerprint(&file)?;
    if length > u64::from(u32::MAX) {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "a segment of more than 4 GiB is not indexed",
        ));
    }
    let mut builder = Builder::default();
    let mut text = BufReader::with_capacity(1 << 18, file);
    let mut line = Vec::new();
    let mut at = 0;
    loop {
        line.clear();
        let read = text.read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        builder.take(at, line.strip_suffix(b"\n").unwrap_or(&line));
        at += read as u32;
    }
    let path = path_of(segment);
    if let Some(directory) = path.parent() {
        files::private_directory(directory)?;
        // Segments come and go; an index without one is of no use.
        for entry in fs::read_dir(directory)?.flatten() {
            let of = segment.with_file_name(entry.file_name()).with_extension("ndjson");
            if !of.exists() {
                fs::remove_file(entry.path())?;
            }
        }
    }
    files::replace(&path, &builder.finish(length, tail), files::PRIVATE)
}

impl Builder {
    fn take(&mut self, offset: u32, line: &[u8]) {
        // A line that is no record is no answer either.
        let Some(entry) = Entry::parse(line) else { return };
        self.key.clear();
        shape(&mut self.key, &entry);
        self.shape.push(self.shapes.number(&self.key));
        self.key.clear();
        self.key.extend_from_slice(entry.object_kind.as_bytes());
        self.key.push(0);
        self.key.extend_from_slice(entry.object.as_bytes());
        self.object.push(self.objects.number(&self.key));
        self.time.push(clock::parse(&entry.time).unwrap_or_default() / 1_000_000_000);
        self.pid.push(u32::try_from(entry.pid).unwrap_or_default());
        self.offset.push(offset);
    }

    fn finish(self, length: u64, tail: u64) -> Vec<u8> {
        let first = self.time.iter().copied().min().unwrap_or_default();
        let header = Header {
            length,
            tail,
            rows: self.shape.len() as u64,
            first,
            last: self.time.iter().copied().max().unwrap_or_default(),
            shapes: self.shapes.bytes.len() as u64,
            objects: self.objects.bytes.len() as u64,
        };
        // Seconds of 136 years: a wall clock that jumps further inside one segment is not followed.
        let times: Vec<u32> =
            self.time.iter().map(|time| u32::try_from(time - first).unwrap_or(u32::MAX)).collect();
        let mut out = Vec::with_capacity(HEADER as usize + self.shape.len() * 20);
        out.extend_from_slice(MAGIC);
        header.numbers().iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
        out.extend_from_slice(&self.shapes.bytes);
        for column in [&self.shape, &times, &self.offset, &self.pid, &self.object] {
            column.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
        }
        out.extend_from_slice(&self.objects.bytes);
        out
    }
}

/// An entry without what is its own, as a line that can be parsed again.
fn shape(out: &mut Vec<u8>, entry: &Entry<'_>) {
    out.extend_from_slice(b"{\"record\":0");
    let parts = [
        ("kind", &entry.kind),
        ("session", &entry.session),
        ("principal", &entry.principal),
        ("trace", &entry.trace),
        ("policy", &entry.policy),
        ("action", &entry.action),
        ("verdict", &entry.verdict),
        ("rule", &entry.rule),
        ("reason_code", &entry.reason_code),
    ];
    for (name, value) in parts {
        line::push_plain(out, &format!(",\"{name}\":"), value);
    }
    if let Some(candidate) = &entry.candidate_verdict {
        line::push_plain(out, line::key!("candidate_verdict"), candidate);
    }
    out.push(b'}');
}
