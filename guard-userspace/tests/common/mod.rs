//! What the tests of the audit log share: a place on disk, and what the kernel would send.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(unreachable_pub, reason = "a module of several test crates")]

use std::fs;
use std::path::{Path, PathBuf};

use guard_common::abi::{self, Action, EventKind, Op, Reason, Verdict};
use guard_common::table::Answer;
use guard_userspace::audit::{Host, Identity, Log, Options, PlanNames, Record, Scribe};
use zerocopy::{FromZeros as _, IntoBytes as _};

/// A directory of its own for a test, gone afterwards.
pub struct Place(pub PathBuf);

impl Place {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("guard-audit-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    pub fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    pub fn open(&self, options: Options) -> (Log, guard_userspace::audit::Opened) {
        let identity = Identity::open(&self.keys(), host()).unwrap();
        Log::open(&self.log(), identity, options).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn host() -> Host {
    Host { name: "test-host".into(), boot: "0f0e0d0c-0b0a-4908-8706-050403020100".into() }
}

pub fn scribe() -> Scribe<PlanNames> {
    Scribe::new(PlanNames::default(), host(), Path::new("/nonexistent")).unwrap()
}

/// A denied write as it lies in the ring.
pub fn entry(seq: u64, object: &[u8]) -> Vec<u8> {
    entry_of(object, |raw| raw.seq = seq)
}

/// The same with changes.
pub fn entry_of(object: &[u8], change: impl FnOnce(&mut abi::Event)) -> Vec<u8> {
    let mut raw = abi::Event::new_zeroed();
    raw.time = 1_000_000_000;
    raw.pid = u32::MAX;
    raw.answer = Answer::new(Verdict::Block, 0, 0).0;
    raw.errno = -1;
    raw.reason = Reason::Rule as u16;
    raw.kind = EventKind::Decision as u8;
    raw.action = Action::Write as u8;
    raw.op = Op::Open as u8;
    raw.verdict = Verdict::Block as u8;
    raw.comm[..4].copy_from_slice(b"bash");
    raw.object_at = size_of::<abi::Event>() as u16;
    raw.object_len = object.len() as u16;
    change(&mut raw);
    [raw.as_bytes(), object].concat()
}

pub fn records(seqs: std::ops::Range<u64>) -> Vec<Record> {
    let (mut scribe, mut out) = (scribe(), Vec::new());
    scribe.resume([(0, seqs.start)]);
    seqs.for_each(|seq| scribe.take(&entry(seq, format!("/srv/file-{seq}").as_bytes()), &mut out));
    out
}
