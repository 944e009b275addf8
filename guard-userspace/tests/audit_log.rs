//! The log as the daemon uses it: ring entries in, a chain on disk out, whatever happens in between.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use common::{Place, entry, host, records, scribe};
use guard_userspace::audit::{Hash, Identity, Log, Options, hash};

/// Every line of every segment, after the chain has been walked.
fn lines(place: &Place) -> Vec<serde_json::Value> {
    let mut files: Vec<_> = fs::read_dir(place.log()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut prev: Option<Hash> = None;
    let mut all = Vec::new();
    for file in files {
        let text = fs::read(&file).unwrap();
        assert!(text.ends_with(b"\n"), "{} ends in a whole line", file.display());
        for line in text.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n') {
            let value: serde_json::Value = serde_json::from_slice(line).unwrap();
            if let Some(prev) = prev {
                assert_eq!(value["prev"], prev.to_string(), "line {}", value["record"]);
            }
            prev = Some(hash(line));
            all.push(value);
        }
    }
    all
}

fn seqs(lines: &[serde_json::Value]) -> Vec<u64> {
    lines.iter().filter(|line| line["kind"] == "decision").map(|line| line["seq"].as_u64().unwrap()).collect()
}

#[test]
fn what_goes_in_is_on_disk_in_order_and_private() {
    let place = Place::new("order");
    let (mut log, opened) = place.open(Options::default());
    assert_eq!(opened, Default::default());
    log.append(&records(0..10)).unwrap();
    log.checkpoint().unwrap();
    let lines = lines(&place);
    assert_eq!(lines[0]["kind"], "segment");
    assert_eq!(seqs(&lines), (0..10).collect::<Vec<_>>());
    let last = &lines[10];
    for (field, value) in [
        ("action", "write"),
        ("object", "/srv/file-9"),
        ("verdict", "block"),
        ("reason_code", "rule"),
        ("comm", "bash"),
        ("host", "test-host"),
    ] {
        assert_eq!(last[field], value, "{last}");
    }
    assert_eq!((&last["errno"], &last["pid"], &last["record"]), (&1.into(), &u32::MAX.into(), &11.into()));
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(place.log()), 0o700);
    assert_eq!(mode(place.log().join("0000000001.ndjson")), 0o600);
    assert_eq!(mode(place.keys().join("audit.key")), 0o600);
}

#[test]
fn a_log_goes_on_where_it_stopped_and_in_new_segments() {
    let place = Place::new("rotate");
    let options = Options { segment_bytes: 4000, ..Options::default() };
    for start in [0, 20, 40] {
        let (mut log, opened) = place.open(options);
        assert_eq!(opened, Default::default());
        assert_eq!(log.sequences().collect::<Vec<_>>(), if start == 0 { vec![] } else { vec![(0, start)] });
        for seq in (start..start + 20).step_by(2) {
            log.append(&records(seq..seq + 2)).unwrap();
        }
    }
    let lines = lines(&place);
    assert_eq!(seqs(&lines), (0..60).collect::<Vec<_>>());
    let numbers: Vec<u64> = lines.iter().map(|line| line["record"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=lines.len() as u64).collect::<Vec<_>>());
    let segments = lines.iter().filter(|line| line["kind"] == "segment").count();
    let checkpoints = lines.iter().filter(|line| line["kind"] == "checkpoint").count();
    assert!(segments > 5 && checkpoints == segments - 1, "{segments} segments, {checkpoints} checkpoints");
}

#[test]
fn a_crash_at_any_byte_leaves_a_log_that_goes_on() {
    let whole = Place::new("crash-whole");
    let (mut log, _) = whole.open(Options::default());
    log.append(&records(0..3)).unwrap();
    log.checkpoint().unwrap();
    let head = fs::read(whole.keys().join("head")).unwrap();
    let durable = fs::metadata(whole.log().join("0000000001.ndjson")).unwrap().len() as usize;
    log.append(&records(3..5)).unwrap();
    drop(log);
    let bytes = fs::read(whole.log().join("0000000001.ndjson")).unwrap();
    let place = Place::new("crash");
    // Every byte around a line's end, and some inside: each start waits for the disk several times.
    let near = |end: usize| bytes[end.saturating_sub(3)..(end + 2).min(bytes.len())].contains(&b'\n');
    for end in (durable..=bytes.len()).filter(|end| near(*end) || end % 97 == 0) {
        let _ = fs::remove_dir_all(&place.0);
        fs::create_dir_all(place.log()).unwrap();
        fs::create_dir_all(place.keys()).unwrap();
        for name in ["audit.key", "audit.pub", "genesis"] {
            fs::copy(whole.keys().join(name), place.keys().join(name)).unwrap();
        }
        fs::write(place.keys().join("head"), &head).unwrap();
        fs::write(place.log().join("0000000001.ndjson"), &bytes[..end]).unwrap();
        let (mut log, opened) = place.open(Options::default());
        assert_eq!(opened.broken, None, "cut at {end}");
        let kept = bytes[..end].iter().filter(|byte| **byte == b'\n').count() as u64 - 1;
        log.append(&records(kept..kept + 1)).unwrap();
        drop(log);
        let lines = lines(&place);
        assert_eq!(seqs(&lines), (0..=kept).collect::<Vec<_>>());
        let told =
            lines.iter().find(|line| line["kind"] == "recovery").map(|line| line["cut_bytes"].as_u64());
        assert_eq!(told.flatten().unwrap_or(0), opened.cut);
        assert_eq!(opened.cut == 0, bytes[end - 1] == b'\n');
    }
}

