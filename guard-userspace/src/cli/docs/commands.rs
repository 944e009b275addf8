//! Commands that pages of Markdown show. The tests of both command lines, guard's and xtask's, read them with this.

use std::fs;
use std::path::Path;

use clap::Command;

/// Where pages are, below the repository.
const WHERE: &[&str] = &[".", "docs", "docs/decisions"];

/// Every page, by its path.
pub(super) fn pages(root: &Path) -> Vec<(String, String)> {
    let mut pages = Vec::new();
    for directory in WHERE {
        for entry in fs::read_dir(root.join(directory)).expect("list the pages") {
            let path = entry.expect("list the pages").path();
            // Of what was once and is no more the changelog speaks too.
            if path.extension().is_some_and(|end| end == "md") && !path.ends_with("CHANGELOG.md") {
                let text = fs::read_to_string(&path).expect("read a page");
                pages.push((path.strip_prefix(root).unwrap_or(&path).display().to_string(), text));
            }
        }
    }
    pages.sort();
    pages
}

/// The calls of `program` in blocks of code, each as its words: whole lines of a shell, lines with a description
/// beside them in other blocks, and lines of indented ones.
pub(super) fn calls(text: &str, program: &[&str]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let (mut fence, mut here) = (None, None);
    for line in text.lines() {
        if let Some(kind) = line.trim_start().strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(kind) };
            continue;
        }
        let line = match fence {
            Some("sh") => {
                if let Some(end) = here {
                    here = Some(end).filter(|end| line != *end);
                    continue;
                }
                here = line.split_once("<<'").and_then(|(_, rest)| Some(rest.split_once('\'')?.0));
                line
            }
            Some("text") => match line.split_once("  ") {
                Some((call, _)) => call,
                None => continue,
            },
            None if line.starts_with("    ") => line.trim(),
            Some(_) | None => continue,
        };
        found.extend(simple(line).into_iter().filter(|words| begins(words, program)));
    }
    found
}

/// What sentences name: the words of every code span that begins with `program`.
pub(super) fn named(text: &str, program: &[&str]) -> Vec<Vec<String>> {
    let mut fenced = false;
    let prose: Vec<&str> = text
        .lines()
        .filter(|line| {
            let fence = line.trim_start().starts_with("```");
            fenced ^= fence;
            !fenced && !fence && !line.starts_with("    ")
        })
        .collect();
    let prose = prose.join("\n");
    let words = |span: &str| span.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    prose.split('`').skip(1).step_by(2).map(words).filter(|words| begins(words, program)).collect()
}

/// The first word that is no command and no option of `command`. What is neither is an argument, wherever no command
/// is needed.
pub(super) fn unknown<'w>(command: &Command, words: &'w [String]) -> Option<&'w str> {
    let mut command = command;
    for word in words {
        let word = word.trim_end_matches('…');
        if word == "--" {
            return None;
        }
        if let Some(option) = word.strip_prefix("--") {
            let name = option.split_once('=').map_or(option, |(name, _)| name);
            let known = command.get_arguments().any(|argument| argument.get_long() == Some(name));
            if !known && !matches!(name, "help" | "version") {
                return Some(word);
            }
        } else if let Some(below) = command.find_subcommand(word) {
            command = below;
        } else if command.has_subcommands() && !word.is_empty() {
            return Some(word);
        }
    }
    None
}

fn begins(words: &[String], program: &[&str]) -> bool {
    words.len() > program.len() && words.iter().zip(program).all(|(word, wanted)| word == wanted)
}

/// The simple commands of a line of shell. A variable stands for a number, which also goes as a word.
fn simple(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let (mut word, mut quote) = (None::<String>, None::<char>);
    let mut rest = line.chars().peekable();
    while let Some(next) = rest.next() {
        match (quote, next) {
            (Some(open), close) if open == close => quote = None,
            (None, '"' | '\'') => {
                quote = Some(next);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, '$') if rest.next_if_eq(&'(').is_some() => {
                word = None;
                commands.push(Vec::new());
            }
            (None, '|' | '&' | ';' | '(' | ')' | ' ' | '>' | '<') => {
                commands.last_mut().expect("there is one").extend(word.take());
                if next != ' ' {
                    commands.push(Vec::new());
                }
            }
            (None | Some('"'), '$') => {
                while rest.next_if(char::is_ascii_alphabetic).is_some() {}
                word.get_or_insert_default().push('1');
            }
            (_, other) => word.get_or_insert_default().push(other),
        }
    }
    commands.last_mut().expect("there is one").extend(word);
    let shells = ["!", "until", "while", "if", "do", "then"];
    for command in &mut commands {
        let skipped = command.iter().take_while(|word: &&String| shells.contains(&word.as_str())).count();
        command.drain(..skipped);
    }
    commands.retain(|command| !command.is_empty());
    commands
}
