//! Which rules make automata large.

use crate::policy::glob::{Flavor, Token};
use crate::policy::model::Rule;

/// Whether a pattern of the rule has, behind `/**/`, a star that is not the first thing of its component.
/// How far each such star has come must be known for every component of a path, and every combination of
/// how far they have come is a state.
pub(super) fn is_wild(rule: &Rule) -> bool {
    let globs = rule.paths.iter().chain(&rule.except).chain(&rule.unix);
    globs.filter(|glob| glob.flavor == Flavor::Path).any(|glob| {
        let mut at = Place { anywhere: false, inside: false };
        at.find(&glob.tokens)
    })
}

#[derive(Clone, Copy)]
struct Place {
    /// Behind `/**/`.
    anywhere: bool,
    /// Not at the beginning of a component.
    inside: bool,
}

impl Place {
    fn find(&mut self, tokens: &[Token]) -> bool {
        for token in tokens {
            match token {
                Token::Literal(bytes) => self.inside = !bytes.ends_with(b"/"),
                Token::One | Token::Class(_) => self.inside = true,
                Token::Star if self.anywhere && self.inside => return true,
                Token::Star => self.inside = true,
                Token::Dirs => *self = Self { anywhere: true, inside: false },
                Token::Below => {}
                Token::Alternation(branches) => {
                    let from = *self;
                    for branch in branches {
                        let mut own = from;
                        if own.find(branch) {
                            return true;
                        }
                        self.anywhere |= own.anywhere;
                        self.inside |= own.inside;
                    }
                }
            }
        }
        false
    }
}
