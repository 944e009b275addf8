//! What the log holds, before it is a line.

use std::sync::Arc;

use super::names::{Cause, Who};
use super::seal::Hash;
use crate::events::{Corrupt, Event, Gap};

/// One record.
#[derive(Clone, Debug)]
pub struct Record {
    /// Wall clock, in nanoseconds since 1970.
    pub time: u64,
    /// CLOCK_BOOTTIME in nanoseconds: the order of things, whatever the wall clock does.
    pub boottime: u64,
    pub body: Body,
}

/// What a record tells.
#[derive(Clone, Debug)]
pub enum Body {
    /// An event of the kernel.
    Event(Box<EventRecord>),
    /// Events that never came.
    Lost(Gap),
    /// An event that could not be read.
    Corrupt(Box<Corrupt>),
    /// Something that did not happen in the kernel.
    Note(Note),
}

/// An event, and what its numbers are called.
#[derive(Clone, Debug)]
pub struct EventRecord {
    pub event: Event,
    pub who: Arc<Who>,
    /// The program of the process, as far as it is known.
    pub exe: Arc<[u8]>,
    pub decided: Arc<Cause>,
    /// What shadow rules, shadow policies and candidates would have said, if that is stricter.
    pub candidate: Option<Arc<Cause>>,
    /// argv, where the event has one.
    pub argv: Option<Argv>,
    /// Not everything that was promised is enforced.
    pub degraded: bool,
}

/// argv of an exec, from its second entry on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argv {
    pub count: u32,
    /// SHA-256 over the entries, each with a NUL behind it.
    pub digest: [u8; 32],
    /// Only if the policy asks for it, because it holds secrets.
    pub text: Option<Vec<Vec<u8>>>,
}

/// A record of the daemon's own: `kind` and named values.
#[derive(Clone, Debug)]
pub struct Note {
    /// Lower-case words with hyphens: `daemon-start`, `policy`, `approval`.
    pub kind: &'static str,
    pub fields: Vec<(&'static str, Value)>,
}

/// A value of a [`Note`].
#[derive(Clone, Debug)]
pub enum Value {
    Text(String),
    /// Bytes of somebody's choice, escaped.
    Name(Vec<u8>),
    Number(u64),
    Signed(i64),
    Flag(bool),
    /// CPUs with the sequence number that comes next.
    Pairs(Vec<(u32, u64)>),
    /// Segments with the hash of their last line.
    Segments(Vec<(u64, Hash)>),
}

impl Record {
    /// A note, now.
    pub fn note(time: u64, boottime: u64, kind: &'static str, fields: Vec<(&'static str, Value)>) -> Self {
        Self { time, boottime, body: Body::Note(Note { kind, fields }) }
    }
}
