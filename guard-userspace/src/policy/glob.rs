//! Globs over raw bytes: what a rule's `paths`, `args` and `unix` names mean.
//!
//! In a path `*`, `?` and classes never match `/`; `**` is a whole component and crosses any number of them; a bare
//! directory doesn't match what is below it. `\` takes the next character literally and `\xNN` is one byte,
//! so that a name that is not UTF-8 can be written.

mod error;
mod matching;
mod parse;
mod shape;

use super::source::Span;

pub use error::{GlobError, GlobErrorKind};

/// A parsed glob. Equality looks at the meaning (tokens), not at the place or spelling.
#[derive(Debug, Clone)]
pub struct Glob {
    /// As written.
    pub text: String,
    pub span: Span,
    pub flavor: Flavor,
    pub tokens: Vec<Token>,
}

impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.flavor == other.flavor && self.tokens == other.tokens
    }
}

impl Eq for Glob {}

/// What the glob is matched against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flavor {
    /// A path: `/` divides components, and [`Token::One`], [`Token::Star`] and [`Token::Class`] do not match it.
    Path,
    /// An argument, an abstract socket name, a unit name: no byte is special, [`Token::Dirs`] and [`Token::Below`]
    /// do not occur.
    Text,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Token {
    /// These bytes. Never empty, and never two in a row.
    Literal(Vec<u8>),
    /// `?`: one byte (in a path: not `/`).
    One,
    /// `*`: any number of bytes, none included (in a path: none of them `/`).
    Star,
    /// `**/`: nothing, or any bytes that end in `/`. Always at the beginning of a component, so `/a/**/b` is
    /// `Literal("/a/") Dirs Literal("b")` and matches `/a/b`.
    Dirs,
    /// `**` at the end: one byte or more, of any kind. `/a/**` is `Literal("/a/") Below`: not `/a`, and all below it.
    Below,
    Class(Class),
    /// `{a,b}`: any of the branches, each of which may be empty.
    Alternation(Vec<Vec<Self>>),
}

/// `[a-z_]`, `[!0-9]` or `[^0-9]`: one byte. In a path it never matches `/`, negated or not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Class {
    pub negated: bool,
    /// Both ends included, as written.
    pub ranges: Vec<(u8, u8)>,
}

impl Class {
    /// Whether the class holds `byte`, the special role of `/` aside.
    pub fn contains(&self, byte: u8) -> bool {
        self.ranges.iter().any(|&(first, last)| first <= byte && byte <= last) != self.negated
    }
}

impl Glob {
    /// A glob over absolute paths.
    pub fn path(text: &str, span: Span) -> Result<Self, GlobError> {
        parse::path(text).map(|tokens| Self { text: text.to_owned(), span, flavor: Flavor::Path, tokens })
    }

    /// A glob over unix socket names: an absolute path, or `@name` for an abstract socket.
    pub fn unix(text: &str, span: Span) -> Result<Self, GlobError> {
        if text.starts_with('@') { Self::text(text, span) } else { Self::path(text, span) }
    }

    /// A glob over arguments, abstract socket names or unit names.
    pub fn text(text: &str, span: Span) -> Result<Self, GlobError> {
        parse::text(text).map(|tokens| Self { text: text.to_owned(), span, flavor: Flavor::Text, tokens })
    }

    /// Whether all of `bytes` matches. Time is the product of both lengths, whatever the glob.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        matching::matches(&self.tokens, self.flavor, bytes)
    }

    /// The one byte string this glob matches, if it has no wildcard.
    pub fn as_literal(&self) -> Option<&[u8]> {
        match self.tokens.as_slice() {
            [] => Some(&[]),
            [Token::Literal(bytes)] => Some(bytes),
            _ => None,
        }
    }
}
