//! How fast records become a chain on disk. Not run by default: a busy machine says nothing about the code.
//!
//! `cargo test --release -p guard-userspace --test audit_speed -- --ignored --nocapture`

mod common;

use std::fs;
use std::time::Instant;

use common::{Place, entry_of, scribe};
use guard_userspace::audit::Options;

/// Records of one batch, as the daemon writes them.
const BATCH: u64 = 4096;
const BATCHES: u64 = 400;
/// What one core must do in a second.
const WANTED: f64 = 500_000.0;

#[test]
#[ignore = "needs a quiet machine"]
fn one_core_chains_half_a_million_records_a_second() {
    let place = Place::new("speed");
    let (mut log, _) = place.open(Options { keep_bytes: Some(256 << 20), ..Options::default() });
    let mut scribe = scribe();
    let entries: Vec<Vec<u8>> = (0..BATCH)
        .map(|n| entry_of(format!("/workspace/src/module_{n}/file.rs").as_bytes(), |_| {}))
        .collect();
    let mut out = Vec::new();
    let start = Instant::now();
    for batch in 0..BATCHES {
        out.clear();
        for (n, entry) in entries.iter().enumerate() {
            let mut entry = entry.clone();
            entry[..8].copy_from_slice(&(batch * BATCH + n as u64).to_ne_bytes());
            scribe.take(&entry, &mut out);
        }
        log.append(&out).unwrap();
    }
    log.checkpoint().unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let records = (BATCH * BATCHES) as f64;
    let last = fs::read_dir(place.log()).unwrap().count();
    println!("{:.0} records/s, {last} segments left, {seconds:.2} s", records / seconds);
    assert!(records / seconds >= WANTED, "{:.0} records/s", records / seconds);
}
