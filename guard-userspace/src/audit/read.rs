//! The log read back, one line at a time.

use std::borrow::Cow;
use std::io::{self, BufRead as _, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::filter::Filter;
use super::{files, index};

/// What a line says, as far as questions need it. What a line does not have is empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Entry<'a> {
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    pub record: u64,
    #[serde(borrow)]
    pub time: Cow<'a, str>,
    pub boottime: u64,
    #[serde(borrow)]
    pub host: Cow<'a, str>,
    #[serde(borrow)]
    pub boot: Cow<'a, str>,
    #[serde(borrow)]
    pub session: Cow<'a, str>,
    #[serde(borrow)]
    pub principal: Cow<'a, str>,
    #[serde(borrow)]
    pub trace: Cow<'a, str>,
    #[serde(borrow)]
    pub policy: Cow<'a, str>,
    #[serde(borrow)]
    pub policy_sha256: Cow<'a, str>,
    pub generation: u64,
    #[serde(borrow)]
    pub mode: Cow<'a, str>,
    #[serde(borrow)]
    pub action: Cow<'a, str>,
    #[serde(borrow)]
    pub op: Cow<'a, str>,
    #[serde(borrow)]
    pub object_kind: Cow<'a, str>,
    #[serde(borrow)]
    pub object: Cow<'a, str>,
    pub argv: Option<Vec<String>>,
    pub argc: Option<u32>,
    #[serde(borrow)]
    pub verdict: Cow<'a, str>,
    pub candidate_verdict: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub candidate_policy: Cow<'a, str>,
    #[serde(borrow)]
    pub candidate_rule: Cow<'a, str>,
    #[serde(borrow)]
    pub rule: Cow<'a, str>,
    #[serde(borrow)]
    pub reason_code: Cow<'a, str>,
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
    #[serde(borrow)]
    pub remedy: Cow<'a, str>,
    pub errno: i64,
    pub pid: u64,
    pub ppid: u64,
    pub start_time: u64,
    pub uid: u64,
    pub loginuid: Option<u64>,
    #[serde(borrow)]
    pub comm: Cow<'a, str>,
    #[serde(borrow)]
    pub exe: Cow<'a, str>,
    #[serde(borrow)]
    pub cgroup: Cow<'a, str>,
    pub degraded: bool,
    pub shadowed: bool,
    /// How a process ended, one or the other.
    pub exit_code: Option<u64>,
    pub signal: Option<u64>,
    /// Of a `session-end` record.
    pub decisions: u64,
    pub refused: u64,
    pub nanoseconds: i64,
    /// Of a `generation` record: the policies' modes, and their texts' digests.
    #[serde(borrow)]
    pub policies: Cow<'a, str>,
    #[serde(borrow)]
    pub texts: Cow<'a, str>,
    /// Of a `lost` record.
    pub count: u64,
}

impl<'a> Entry<'a> {
    /// `None` for a line that is no record.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// Whether this is something that a task tried.
    pub fn is_decision(&self) -> bool {
        self.kind == "decision"
    }
}

/// Why the log could not be read.
#[derive(Debug, thiserror::Error)]
#[error("read {}", path.display())]
pub struct ReadError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Where reading has got to; a reader can go on from here once there is more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    pub segment: u64,
    /// Offset of the next line in it.
    pub offset: u64,
}

/// Where the log ends now.
pub fn end(directory: &Path) -> Result<Cursor, ReadError> {
    let segments = files::segments(directory).map_err(failed(directory))?;
    let Some((segment, path)) = segments.last() else { return Ok(Cursor::default()) };
    let offset = std::fs::metadata(path).map_err(failed(path))?.len();
    Ok(Cursor { segment: *segment, offset })
}

/// Gives every record that answers a question to `each`, with its line: closed segments by their index, which is made
/// first if it is missing and can be; the last one line by line. `cursor` is then where new records will come.
pub fn search(
    directory: &Path,
    filter: &Filter,
    cursor: &mut Cursor,
    mut each: impl FnMut(&Entry<'_>, &[u8]) -> ControlFlow<()>,
) -> Result<(), ReadError> {
    let segments = files::segments(directory).map_err(failed(directory))?;
    let closed = segments.len().saturating_sub(1);
    for (number, path) in &segments[..closed] {
        // Whoever may not write beside the log reads it whole instead.
        let _ = index::build(path);
        let Ok(Some(offsets)) = index::candidates(path, filter) else {
            *cursor = Cursor { segment: *number, offset: 0 };
            break;
        };
        *cursor = Cursor { segment: number + 1, offset: 0 };
        let mut text = BufReader::with_capacity(1 << 16, files::open(path).map_err(failed(path))?);
        let (mut at, mut line) = (0_u64, Vec::new());
        for offset in offsets {
            text.seek_relative(offset as i64 - at as i64).map_err(failed(path))?;
            line.clear();
            at = offset + text.read_until(b'\n', &mut line).map_err(failed(path))? as u64;
            line.pop_if(|byte| *byte == b'\n');
            if let Some(entry) = Entry::parse(&line).filter(|entry| filter.matches(entry))
                && each(&entry, &line).is_break()
            {
                return Ok(());
            }
        }
    }
    lines(directory, cursor, |_, line| match Entry::parse(line).filter(|entry| filter.matches(entry)) {
        Some(entry) => each(&entry, line),
        None => ControlFlow::Continue(()),
    })
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ReadError {
    let path = path.to_owned();
    move |source| ReadError { path, source }
}

/// Gives every whole line from `cursor` on to `each`, until that says to stop or there are no more.
pub fn lines(
    directory: &Path,
    cursor: &mut Cursor,
    mut each: impl FnMut(Cursor, &[u8]) -> ControlFlow<()>,
) -> Result<(), ReadError> {
    let segments = files::segments(directory).map_err(failed(directory))?;
    for (number, path) in segments {
        if number < cursor.segment {
            continue;
        }
        if number > cursor.segment {
            *cursor = Cursor { segment: number, offset: 0 };
        }
        let mut file = files::open(&path).map_err(failed(&path))?;
        io::Seek::seek(&mut file, io::SeekFrom::Start(cursor.offset)).map_err(failed(&path))?;
        let mut text = BufReader::with_capacity(1 << 18, file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = text.read_until(b'\n', &mut line).map_err(failed(&path))? as u64;
            // No end: torn, or still being written.
            if line.pop_if(|byte| *byte == b'\n').is_none() {
                break;
            }
            let at = *cursor;
            cursor.offset += length;
            if each(at, &line).is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}
