//! Where something was written: files, positions, and values that remember theirs.

use std::ops::Deref;
use std::path::PathBuf;

/// One policy file as read, kept so that a message can show the line it talks about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    pub path: PathBuf,
    pub text: String,
}

impl Source {
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// The text under `span`, empty if the span is not of this file.
    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.start as usize..span.end as usize).unwrap_or("")
    }

    /// Line `line` (from 1) without its line break, empty if there is none.
    pub fn line(&self, line: u32) -> &str {
        let index = (line as usize).saturating_sub(1);
        self.text.split('\n').nth(index).map_or("", |text| text.strip_suffix('\r').unwrap_or(text))
    }
}

/// A range of bytes in a [`Source`], with the line and column (both from 1, columns in characters) where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Span {
    pub start: u32,
    pub end: u32,
    pub line: u32,
    pub column: u32,
}

/// A value and where it was written. Equality looks at the value only: two policies that say the same
/// are equal wherever the words stand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spanned<T> {
    pub value: T,
    pub span: Span,
}

impl<T> Spanned<T> {
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Spanned<T> {}
