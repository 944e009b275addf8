//! What can be wrong with a glob.

use std::ops::Range;

/// Longest glob: a path longer than PATH_MAX has no name the kernel could match it by.
pub(super) const MAX_LEN: usize = 4096;
/// Braces within braces. Deeper is a mistake or an attack, and each level is a stack frame here.
pub(super) const MAX_DEPTH: usize = 8;

/// What is wrong with a glob, and where in its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobError {
    pub kind: GlobErrorKind,
    /// Bytes of the glob's text.
    pub at: Range<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GlobErrorKind {
    #[error("the pattern is empty")]
    Empty,
    #[error("the pattern is longer than {MAX_LEN} bytes")]
    TooLong,
    #[error("a path starts with `/`")]
    NotAbsolute,
    #[error("`//` never occurs in a resolved path")]
    EmptyComponent,
    #[error("`.` and `..` never occur in a resolved path")]
    DotComponent,
    #[error("no resolved path ends in `/`, so this never matches")]
    TrailingSlash,
    #[error("`**` must be a whole component")]
    PartialDoubleStar,
    #[error("`{{` is never closed")]
    UnclosedBrace,
    #[error("`}}` closes nothing")]
    StrayBrace,
    #[error("`[` is never closed")]
    UnclosedClass,
    #[error("the class is empty")]
    EmptyClass,
    #[error("the range runs backwards")]
    BackwardsRange,
    #[error("a class matches one byte, and this character is several")]
    WideClass,
    #[error("a class never matches `/`")]
    SlashInClass,
    #[error("`\\` must be followed by the character it takes literally, or by x and two hex digits")]
    BadEscape,
    #[error("a name never holds a NUL byte")]
    Nul,
    #[error("braces nest deeper than {MAX_DEPTH}")]
    TooDeep,
}

impl GlobErrorKind {
    /// What to write instead.
    pub const fn help(self) -> &'static str {
        match self {
            Self::Empty => "write a path such as `/workspace/**`, or leave the item out",
            Self::TooLong => "the kernel has no path this long: shorten it",
            Self::NotAbsolute => "write the whole path, or `/**/` in front to match it anywhere",
            Self::EmptyComponent => "write a single `/`",
            Self::DotComponent => "write the path that it resolves to",
            Self::TrailingSlash => "write `dir` for the directory itself, `dir/**` for everything below it",
            Self::PartialDoubleStar => {
                "write `/**/` or a trailing `/**`; inside one component write `*`; after braces, write both paths out"
            }
            Self::UnclosedBrace => "close it with `}`, or write `\\{` for the character",
            Self::StrayBrace => "write `\\}` for the character",
            Self::UnclosedClass => "close it with `]`, or write `\\[` for the character",
            Self::EmptyClass => "write at least one character, as in `[a-z]`",
            Self::BackwardsRange => "write the smaller character first, as in `[a-z]`",
            Self::WideClass => "write the choices in braces, as in `{é,è}`",
            Self::SlashInClass => "write `/` outside the class",
            Self::BadEscape => "write `\\\\` for a backslash, `\\*` for a star, `\\xff` for a byte",
            Self::Nul => "remove it",
            Self::TooDeep => "write the paths out as separate items",
        }
    }
}
