//! How far the log has got: one signed line beside the key, so that a log cannot be cut short or wiped unseen.

use std::io;
use std::path::Path;

use ed25519_dalek::SigningKey;
use serde::Deserialize;

use super::line::{key, push_number, push_text};
use super::{Genesis, Hash, files, seal, timestamp};

/// A place in the log: its last line when this was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub segment: u64,
    /// Lines of that segment so far.
    pub lines: u64,
    /// Number of its last line in the whole log.
    pub record: u64,
    pub hash: Hash,
    pub genesis: Hash,
}

#[derive(Deserialize)]
struct Line {
    kind: String,
    segment: u64,
    lines: u64,
    record: u64,
    hash: String,
    genesis: String,
}

impl Head {
    /// The place before the first segment.
    pub(super) fn before_all(genesis: Hash) -> Self {
        Self { segment: 0, lines: 0, record: 0, hash: genesis, genesis }
    }

    /// Reads a signed line; `None` for anything that this key did not sign for this genesis.
    pub fn parse(text: &[u8], genesis: &Genesis) -> Option<Self> {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let head = Self::unchecked(text)?;
        (seal::is_signed(text, &genesis.key) && head.genesis == genesis.hash).then_some(head)
    }

    fn unchecked(text: &[u8]) -> Option<Self> {
        let line: Line = serde_json::from_slice(text).ok()?;
        (line.kind == "head").then_some(())?;
        Some(Self {
            segment: line.segment,
            lines: line.lines,
            record: line.record,
            hash: Hash::from_hex(&line.hash)?,
            genesis: Hash::from_hex(&line.genesis)?,
        })
    }

    /// The head in `directory`; `None` if there is none that the key signed.
    pub(super) fn read(directory: &Path, genesis: &Genesis) -> io::Result<Option<Self>> {
        let text = files::read(&directory.join(files::HEAD))?;
        Ok(text.and_then(|text| Self::parse(&text, genesis)))
    }

    pub(super) fn write(&self, directory: &Path, key: &SigningKey, host: &str, time: u64) -> io::Result<()> {
        let mut line = b"{\"kind\":\"head\"".to_vec();
        push_number(&mut line, key!("format"), super::identity::FORMAT);
        push_text(&mut line, key!("host"), host);
        push_text(&mut line, key!("time"), &timestamp(time));
        push_text(&mut line, key!("genesis"), &self.genesis.to_string());
        push_number(&mut line, key!("segment"), self.segment);
        push_number(&mut line, key!("lines"), self.lines);
        push_number(&mut line, key!("record"), self.record);
        push_text(&mut line, key!("hash"), &self.hash.to_string());
        line.push(b'}');
        seal::sign(&mut line, key);
        line.push(b'\n');
        files::replace(&directory.join(files::HEAD), &line, files::PUBLIC)
    }
}
