//! Diagnostics as text for a terminal.

use std::fmt::Write as _;

use super::{Diagnostic, Severity};
use crate::policy::source::{Source, Span};

/// Colours, or none when the output is not a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Plain,
    Colour,
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Colour => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// Columns of source shown around a place on a long line.
const WINDOW: usize = 88;

pub fn render(diagnostic: &Diagnostic, source: &Source, style: Style) -> String {
    let mut out = String::new();
    let colour = if diagnostic.severity() == Severity::Error { "1;31" } else { "1;33" };
    let head = format!("{}[{}]", diagnostic.severity().name(), diagnostic.code.id());
    let _ = writeln!(
        out,
        "{}: {}",
        style.paint(colour, &head),
        style.paint("1", &printable(&diagnostic.message))
    );
    let last =
        diagnostic.related.iter().map(|(span, _)| span.line).chain([diagnostic.span.line]).max().unwrap_or(0);
    let gutter = last.to_string().len();
    if diagnostic.span.line == 0 {
        let _ = writeln!(out, "  --> {}", source.path.display());
    } else {
        excerpt(&mut out, diagnostic.span, None, source, gutter, style, colour);
    }
    for (span, message) in &diagnostic.related {
        excerpt(&mut out, *span, Some(message), source, gutter, style, "1;34");
    }
    let _ = writeln!(out, "{:gutter$} {} {}", "", style.paint("1;34", "="), help(diagnostic));
    out
}

fn help(diagnostic: &Diagnostic) -> String {
    format!("help: {}", printable(&diagnostic.help))
}

fn excerpt(
    out: &mut String,
    span: Span,
    note: Option<&str>,
    source: &Source,
    gutter: usize,
    style: Style,
    colour: &str,
) {
    let arrow = if note.is_some() { ":::" } else { "-->" };
    let _ = writeln!(
        out,
        "{:gutter$}{} {}:{}:{}",
        "",
        style.paint("1;34", arrow),
        source.path.display(),
        span.line,
        span.column
    );
    let bar = style.paint("1;34", "|");
    let (line, before, under) = window(source, span);
    let number = style.paint("1;34", &format!("{:gutter$}", span.line));
    let _ = writeln!(out, "{:gutter$} {bar}", "");
    let _ = writeln!(out, "{number} {bar} {}", line.trim_end());
    let mark = format!(
        "{}{}",
        "^".repeat(under.max(1)),
        note.map_or(String::new(), |note| format!(" {}", printable(note)))
    );
    let _ = writeln!(out, "{:gutter$} {bar} {}{}", "", " ".repeat(before), style.paint(colour, &mark));
}

/// The line to show, the columns before the place, and the columns to underline. A long line is cut around the place.
fn window(source: &Source, span: Span) -> (String, usize, usize) {
    let line = source.line(span.line);
    let column = (span.column as usize).saturating_sub(1);
    let written = source.slice(span);
    let first_line = written.split('\n').next().unwrap_or("").trim_end();
    let under = first_line.chars().count();
    let total = line.chars().count();
    if total <= WINDOW + 12 {
        return (printable(line), column, under);
    }
    let from = column.saturating_sub(WINDOW / 3);
    let cut: String = line.chars().skip(from).take(WINDOW).collect();
    let lead = if from > 0 { "…" } else { "" };
    let tail = if from + WINDOW < total { "…" } else { "" };
    let before = column - from + lead.chars().count();
    (format!("{lead}{}{tail}", printable(&cut)), before, under.min((WINDOW + 1).saturating_sub(before)))
}

/// One column per character and nothing a terminal would obey.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            // Line breaks, escapes, and the marks that make text run backwards on screen.
            _ if c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}') => {
                '\u{fffd}'
            }
            _ => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::diag::Code;

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{}HERE{}", "a".repeat(500), "b".repeat(500));
        let source = Source::new("x.yaml", text);
        let span = Span { start: 500, end: 504, line: 1, column: 501 };
        let shown = render(&Diagnostic::new(Code::UnknownKey, span, "m").help("h"), &source, Style::Plain);
        assert!(shown.lines().all(|line| line.chars().count() <= 100), "{shown}");
        let lines: Vec<&str> = shown.lines().collect();
        let at = lines[4].chars().position(|c| c == '^').unwrap();
        assert_eq!(lines[3].chars().skip(at).take(4).collect::<String>(), "HERE");
    }

    #[test]
    fn escape_sequences_of_the_file_do_not_reach_the_terminal() {
        let source = Source::new("x.yaml", "a: \x1b[2Jb\n");
        let span = Span { start: 3, end: 8, line: 1, column: 4 };
        let shown =
            render(&Diagnostic::new(Code::UnknownKey, span, "\x1b[31m").help(""), &source, Style::Plain);
        assert!(!shown.contains('\x1b'));
    }
}
