//! The catalogue, the helper and the page that is made of the catalogue belong together.

use std::collections::BTreeSet;
use std::process::Command;

use guard_userspace::drill::{catalogue, report};

#[test]
fn every_drill_has_an_attempt_and_every_attempt_a_drill() {
    let listed =
        Command::new(env!("CARGO_BIN_EXE_guard-attempt")).arg("--list").output().expect("run the helper");
    let text = String::from_utf8(listed.stdout).expect("names are text");
    let attempts: BTreeSet<&str> = text.lines().collect();
    let drills: BTreeSet<&str> = catalogue::all().map(|(_, drill)| drill.name).collect();
    assert_eq!(
        attempts.difference(&drills).collect::<Vec<_>>(),
        Vec::<&&str>::new(),
        "attempts without a drill"
    );
    assert_eq!(
        drills.difference(&attempts).collect::<Vec<_>>(),
        Vec::<&&str>::new(),
        "drills without an attempt"
    );
}

#[test]
fn the_page_of_bypasses_is_what_the_catalogue_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/bypasses.md");
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        page == report::markdown(),
        "docs/bypasses.md is not current: `guard drill --list --format markdown > docs/bypasses.md`"
    );
}

/// Rows of the threat model, section 3: network, execution, files, escape and the decision itself. A number that is
/// nowhere is a technique that nobody thought about here.
const THREATS: &[(char, &[u32])] = &[
    (
        'N',
        &[
            1, 2, 3, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16, 17, 20, 22, 23, 25, 26, 28, 29, 30, 31, 32, 33, 34,
            36, 37, 39, 40, 41, 43, 44, 45, 46, 47, 48, 50, 51, 52, 54, 55, 56, 59, 60, 61, 62, 64, 66, 67,
            68, 69, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83,
        ],
    ),
    (
        'X',
        &[
            1, 2, 3, 5, 6, 8, 10, 12, 13, 14, 15, 17, 18, 20, 22, 23, 24, 25, 27, 28, 29, 30, 31, 32, 33, 34,
            35, 36,
        ],
    ),
    (
        'F',
        &[
            1, 2, 3, 4, 7, 9, 11, 12, 15, 16, 17, 21, 23, 24, 25, 27, 28, 30, 32, 33, 34, 35, 36, 37, 40, 41,
            43, 44, 45, 46, 47, 48, 49, 50,
        ],
    ),
    (
        'S',
        &[
            1, 2, 3, 4, 6, 8, 9, 10, 11, 12, 14, 16, 17, 18, 20, 21, 23, 24, 25, 26, 27, 28, 30, 32, 33, 34,
            35, 37, 38, 39, 40, 42, 44, 45, 46,
        ],
    ),
];

#[test]
fn every_row_of_the_threat_model_is_tried_or_said_not_to_be() {
    let drills = catalogue::all().flat_map(|(_, drill)| drill.covers);
    let residual = catalogue::RESIDUAL.iter().flat_map(|residual| residual.covers);
    let covered: BTreeSet<&str> = drills.chain(residual).copied().collect();
    let missing: Vec<String> = THREATS
        .iter()
        .flat_map(|(letter, numbers)| numbers.iter().map(move |number| format!("{letter}{number:02}")))
        .filter(|row| !covered.contains(row.as_str()))
        .collect();
    assert!(missing.is_empty(), "nothing speaks of {}", missing.join(", "));
}
