//! Twelve kinds of tampering and more: `guard audit verify` and the independent verifier in `tests/verify`, which was
//! written from the format page alone, find the same faults in the same places.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Place, host, records};
use guard_userspace::audit::verify::verify;
use guard_userspace::audit::{Host, Identity, Log, Options};

/// Small segments, so that a log has several.
const OPTIONS: Options = Options { segment_bytes: 4500, keep_bytes: None, sync_each: false };

/// Five segments; the last one is open.
fn write_log(place: &Place, host: Host) {
    let identity = Identity::open(&place.keys(), host).unwrap();
    let (mut log, _) = Log::open(&place.log(), identity, OPTIONS).unwrap();
    for start in (0..30).step_by(3) {
        log.append(&records(start..start + 3)).unwrap();
    }
    log.checkpoint().unwrap();
    assert_eq!(log.status().segment, 5);
}

type Found = Vec<(String, u64, u64)>;

fn ours(place: &Place, witness: Option<&Path>) -> Found {
    let witness = witness.map(|path| fs::read(path).unwrap());
    let report = verify(&place.log(), &place.keys(), witness.as_deref()).unwrap();
    let findings = report.findings.iter();
    findings.map(|found| (found.fault.name().to_owned(), found.segment, found.line)).collect()
}

fn theirs(place: &Place, witness: Option<&Path>) -> Found {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/verify/verify.py");
    let mut command = Command::new("python3");
    command.arg(script).args([place.log(), place.keys()]);
    if let Some(witness) = witness {
        command.arg("--witness").arg(witness);
    }
    let output = command.output().expect("python3 is there");
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("lines "), "verify.py printed {text:?} and {errors:?}");
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with("lines ")) {
        let mut words = line.split(' ');
        let name = words.next().unwrap().to_owned();
        found.push((name, words.next().unwrap().parse().unwrap(), words.next().unwrap().parse().unwrap()));
    }
    assert_eq!(output.status.code(), Some(i32::from(!found.is_empty())), "{errors}");
    found
}

/// What both say, once they say the same.
fn both(place: &Place, witness: Option<&Path>) -> Found {
    let (ours, theirs) = (ours(place, witness), theirs(place, witness));
    assert_eq!(ours, theirs, "guard audit verify | verify.py");
    ours
}

