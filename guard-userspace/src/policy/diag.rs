//! What is wrong with a policy, said so that the reader knows what to write instead.

mod codes;
mod render;
mod suggest;

use super::source::{Source, Span};

pub use codes::Code;
pub use render::{Style, render};
pub use suggest::nearest;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

impl Severity {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub code: Code,
    pub span: Span,
    pub message: String,
    /// What to write instead. Every diagnostic has it.
    pub help: String,
    /// Another place that has to do with it, and how.
    pub related: Vec<(Span, String)>,
}

impl Diagnostic {
    pub fn new(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self { code, span, message: message.into(), help: String::new(), related: Vec::new() }
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    pub fn related(mut self, span: Span, message: impl Into<String>) -> Self {
        self.related.push((span, message.into()));
        self
    }

    pub const fn severity(&self) -> Severity {
        self.code.severity()
    }

    pub fn json(&self, source: &Source) -> serde_json::Value {
        let place = |span: Span| {
            serde_json::json!({
                "line": span.line, "column": span.column, "start": span.start, "end": span.end,
                "text": source.slice(span),
            })
        };
        serde_json::json!({
            "code": self.code.id(),
            "severity": self.severity().name(),
            "file": source.path.display().to_string(),
            "at": place(self.span),
            "message": self.message,
            "help": self.help,
            "related": self.related.iter().map(|(span, message)| {
                serde_json::json!({ "at": place(*span), "message": message })
            }).collect::<Vec<_>>(),
        })
    }
}

/// All findings about one file.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub source: std::sync::Arc<Source>,
    pub diagnostics: Vec<Diagnostic>,
}

impl Report {
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity() == Severity::Error)
    }

    /// In the order of the file, each said once.
    pub fn sort(&mut self) {
        self.diagnostics.sort_by_key(|diagnostic| (diagnostic.span, diagnostic.code));
        self.diagnostics.dedup();
    }
}
