//! The pages that show this command line are held against it, as guard's own is.

#[path = "../../guard-userspace/src/cli/docs/commands.rs"]
mod commands;

use clap::{CommandFactory as _, Parser as _};

use crate::{Cli, paths};
use commands::{calls, named, pages, unknown};

const PROGRAM: &[&str] = &["cargo", "xtask"];

#[test]
fn every_chore_in_the_docs_is_one() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for (page, text) in pages(&paths::root()) {
        for words in calls(&text, PROGRAM) {
            seen += 1;
            if let Err(error) = Cli::try_parse_from(&words[1..]) {
                wrong.push(format!("{page}: {}: {error}", words.join(" ")));
            }
        }
        for words in named(&text, PROGRAM) {
            seen += 1;
            if let Some(word) = unknown(&Cli::command(), &words[2..]) {
                wrong.push(format!("{page}: {}: there is no {word}", words.join(" ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 15, "only {seen} were found");
}
