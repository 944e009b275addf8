//! What the audit log says since the test began: by the end of a run it is larger than anybody wants to read again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result};
use serde_json::Value;

use super::stage::STATE;

/// How long each segment was.
static BEGIN: OnceLock<BTreeMap<PathBuf, u64>> = OnceLock::new();

/// Everything that is in the log by now is of other tests. Only the first call counts.
pub(super) fn begin() {
    BEGIN.get_or_init(|| segments().unwrap_or_default());
}

/// The segments in the order in which they were written, each with its length.
fn segments() -> Result<BTreeMap<PathBuf, u64>> {
    let directory = Path::new(STATE).join("audit");
    let mut segments = BTreeMap::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("list {}", directory.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "ndjson") {
            let length = fs::metadata(&path)?.len();
            segments.insert(path, length);
        }
    }
    Ok(segments)
}

/// The whole lines of this test's time.
pub(super) fn text() -> Result<String> {
    let begin = BEGIN.get().context("the test has not said where it begins")?;
    let mut all = String::new();
    for path in segments()?.into_keys() {
        let mut file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        file.seek(SeekFrom::Start(begin.get(&path).copied().unwrap_or(0)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(|| format!("read {}", path.display()))?;
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
        all += std::str::from_utf8(&bytes).context("the log is not UTF-8")?;
    }
    Ok(all)
}

/// The records of this test's time.
pub(super) fn records() -> Result<Vec<Value>> {
    let parse = |line: &str| serde_json::from_str(line).with_context(|| line.to_owned());
    text()?.lines().map(parse).collect()
}

/// Those of one kind. The others are not even parsed: there can be a hundred thousand.
pub(super) fn of_kind(kind: &str) -> Result<Vec<Value>> {
    let mark = format!("\"kind\":\"{kind}\"");
    let parse = |line: &str| serde_json::from_str(line).with_context(|| line.to_owned());
    text()?.lines().filter(|line| line.contains(&mark)).map(parse).collect()
}

/// How long the whole log is.
pub(super) fn size() -> u64 {
    segments().unwrap_or_default().into_values().sum()
}
