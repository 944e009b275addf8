//! Where in a closed segment the records are that a question may be about.
//!
//! An index only leaves out: every line that it points at is parsed and asked again, so it can make an answer quick
//! but not wrong. It proves nothing, is no part of the log, and can be thrown away: whoever may write beside
//! the log makes it anew. One file for each segment, so that trimming takes both.
//!
//! Records differ in few ways if time, object and process are left out: these ways are the index's *shapes*. A
//! question is asked once of each shape, and then only numbers are compared. (A database would hold every string
//! of the log a second time, and the daemon would carry its C code.)

mod build;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::files;
use super::filter::Filter;
use super::read::Entry;

pub use build::build;

const MAGIC: &[u8; 8] = b"gidx0001";
/// Bytes at a segment's end that tell it from another one: its checkpoint, signature included.
const TAIL: u64 = 1024;

/// Numbers of the fixed part, in this order, each eight bytes, little-endian.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Header {
    /// Bytes of the segment.
    length: u64,
    /// First eight bytes of the SHA-256 over the segment's tail.
    tail: u64,
    rows: u64,
    /// Seconds since 1970 of the earliest and the latest record.
    first: u64,
    last: u64,
    /// Bytes of the shapes, and of the objects, which are the last section.
    shapes: u64,
    objects: u64,
}

const HEADER: u64 = 8 + 7 * 8;

impl Header {
    fn numbers(&self) -> [u64; 7] {
        [self.length, self.tail, self.rows, self.first, self.last, self.shapes, self.objects]
    }

    /// Bytes of the whole index; `None` for numbers that no index has.
    fn length_of_index(&self) -> Option<u64> {
        let columns = self.rows.checked_mul(4 * COLUMNS)?;
        HEADER.checked_add(self.shapes)?.checked_add(columns)?.checked_add(self.objects)
    }

    fn parse(bytes: &[u8; HEADER as usize]) -> Option<Self> {
        let numbers = bytes.strip_prefix(MAGIC)?;
        let mut numbers =
            numbers.chunks_exact(8).map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap_or_default()));
        let mut next = || numbers.next();
        Some(Self {
            length: next()?,
            tail: next()?,
            rows: next()?,
            first: next()?,
            last: next()?,
            shapes: next()?,
            objects: next()?,
        })
    }
}

/// The columns, four bytes a row, in the order in which they lie behind the shapes.
#[derive(Clone, Copy, Debug)]
enum Column {
    Shape,
    /// Seconds after the first.
    Time,
    Offset,
    Pid,
    /// Index of the object.
    Object,
}

const COLUMNS: u64 = 5;

/// Where a segment's index lies.
fn path_of(segment: &Path) -> PathBuf {
    let directory = segment.parent().unwrap_or(Path::new("")).join("index");
    directory.join(segment.file_stem().unwrap_or_default()).with_extension("idx")
}

/// What tells a segment from another one of its name.
fn fingerprint(segment: &File) -> io::Result<(u64, u64)> {
    let length = segment.metadata()?.len();
    let mut tail = vec![0; length.min(TAIL) as usize];
    segment.read_exact_at(&mut tail, length.saturating_sub(TAIL))?;
    let digest: [u8; 32] = Sha256::digest(&tail).into();
    let (first, _) = digest.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    Ok((length, u64::from_le_bytes(*first)))
}

/// An index that belongs to its segment.
struct Index {
    file: File,
    header: Header,
}

impl Index {
    /// `None` if there is none, or one of a different segment.
    fn open(segment: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path_of(segment)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = [0; HEADER as usize];
        if file.metadata()?.len() < HEADER {
            return Ok(None);
        }
        file.read_exact_at(&mut bytes, 0)?;
        let Some(header) = Header::parse(&bytes) else { return Ok(None) };
        let whole = header.length_of_index();
        let fits = fingerprint(&files::open(segment)?)? == (header.length, header.tail);
        Ok((fits && whole == Some(file.metadata()?.len())).then_some(Self { file, header }))
    }

    fn bytes(&self, at: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    fn column(&self, column: Column) -> io::Result<Vec<u32>> {
        let length = self.header.rows * 4;
        let bytes = self.bytes(HEADER + self.header.shapes + column as u64 * length, length)?;
        Ok(bytes
            .chunks_exact(4)
            .map(|chunk| u32::from_le_bytes(chunk.try_into().unwrap_or_default()))
            .collect())
    }

    /// For each shape whether a record of it can be an answer.
    fn shapes(&self, filter: &Filter) -> io::Result<Vec<bool>> {
        let asked =
            Filter { since: None, until: None, path: None, address: None, pid: None, ..filter.clone() };
        let bytes = self.bytes(HEADER, self.header.shapes)?;
        Ok(strings(&bytes)
            .map(|shape| Entry::parse(shape).is_none_or(|shape| asked.matches(&shape)))
            .collect())
    }

    /// For each object whether it can be one.
    fn objects(&self, filter: &Filter) -> io::Result<Vec<bool>> {
        let asked = Filter { path: filter.path.clone(), address: filter.address, ..Filter::default() };
        let at = HEADER + self.header.shapes + self.header.rows * 4 * COLUMNS;
        let bytes = self.bytes(at, self.header.objects)?;
        let says = |object: &[u8]| {
            let text = std::str::from_utf8(object).ok().and_then(|text| text.split_once('\0'));
            text.is_none_or(|(kind, object)| {
                let (object_kind, object) = (kind.into(), object.into());
                asked.matches(&Entry { object_kind, object, ..Entry::default() })
            })
        };
        Ok(strings(&bytes).map(says).collect())
    }

    fn search(&self, filter: &Filter) -> io::Result<Vec<u64>> {
        let second = |time: u64| time / 1_000_000_000;
        let (since, until) = (filter.since.map_or(0, second), filter.until.map_or(u64::MAX, second));
        let Header { first, last, .. } = self.header;
        if last < since || first > until {
            return Ok(Vec::new());
        }
        let shapes = self.shapes(filter)?;
        if !shapes.contains(&true) {
            return Ok(Vec::new());
        }
        let of_shape = self.column(Column::Shape)?;
        let is = |table: &[bool], index: u32| table.get(index as usize).copied().unwrap_or(true);
        let mut rows: Vec<usize> = (0..of_shape.len()).filter(|row| is(&shapes, of_shape[*row])).collect();
        if since > first || until < last {
            let times = self.column(Column::Time)?;
            rows.retain(|row| (since..=until).contains(&first.saturating_add(u64::from(times[*row]))));
        }
        if let Some(pid) = filter.pid {
            let pids = self.column(Column::Pid)?;
            rows.retain(|row| u64::from(pids[*row]) == pid);
        }
        if !rows.is_empty() && (filter.path.is_some() || filter.address.is_some()) {
            let objects = self.objects(filter)?;
            let of_object = self.column(Column::Object)?;
            rows.retain(|row| is(&objects, of_object[*row]));
        }
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let offsets = self.column(Column::Offset)?;
        Ok(rows.into_iter().map(|row| u64::from(offsets[row])).collect())
    }
}

/// Strings, each behind its length in four bytes.
fn strings(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (string, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        bytes = rest;
        Some(string)
    })
}

/// Offsets of the lines of a closed segment that can be answers; `None` if it has no index of its own.
pub(super) fn candidates(segment: &Path, filter: &Filter) -> io::Result<Option<Vec<u64>>> {
    Index::open(segment)?.map(|index| index.search(filter)).transpose()
}