fn names(found: &Found) -> Vec<&str> {
    let mut names: Vec<&str> = found.iter().map(|(name, ..)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn segment(place: &Place, number: u64) -> PathBuf {
    place.log().join(format!("{number:010}.ndjson"))
}

/// Rewrites the lines of a segment.
fn edit(path: &Path, change: impl FnOnce(&mut Vec<String>)) {
    let mut lines: Vec<String> = fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect();
    change(&mut lines);
    fs::write(path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn other() -> Host {
    Host { name: "other-host".into(), ..host() }
}

/// One kind of tampering, and the faults that must be found.
struct Case {
    name: &'static str,
    harm: fn(&Place, &Place),
    faults: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        name: "edit a record",
        harm: |place, _| {
            edit(&segment(place, 2), |lines| lines[2] = lines[2].replace("\"block\"", "\"allow\""))
        },
        faults: &["chain"],
    },
    Case {
        name: "delete a record",
        harm: |place, _| edit(&segment(place, 2), |lines| drop(lines.remove(2))),
        faults: &["chain", "checkpoint", "number"],
    },
    Case {
        name: "insert a record",
        harm: |place, _| edit(&segment(place, 2), |lines| lines.insert(2, lines[1].clone())),
        faults: &["chain", "checkpoint", "number"],
    },
    Case {
        name: "swap two records",
        harm: |place, _| edit(&segment(place, 2), |lines| lines.swap(2, 3)),
        faults: &["chain", "number"],
    },
    Case {
        name: "cut the end off",
        harm: |place, _| edit(&segment(place, 5), |lines| drop(lines.pop())),
        faults: &["short"],
    },
    Case {
        name: "drop a segment from the middle",
        harm: |place, _| fs::remove_file(segment(place, 3)).unwrap(),
        faults: &["chain", "gap", "number"],
    },
    Case {
        name: "drop the oldest segment",
        harm: |place, _| fs::remove_file(segment(place, 1)).unwrap(),
        faults: &["begin"],
    },
    Case {
        name: "wipe the log",
        harm: |place, _| fs::remove_dir_all(place.log()).unwrap(),
        faults: &["short"],
    },
    Case {
        name: "put an old segment in a new one's place",
        harm: |place, _| {
            fs::copy(segment(place, 2), segment(place, 4)).unwrap();
        },
        faults: &["chain", "checkpoint", "header", "number"],
    },
    Case {
        name: "forge a checkpoint",
        harm: |place, _| {
            edit(&segment(place, 5), |lines| {
                let old = fs::read_to_string(segment(place, 1)).unwrap();
                let old = old.lines().last().unwrap();
                let signature = &old[old.find(",\"sig\"").unwrap()..];
                let last = lines.last().unwrap();
                let record =
                    1 + serde_json::from_str::<serde_json::Value>(last).unwrap()["record"].as_u64().unwrap();
                let prev = guard_userspace::audit::hash(last.as_bytes());
                let lines_now = lines.len() + 1;
                lines.push(format!(
                    "{{\"kind\":\"checkpoint\",\"record\":{record},\"segment\":5,\"lines\":{lines_now},\
                     \"prev\":\"{prev}\"{signature}"
                ));
            });
        },
        faults: &["checkpoint"],
    },
    Case {
        name: "check with another host's key",
        harm: |place, other| {
            fs::copy(other.keys().join("audit.pub"), place.keys().join("audit.pub")).unwrap();
        },
        faults: &["identity"],
    },
    Case {
        name: "put another host's log in place",
        harm: |place, other| {
            fs::remove_dir_all(place.log()).unwrap();
            copy(&other.log(), &place.log());
        },
        faults: &["begin", "checkpoint", "header", "short"],
    },
    Case {
        name: "edit the key file",
        harm: |place, _| {
            let path = place.keys().join("audit.pub");
            let text = fs::read_to_string(&path).unwrap();
            let at = text.find('\n').unwrap() + 30;
            let swapped = if &text[at..=at] == "A" { "B" } else { "A" };
            fs::write(&path, format!("{}{swapped}{}", &text[..at], &text[at + 1..])).unwrap();
        },
        faults: &["identity"],
    },
    Case {
        name: "edit the head",
        harm: |place, _| {
            let path = place.keys().join("head");
            fs::write(&path, fs::read_to_string(&path).unwrap().replace("\"segment\":5", "\"segment\":4"))
                .unwrap();
        },
        faults: &["head"],
    },
    Case {
        name: "remove the oldest segment and forge a trim behind the head",
        harm: |place, _| {
            let last = fs::read_to_string(segment(place, 1)).unwrap();
            let gone = guard_userspace::audit::hash(last.lines().last().unwrap().as_bytes());
            fs::remove_file(segment(place, 1)).unwrap();
            edit(&segment(place, 5), |lines| {
                let last = lines.last().unwrap();
                let record =
                    1 + serde_json::from_str::<serde_json::Value>(last).unwrap()["record"].as_u64().unwrap();
                let prev = guard_userspace::audit::hash(last.as_bytes());
                lines.push(format!(
                    "{{\"kind\":\"trim\",\"record\":{record},\"first_kept\":2,\
                     \"removed\":[{{\"segment\":1,\"hash\":\"{gone}\"}}],\"prev\":\"{prev}\"}}"
                ));
            });
        },
        faults: &["begin"],
    },
    Case {
        name: "write the largest number there is into a line",
        harm: |place, _| edit(&segment(place, 2), |lines| lines[2] = numbered(&lines[2], u64::MAX)),
        faults: &["chain", "number"],
    },
    Case {
        name: "write the largest number there is into a line, and no record behind it",
        harm: |place, _| {
            edit(&segment(place, 2), |lines| {
                lines[2] = numbered(&lines[2], u64::MAX);
                lines[3] = "not a record".to_owned();
            });
        },
        faults: &["chain", "line", "number"],
    },
    Case {
        name: "tell of more losses than can be counted",
        harm: |place, _| {
            edit(&segment(place, 2), |lines| {
                let lost = |line: &str| {
                    let record = number_of(line);
                    format!("{{\"kind\":\"lost\",\"record\":{record},\"count\":{},\"prev\":\"\"}}", u64::MAX)
                };
                (lines[2], lines[3]) = (lost(&lines[2]), lost(&lines[3]));
            });
        },
        faults: &["chain"],
    },
    Case {
        name: "put a pipe into a segment's place",
        harm: |place, _| {
            fs::remove_file(segment(place, 2)).unwrap();
            assert!(Command::new("mkfifo").arg(segment(place, 2)).status().unwrap().success());
        },
        faults: &["chain", "gap", "number"],
    },
    Case {
        name: "put bytes that are no record into a line's place",
        harm: |place, _| edit(&segment(place, 2), |lines| lines[2] = "not a record".to_owned()),
        faults: &["chain", "line"],
    },
];

fn number_of(line: &str) -> u64 {
    serde_json::from_str::<serde_json::Value>(line).unwrap()["record"].as_u64().unwrap()
}

/// A line with another number.
fn numbered(line: &str, number: u64) -> String {
    let old = number_of(line);
    line.replace(&format!("\"record\":{old},"), &format!("\"record\":{number},"))
}

#[test]
fn there_is_no_segment_before_the_first() {
    let place = Place::new("verify-zero");
    write_log(&place, host());
    for name in ["0000000000.ndjson", "+000000001.ndjson"] {
        fs::copy(segment(&place, 3), place.log().join(name)).unwrap();
        assert_eq!(both(&place, None), [], "{name}");
    }
}

#[test]
fn a_start_behind_the_largest_number_goes_on() {
    let place = Place::new("verify-largest");
    write_log(&place, host());
    edit(&segment(&place, 5), |lines| lines[2] = numbered(&lines[2], u64::MAX));
    let (mut log, opened) = place.open(OPTIONS);
    assert!(opened.broken.is_some());
    log.append(&records(30..33)).unwrap();
    log.checkpoint().unwrap();
    drop(log);
    assert!(!both(&place, None).is_empty());
}

#[test]
fn both_verifiers_find_every_kind_of_tampering() {
    let (sound, stranger) = (Place::new("verify-sound"), Place::new("verify-other"));
    write_log(&sound, host());
    write_log(&stranger, other());
    assert_eq!(both(&sound, None), []);
    for case in CASES {
        let place = Place::new("verify-case");
        copy(&sound.log(), &place.log());
        copy(&sound.keys(), &place.keys());
        (case.harm)(&place, &stranger);
        assert_eq!(names(&both(&place, None)), case.faults, "{}", case.name);
    }
}

#[test]
fn a_log_put_back_to_an_older_state_is_found_by_a_witness() {
    let place = Place::new("verify-witness");
    write_log(&place, host());
    let older = Place::new("verify-older");
    copy(&place.log(), &older.log());
    copy(&place.keys(), &older.keys());
    let (mut log, _) = place.open(OPTIONS);
    log.append(&records(30..33)).unwrap();
    log.checkpoint().unwrap();
    drop(log);
    let witness = place.0.join("witness");
    fs::copy(place.keys().join("head"), &witness).unwrap();
    assert_eq!(both(&place, Some(&witness)), []);
    assert_eq!(both(&older, None), []);
    assert_eq!(names(&both(&older, Some(&witness))), ["witness"]);
}

#[test]
fn a_restart_hides_no_loss() {
    let place = Place::new("verify-restart");
    write_log(&place, host());
    edit(&segment(&place, 5), |lines| drop(lines.pop()));
    let (mut log, _) = place.open(OPTIONS);
    log.append(&records(30..33)).unwrap();
    log.checkpoint().unwrap();
    drop(log);
    assert_eq!(names(&both(&place, None)), ["chain", "checkpoint", "number"]);
}

#[test]
fn trimming_is_provable() {
    let place = Place::new("verify-trim");
    let options = Options { keep_bytes: Some(14_000), ..OPTIONS };
    let (mut log, _) = place.open(options);
    for start in (0..60).step_by(3) {
        log.append(&records(start..start + 3)).unwrap();
    }
    log.checkpoint().unwrap();
    drop(log);
    assert!(!segment(&place, 1).exists());
    assert_eq!(both(&place, None), []);
    let first = (1..).find(|number| segment(&place, *number).exists()).unwrap();
    fs::remove_file(segment(&place, first)).unwrap();
    assert_eq!(names(&both(&place, None)), ["begin"]);
}

#[test]
fn what_a_crash_leaves_is_no_fault() {
    let place = Place::new("verify-crash");
    write_log(&place, host());
    let path = segment(&place, 5);
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"{\"kind\":\"decision\",\"rec");
    fs::write(&path, bytes).unwrap();
    assert_eq!(both(&place, None), []);
    let report = verify(&place.log(), &place.keys(), None).unwrap();
    assert_eq!(report.torn, 23);
}
