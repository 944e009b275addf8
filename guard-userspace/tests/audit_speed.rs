//! How fast records become a chain on disk. Not run by default: a busy machine says nothing about the code.
//!
//! `cargo test --release -p guard-userspace --test audit_speed -- --ignored --nocapture`

mod common;

use std::process::Command;
use std::time::Instant;

use common::{Place, entry_of, scribe};
use guard_userspace::audit::Options;
use nix::time::{ClockId, clock_gettime};

/// Records of one batch, as the daemon writes them.
const BATCH: u64 = 4096;
const BATCHES: u64 = 400;

/// Fewer for a tool that counts instructions:
///
/// `BATCHES=10 valgrind --tool=callgrind target/release/deps/audit_speed-… --ignored one_core`, once with 10 and once with
/// 20; the difference over 40,960 is one record. Valgrind's processor has no SHA instructions: take
/// `compress256` from it, for which a real one needs 100 instructions for each 64 bytes.
fn batches() -> u64 {
    std::env::var("BATCHES").map_or(BATCHES, |text| text.parse().unwrap())
}
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
    let (start, cpu) = (Instant::now(), cpu_seconds());
    for batch in 0..batches() {
        out.clear();
        for (n, entry) in entries.iter().enumerate() {
            let mut entry = entry.clone();
            entry[..8].copy_from_slice(&(batch * BATCH + n as u64).to_ne_bytes());
            scribe.take(&entry, &mut out);
        }
        log.append(&out).unwrap();
    }
    log.checkpoint().unwrap();
    let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let records = (BATCH * batches()) as f64;
    println!(
        "{:.0} records in a second of one core, {:.0} in a second by the clock",
        records / cpu,
        records / wall
    );
    assert!(records / cpu >= WANTED || batches() < BATCHES, "{:.0} records/s", records / cpu);
}

/// What this process has used of its cores, the kernel's work for it included.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap();
    time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9
}

/// How long a filtered question may take over ten million records.
const ANSWER: f64 = 1.0;

#[test]
#[ignore = "writes ten gigabytes"]
fn ten_million_records_answer_within_a_second() {
    let records: u64 = std::env::var("RECORDS").map_or(10_000_000, |text| text.parse().unwrap());
    let place = Place::new("ten-million");
    let (mut log, _) = place.open(Options::default());
    let mut scribe = scribe();
    let mut out = Vec::new();
    let mut seq = 0;
    while seq < records {
        out.clear();
        for seq in seq..seq + BATCH {
            // One in a million is what is looked for; paths repeat as those of a work tree do.
            let object = match seq % 1_000_000 {
                777_777 => format!("/home/dev/.ssh/id_{seq}"),
                _ => format!("/workspace/src/module_{}/file.rs", seq % 5000),
            };
            let entry = entry_of(object.as_bytes(), |raw| {
                raw.seq = seq;
                raw.session = seq % 50;
                raw.pid = 1_000_000_000 + (seq % 1000) as u32;
                raw.uid = (seq % 7) as u32;
            });
            scribe.take(&entry, &mut out);
        }
        seq += BATCH;
        log.append(&out).unwrap();
    }
    log.close().unwrap();
    drop(log);
    let ask = |question: &[&str]| {
        let start = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_guard"));
        let output = command
            .args(["audit", "query", "--json", "--dir"])
            .arg(place.log())
            .args(question)
            .output()
            .unwrap();
        let found = output.stdout.iter().filter(|byte| **byte == b'\n').count();
        let seconds = start.elapsed().as_secs_f64();
        println!("{seconds:.2} s, {found} found: {}", question.join(" "));
        (found, seconds)
    };
    println!("{} records; the first question makes the index", seq);
    ask(&["--rule", "nothing"]);
    let (found, seconds) = ask(&["--path", "/home/**", "--verdict", "block"]);
    assert_eq!(found as u64, records.div_ceil(1_000_000).min(records / 777_778));
    assert!(seconds < ANSWER);
    assert!(ask(&["--rule", "no-such-rule"]).1 < ANSWER);
    assert!(ask(&["--pid", "1000000777", "--path", "/home/**"]).1 < ANSWER);
}
