//! The pages that show this command line are held against it: what is shown as a call parses, and what is named in a
//! sentence exists.

mod commands;

use std::path::Path;

use clap::{CommandFactory as _, Parser as _};

use super::Cli;
use commands::{calls, named, pages};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[test]
fn every_call_in_the_docs_parses() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for (page, text) in pages(root()) {
        for words in calls(&text, &["guard"]) {
            seen += 1;
            if let Err(error) = Cli::try_parse_from(&words) {
                wrong.push(format!("{page}: {}: {error}", words.join(" ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 25, "only {seen} calls were found");
}

#[test]
fn every_command_and_option_named_in_the_docs_exists() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for (page, text) in pages(root()) {
        for words in named(&text, &["guard"]) {
            seen += 1;
            let mut cli = Cli::command();
            cli.build();
            if let Some(word) = commands::unknown(&cli, &words[1..]) {
                wrong.push(format!("{page}: {}: there is no {word}", words.join(" ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 20, "only {seen} names were found");
}

#[test]
fn what_is_not_there_is_found() {
    let text = "```sh\n! guard nonsense | cat\n```\n\n    guard status --loud\n\nSay `guard ps\n--wrong` or `guard ps`.\n";
    let found = calls(text, &["guard"]);
    assert_eq!(found, [vec!["guard", "nonsense"], vec!["guard", "status", "--loud"]]);
    assert!(found.iter().all(|words| Cli::try_parse_from(words).is_err()));
    let cli = Cli::command();
    let unknown: Vec<_> = named(text, &["guard"])
        .iter()
        .map(|words| commands::unknown(&cli, &words[1..]).map(str::to_owned))
        .collect();
    assert_eq!(unknown, [Some("--wrong".to_owned()), None]);
}
