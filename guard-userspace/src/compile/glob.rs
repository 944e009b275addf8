//! Globs as fragments of an automaton.

use super::automaton::{ByteSet, FragmentId, Fragments};
use crate::policy::glob::{Flavor, Glob, Token};

/// `glob`, then `next`.
pub(super) fn glob(fragments: &mut Fragments, glob: &Glob, next: FragmentId) -> FragmentId {
    tokens(fragments, &glob.tokens, glob.flavor, next)
}

/// `tokens` read with `flavor`, then `next`.
pub(super) fn tokens(
    fragments: &mut Fragments,
    tokens: &[Token],
    flavor: Flavor,
    next: FragmentId,
) -> FragmentId {
    tokens.iter().rev().fold(next, |next, part| token(fragments, part, flavor, next))
}

fn token(fragments: &mut Fragments, token: &Token, flavor: Flavor, next: FragmentId) -> FragmentId {
    let wild = match flavor {
        Flavor::Path => ByteSet::ALL.without(b'/'),
        Flavor::Text => ByteSet::ALL,
    };
    match token {
        Token::Literal(bytes) => fragments.bytes(bytes, next),
        Token::One => fragments.set(wild, next),
        Token::Star => fragments.star(wild, next),
        Token::Dirs => fragments.dirs(next),
        Token::Below => {
            let rest = fragments.star(ByteSet::ALL, next);
            fragments.set(ByteSet::ALL, rest)
        }
        Token::Class(class) => {
            let mut set = ByteSet::EMPTY;
            (0..=u8::MAX).filter(|&byte| class.contains(byte)).for_each(|byte| set.insert(byte));
            if flavor == Flavor::Path {
                set = set.without(b'/');
            }
            fragments.set(set, next)
        }
        Token::Alternation(branches) => {
            let choices = branches.iter().map(|branch| tokens(fragments, branch, flavor, next)).collect();
            fragments.any(choices)
        }
    }
}
