//! File → text, from files that may be hostile: never blocks, never reads more than a policy can be.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use super::diag::{Code, Diagnostic, Report};
use super::source::{Source, Span};

/// 5,000 rules of a usual length are 700 KiB. The tree of a file this large stays below 64 MiB.
pub const MAX_BYTES: usize = 2 << 20;

/// The file's text, or a report with the one thing that is wrong with it.
pub fn read(path: &Path) -> Result<Arc<Source>, Report> {
    let fail = |diagnostic: Diagnostic| Report {
        source: Arc::new(Source::new(path, "")),
        diagnostics: vec![diagnostic],
    };
    let bytes = read_bytes(path).map_err(fail)?;
    from_bytes(path, bytes)
}

/// The same for text that came some other way.
pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Arc<Source>, Report> {
    let (text, problem) = match String::from_utf8(bytes) {
        Ok(text) => {
            let problem = control_character(&text);
            (text, problem)
        }
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            // What is shown is only the line before the place, so replacing what follows loses nothing.
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let span = place(&text, valid, '\u{fffd}'.len_utf8());
            let problem = Diagnostic::new(Code::NotUtf8, span, "this byte is not UTF-8")
                .help("save the file as UTF-8; to match a name that is not, write its bytes as `\\xff` in the pattern");
            (text, Some(problem))
        }
    };
    let source = Arc::new(Source::new(path, text));
    match problem {
        None => Ok(source),
        Some(problem) => Err(Report { source, diagnostics: vec![problem] }),
    }
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, Diagnostic> {
    let unreadable = |error: &io::Error| {
        Diagnostic::new(Code::Unreadable, Span::default(), format!("cannot read the file: {}", plain(error)))
            .help("check the path, and that this user may read it")
    };
    // O_NONBLOCK: opening a FIFO that nobody writes to would wait for ever.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(|error| unreadable(&error))?;
    let kind = file.metadata().map_err(|error| unreadable(&error))?.file_type();
    if !kind.is_file() {
        let what = if kind.is_dir() {
            "a directory"
        } else if kind.is_fifo() {
            "a FIFO"
        } else if kind.is_socket() {
            "a socket"
        } else {
            "a device"
        };
        return Err(Diagnostic::new(
            Code::NotAFile,
            Span::default(),
            format!("this is {what}, not a regular file"),
        )
        .help("name a file that holds a policy"));
    }
    let bytes = read_at_most(&file, MAX_BYTES + 1).map_err(|error| unreadable(&error))?;
    if bytes.len() > MAX_BYTES {
        let limit = MAX_BYTES >> 20;
        return Err(Diagnostic::new(
            Code::TooLarge,
            Span::default(),
            format!("the file is larger than {limit} MiB"),
        )
        .help("split it into several policies; those that apply to one cgroup are joined"));
    }
    Ok(bytes)
}

fn read_at_most(file: &File, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The system's words without Rust's `(os error 2)`.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_lowercase()
}

fn control_character(text: &str) -> Option<Diagnostic> {
    let (at, found) = text.char_indices().find(|&(at, c)| {
        c.is_control() && !matches!(c, '\n' | '\t') && !(c == '\r' && text[at + 1..].starts_with('\n'))
    })?;
    let message = format!("the file holds the control character U+{:04X}", u32::from(found));
    Some(
        Diagnostic::new(Code::ControlCharacter, place(text, at, found.len_utf8()), message)
            .help("remove it; to match a name that holds it, write it as `\\x1b` in the pattern"),
    )
}

fn place(text: &str, at: usize, len: usize) -> Span {
    let before = text.get(..at).unwrap_or("");
    let offset = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Span {
        start: offset(at),
        end: offset(at + len),
        line: offset(before.matches('\n').count() + 1),
        column: offset(before[line_start..].chars().count() + 1),
    }
}