#[test]
fn a_log_that_was_cut_short_or_wiped_is_not_gone_on_with_as_if_nothing_were() {
    type Harm = fn(&Place);
    let harms: [(Harm, &str); 4] = [
        (|place| fs::remove_dir_all(place.log()).unwrap(), "every segment is missing"),
        (
            |place| {
                let path = place.log().join("0000000001.ndjson");
                let bytes = fs::read(&path).unwrap();
                let end = bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
                fs::write(&path, &bytes[..=end]).unwrap();
            },
            "lines that the head names are missing or changed",
        ),
        (
            |place| fs::remove_file(place.keys().join("head")).unwrap(),
            "the signed head is missing or not this key's",
        ),
        (
            |place| {
                let path = place.log().join("0000000001.ndjson");
                let text = fs::read_to_string(&path).unwrap();
                fs::write(&path, text.replacen("file-1", "file-7", 1)).unwrap();
            },
            "the last segment's lines are not a chain",
        ),
    ];
    for (harm, why) in harms {
        let place = Place::new("cut-short");
        let (mut log, _) = place.open(Options::default());
        log.append(&records(0..3)).unwrap();
        log.checkpoint().unwrap();
        drop(log);
        harm(&place);
        let (mut log, opened) = place.open(Options::default());
        assert_eq!(opened.broken, Some(why));
        log.append(&records(3..4)).unwrap();
        // The next start finds a sound segment behind the break, and leaves it at that.
        drop(log);
        assert_eq!(place.open(Options::default()).1, Default::default());
        assert!(place.log().join("0000000002.ndjson").exists());
    }
}

#[test]
fn two_writers_are_kept_apart() {
    let place = Place::new("two");
    let (_log, _) = place.open(Options::default());
    let identity = Identity::open(&place.keys(), host()).unwrap();
    let error = Log::open(&place.log(), identity, Options::default()).unwrap_err();
    assert!(error.to_string().starts_with("another process writes"), "{error}");
}

#[test]
fn gaps_and_corrupt_entries_become_records() {
    let place = Place::new("gaps");
    let (mut log, _) = place.open(Options::default());
    let (mut scribe, mut out) = (scribe(), Vec::new());
    scribe.take(&entry(0, b"/a"), &mut out);
    scribe.take(&entry(4, b"/b"), &mut out);
    let bad = entry(5, b"/c");

    scribe.take(&bad[..127], &mut out);
    scribe.finish(&mut out);
    log.append(&out).unwrap();
    drop(log);
    let lines = lines(&place);
    let lost = lines.iter().find(|line| line["kind"] == "lost").unwrap();
    assert_eq!((&lost["first"], &lost["count"]), (&1.into(), &3.into()));
    let corrupt = lines.iter().find(|line| line["kind"] == "corrupt").unwrap();
    assert_eq!((&corrupt["field"], &corrupt["length"]), (&"length".into(), &127.into()));
}

#[test]
fn no_name_forges_a_record() {
    let place = Place::new("names");
    let (mut log, _) = place.open(Options::default());
    let names: [&[u8]; 4] = [
        b"/t/\n{\"kind\":\"decision\"}",
        b"/t/\x1b[2J\"},",
        b"/t/\xff\xc3",
        &[b"/".as_slice(), &[b'a'; 4094]].concat(),
    ];
    let (mut scribe, mut out) = (scribe(), Vec::new());
    for (seq, name) in names.iter().enumerate() {
        scribe.take(&entry(seq as u64, name), &mut out);
    }
    log.append(&out).unwrap();
    drop(log);
    let lines = lines(&place);
    assert_eq!(lines.len(), 1 + names.len());
    for (line, name) in lines[1..].iter().zip(names) {
        let object = line["object"].as_str().unwrap();
        assert_eq!(guard_userspace::audit::unescape(object).as_deref(), Some(name));
    }
}

#[test]
fn keys_that_openssl_reads_and_nobody_else() {
    let place = Place::new("openssl");
    drop(place.open(Options::default()));
    let output = std::process::Command::new("openssl")
        .args(["pkey", "-pubout", "-in"])
        .arg(place.keys().join("audit.key"))
        .output()
        .expect("openssl is there");
    assert_eq!(output.stdout, fs::read(place.keys().join("audit.pub")).unwrap());
    fs::remove_file(place.keys().join("audit.key")).unwrap();
    let error = Identity::open(&place.keys(), host()).unwrap_err();
    assert!(error.to_string().contains("audit.key is missing"), "{error}");
}

#[test]
fn every_flag_is_a_member_of_its_own() {
    let place = Place::new("flags");
    let (mut log, _) = place.open(Options::default());
    let (mut scribe, mut out) = (scribe(), Vec::new());
    scribe.take(&common::entry_of(b"/srv/a", |raw| raw.flags = 1 | 2 | 4 | 16), &mut out);
    log.append(&out).unwrap();
    let lines: Vec<serde_json::Value> = log
        .written()
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let decision = lines.iter().find(|line| line["kind"] == "decision").unwrap();
    for flag in ["shadowed", "io_worker", "directory", "cut"] {
        assert_eq!(decision[flag], true, "{flag} in {decision}");
    }
}
