//! Records as the kernel would send them, through the daemon's own way to a chain on disk, and questions about them.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use guard_common::abi::{self, Action, EventKind, Op, Reason, Verdict};
use guard_common::table::Answer;
use nix::time::{ClockId, clock_gettime};
use sha2::{Digest as _, Sha256};
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::{BenchError, Figure, failed};
use crate::audit::filter::Filter;
use crate::audit::read::{Cursor, search};
use crate::audit::{Host, Identity, Log, Options, PlanNames, Scribe, filter};

/// Records of one batch, as the daemon writes them.
const BATCH: u64 = 4_096;
/// The log may not grow without end.
const MOST: u64 = 200 * BATCH;

pub(super) fn measure(scratch: &Path, patience: Duration) -> Result<Vec<Figure>, BenchError> {
    let host = Host { name: "bench".to_owned(), boot: "00000000-0000-4000-8000-000000000000".to_owned() };
    let log = |error| BenchError::Log(error);
    let identity = Identity::open(&scratch.join("keys"), host.clone()).map_err(|error| log(error.into()))?;
    let directory = scratch.join("log");
    let (mut chain, _) =
        Log::open(&directory, identity, Options::default()).map_err(|error| log(error.into()))?;
    let mut scribe = Scribe::new(PlanNames::default(), host, Path::new("/nonexistent"))
        .map_err(|error| failed("watch processes", scratch)(error.into()))?;
    let entries: Vec<Vec<u8>> = (0..BATCH).map(entry).collect();
    let (mut out, mut records) = (Vec::new(), 0);
    let (begun, cpu) = (Instant::now(), processor_time());
    while records == 0 || (begun.elapsed() < patience && records < MOST) {
        out.clear();
        for (n, entry) in entries.iter().enumerate() {
            let mut entry = entry.clone();
            entry[..8].copy_from_slice(&(records + n as u64).to_ne_bytes());
            scribe.take(&entry, &mut out);
        }
        chain.append(&out).map_err(|error| log(error.into()))?;
        records += BATCH;
    }
    chain.close().map_err(|error| log(error.into()))?;
    let (wall, cpu) = (begun.elapsed(), processor_time().saturating_sub(cpu));
    drop(chain);
    let bytes = size(&directory).map_err(failed("read the log's size", &directory))?;
    let hashing = hash(bytes);
    let mut figures = vec![
        Figure::new("record to disk, of one core", records as f64 / cpu.as_secs_f64(), "records/s").beside(
            format!("{} records, {} bytes each, their hash {:.0} % of it", records, bytes / records, {
                100.0 * hashing.as_secs_f64() / cpu.as_secs_f64()
            }),
        ),
        Figure::new("record to disk, by the clock", records as f64 / wall.as_secs_f64(), "records/s"),
    ];
    for (name, beside) in [
        ("first question", "makes the index"),
        ("second question", "one path of four thousand, by the index"),
    ] {
        let begun = Instant::now();
        let found = ask(&directory)?;
        let took = begun.elapsed().as_secs_f64() * 1e3;
        figures.push(Figure::new(name, took, "ms").beside(format!("{beside}; {found} found")));
    }
    Ok(figures)
}

/// A refused write.
fn entry(n: u64) -> Vec<u8> {
    let object = path(n);
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
    raw.object_at = size_of::<abi::Event>() as u16;
    raw.object_len = object.len() as u16;
    [raw.as_bytes(), object.as_bytes()].concat()
}

fn path(n: u64) -> String {
    format!("/workspace/src/module_{n}/file.rs")
}

fn ask(directory: &Path) -> Result<u64, BenchError> {
    let pattern = filter::path(&path(BATCH / 2)).map_err(|error| BenchError::Log(error.into()))?;
    let filter = Filter { path: Some(pattern), ..Filter::default() };
    let mut found = 0;
    search(directory, &filter, &mut Cursor::default(), |_, _| {
        found += 1;
        ControlFlow::Continue(())
    })
    .map_err(|error| BenchError::Log(error.into()))?;
    Ok(found)
}

/// What it takes to hash so many bytes and nothing else.
fn hash(bytes: u64) -> Duration {
    let block = vec![0x61; 1 << 16];
    let begun = processor_time();
    let mut left = bytes;
    let mut hash = Sha256::new();
    while left > 0 {
        let part = left.min(block.len() as u64);
        hash.update(&block[..part as usize]);
        left -= part;
    }
    black_box(hash.finalize());
    processor_time().saturating_sub(begun)
}

fn size(directory: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == "ndjson") {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

/// What this process has used of its cores, the kernel's work for it included.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Into::into).unwrap_or_default()
}
