//! No room: a batch is written whole or not at all, and the log goes on once there is room again.
//!
//! A limit on the size of files stands for a full disk: the write that reaches it is cut short at that byte, as the one
//! that fills a disk is.

mod common;

use std::process::Command;

use common::{Place, records};
use guard_userspace::audit::verify::verify;
use guard_userspace::audit::{LogError, Options};

/// Where the process under the limit writes.
const PLACE: &str = "GUARD_AUDIT_FULL";

/// Runs only as a child of the test below.
#[test]
fn write_until_there_is_no_room() {
    let Some(path) = std::env::var_os(PLACE) else { return };
    let place = std::mem::ManuallyDrop::new(Place(path.into()));
    let (mut log, _) = place.open(Options::default());
    let mut written = 0;
    let error = loop {
        match log.append(&records(written..written + 3)) {
            Ok(()) => written += 3,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, LogError::Full(_)), "{error}");
    // Smaller pieces may still fit, and the same batch never does.
    assert!(log.append(&records(written..written + 3)).is_err());
    assert_eq!(log.status().refused, 2);
    log.checkpoint().unwrap();
    assert_eq!(log.status().records, 1 + written);
    let report = verify(&place.log(), &place.keys(), None).unwrap();
    assert!(report.is_whole() && report.torn == 0 && report.unsigned == 0, "{report:?}");
    assert_eq!(report.last_record, 1 + written);
}

#[test]
fn a_full_disk_leaves_a_whole_log_that_goes_on() {
    let own = std::env::current_exe().unwrap();
    for blocks in [4, 5, 7, 16, 33] {
        let place = Place::new("full");
        let status = Command::new("sh")
            // Ignored, so that the write fails instead of ending the process.
            .args(["-c", "trap '' XFSZ; ulimit -f \"$1\"; exec \"$0\" --exact write_until_there_is_no_room"])
            .arg(&own)
            // dash counts blocks of 512 bytes, bash of 1024; either will do.
            .arg(blocks.to_string())
            .env(PLACE, &place.0)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&status.stdout);
        assert!(status.status.success() && text.contains("1 passed"), "{text}");
        let (mut log, opened) = place.open(Options::default());
        assert_eq!(opened, Default::default(), "nothing to mend");
        let next = log.sequences().next().map_or(0, |(_, next)| next);
        log.append(&records(next..next + 3)).unwrap();
        log.checkpoint().unwrap();
        drop(log);
        assert!(verify(&place.log(), &place.keys(), None).unwrap().is_whole());
    }
}
