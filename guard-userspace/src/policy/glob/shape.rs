//! Whether every way to read a path pattern can match a resolved path.
//!
//! A pattern is walked with all its branches at once. Of the component that is being read, only what could make it
//! one that no resolved path has is kept: a bit for each state it may be in.

use super::error::GlobErrorKind;
use super::{Class, Token};

/// Nothing is read yet.
const BEGIN: u8 = 1;
/// The first `/`.
const ROOT: u8 = 2;
/// Behind another `/`.
const SLASH: u8 = 4;
const DOT: u8 = 8;
const DOT_DOT: u8 = 16;
/// A component, or the beginning of one, that can be in a resolved path.
const NAME: u8 = 32;

/// What is wrong with some branch, if something is.
pub(super) fn whole(tokens: &[Token]) -> Option<GlobErrorKind> {
    match walk(tokens, BEGIN) {
        Ok(end) if end & SLASH != 0 => Some(GlobErrorKind::TrailingSlash),
        Ok(end) if end & (DOT | DOT_DOT) != 0 => Some(GlobErrorKind::DotComponent),
        Ok(_) => None,
        Err(kind) => Some(kind),
    }
}

fn walk(tokens: &[Token], mut states: u8) -> Result<u8, GlobErrorKind> {
    for token in tokens {
        states = match token {
            Token::Literal(bytes) => bytes.iter().try_fold(states, |states, byte| step(states, *byte))?,
            // They can be a name, whatever else they can be.
            Token::One | Token::Star | Token::Below => NAME,
            Token::Dirs => SLASH,
            Token::Class(class) => match only(class)? {
                Some(byte) => step(states, byte)?,
                None => NAME,
            },
            Token::Alternation(branches) => branches
                .iter()
                .try_fold(0, |ends, branch| Ok::<u8, GlobErrorKind>(ends | walk(branch, states)?))?,
        };
    }
    Ok(states)
}

/// Where the states are behind a byte.
fn step(states: u8, byte: u8) -> Result<u8, GlobErrorKind> {
    let to = |from: u8, to: u8| if states & from != 0 { to } else { 0 };
    match byte {
        b'/' if states & (ROOT | SLASH) != 0 => Err(GlobErrorKind::EmptyComponent),
        b'/' if states & (DOT | DOT_DOT) != 0 => Err(GlobErrorKind::DotComponent),
        b'/' => Ok(to(BEGIN, ROOT) | to(NAME, SLASH)),
        b'.' => Ok(to(ROOT | SLASH, DOT) | to(DOT, DOT_DOT) | to(BEGIN | DOT_DOT | NAME, NAME)),
        _ => Ok(NAME),
    }
}

/// The one byte that a class matches, if there is only one.
fn only(class: &Class) -> Result<Option<u8>, GlobErrorKind> {
    let mut bytes = (1..=u8::MAX).filter(|byte| *byte != b'/' && class.contains(*byte));
    match (bytes.next(), bytes.next()) {
        (None, _) if class.contains(b'/') => Err(GlobErrorKind::SlashInClass),
        (None, _) => Err(GlobErrorKind::EmptyClass),
        (only, None) => Ok(only),
        (Some(_), Some(_)) => Ok(None),
    }
}
