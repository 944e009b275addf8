//! Matching one glob by the set of positions it can have reached. No backtracking, so no glob is slow.

use super::{Flavor, Token};

/// `reached[i]`: the tokens so far can have consumed exactly `i` bytes.
type Reached = Vec<bool>;

pub(super) fn matches(tokens: &[Token], flavor: Flavor, bytes: &[u8]) -> bool {
    let mut start = vec![false; bytes.len() + 1];
    start[0] = true;
    run(tokens, flavor, bytes, start)[bytes.len()]
}

fn run(tokens: &[Token], flavor: Flavor, bytes: &[u8], from: Reached) -> Reached {
    tokens.iter().fold(from, |reached, token| step(token, flavor, bytes, &reached))
}

fn step(token: &Token, flavor: Flavor, bytes: &[u8], from: &Reached) -> Reached {
    let mut to = vec![false; from.len()];
    let wild = |byte: u8| flavor == Flavor::Text || byte != b'/';
    match token {
        Token::Literal(literal) => {
            for at in positions(from) {
                if bytes[at..].starts_with(literal) {
                    to[at + literal.len()] = true;
                }
            }
        }
        Token::One => {
            for at in positions(from).filter(|&at| at < bytes.len() && wild(bytes[at])) {
                to[at + 1] = true;
            }
        }
        Token::Class(class) => {
            for at in positions(from) {
                if at < bytes.len() && wild(bytes[at]) && class.contains(bytes[at]) {
                    to[at + 1] = true;
                }
            }
        }
        Token::Star => {
            let mut open = false;
            for at in 0..from.len() {
                open = from[at] || (open && wild(bytes[at - 1]));
                to[at] = open;
            }
        }
        Token::Dirs => {
            let mut open = false;
            for at in 0..from.len() {
                to[at] = from[at] || (open && bytes[at - 1] == b'/');
                open |= from[at];
            }
        }
        Token::Below => {
            let mut open = false;
            for at in 0..from.len() {
                to[at] = open;
                open |= from[at];
            }
        }
        Token::Alternation(branches) => {
            for branch in branches {
                for at in positions(&run(branch, flavor, bytes, from.clone())) {
                    to[at] = true;
                }
            }
        }
    }
    to
}

fn positions(reached: &Reached) -> impl Iterator<Item = usize> + '_ {
    reached.iter().enumerate().filter_map(|(at, &set)| set.then_some(at))
}

#[cfg(test)]
mod tests {
    use crate::policy::glob::Glob;
    use crate::policy::source::Span;

    fn path(glob: &str, bytes: impl AsRef<[u8]>) -> bool {
        Glob::path(glob, Span::default()).unwrap().matches(bytes.as_ref())
    }

    #[test]
    fn a_bare_directory_does_not_match_what_is_below_it() {
        assert!(path("/usr/bin", "/usr/bin"));
        assert!(!path("/usr/bin", "/usr/bin/git"));
        assert!(!path("/usr/bin", "/usr/binary"));
    }

    #[test]
    fn trailing_double_star_needs_one_component() {
        assert!(path("/w/**", "/w/a"));
        assert!(path("/w/**", "/w/a/b/c"));
        assert!(!path("/w/**", "/w"));
        assert!(!path("/w/**", "/wa/b"));
        assert!(path("/**", "/etc"));
        assert!(!path("/**", "/"));
    }

    #[test]
    fn inner_double_star_may_be_no_component_at_all() {
        assert!(path("/w/**/.git/hooks/**", "/w/.git/hooks/pre-commit"));
        assert!(path("/w/**/.git/hooks/**", "/w/a/b/.git/hooks/x/y"));
        assert!(!path("/w/**/.git/hooks/**", "/w/a.git/hooks/x"));
        assert!(path("/**/.aws/credentials", "/.aws/credentials"));
        assert!(path("/**/x", "/a/x"));
        assert!(!path("/**/x", "/ax"));
    }

    #[test]
    fn single_wildcards_stay_inside_their_component() {
        assert!(path("/home/*/.ssh/**", "/home/dev/.ssh/id"));
        assert!(!path("/home/*/.ssh/**", "/home/a/b/.ssh/id"));
        assert!(path("/a?c", "/abc"));
        assert!(!path("/a?c", "/a/c"));
        assert!(!path("/a[^x]c", "/a/c"));
        assert!(path("/a[!x]c", "/abc"));
        assert!(path("/v[0-9]*", "/v1.2"));
        assert!(!path("/v[0-9]*", "/v"));
    }

    #[test]
    fn braces_nest() {
        assert!(path("/usr/{bin,{s,local/s}bin}/x", "/usr/local/sbin/x"));
        assert!(path("/usr/{bin,{s,local/s}bin}/x", "/usr/sbin/x"));
        assert!(!path("/usr/{bin,{s,local/s}bin}/x", "/usr/local/bin/x"));
        assert!(path("/{usr/**,opt/*}", "/usr/a/b"));
        assert!(!path("/{usr/**,opt/*}", "/opt/a/b"));
        assert!(path("/x{,.bak}", "/x"));
    }

    #[test]
    fn bytes_that_are_not_utf8_match_and_can_be_written() {
        assert!(path("/w/*", b"/w/\xff\xfe"));
        assert!(path(r"/w/\xff?", b"/w/\xff\xfe"));
        assert!(!path(r"/w/\xff", b"/w/\xfe"));
        assert!(path(r"/w/\*", "/w/*"));
        assert!(!path(r"/w/\*", "/w/a"));
    }

    #[test]
    fn in_text_a_slash_is_nothing_special() {
        let glob = Glob::text("https://*", Span::default()).unwrap();
        assert!(glob.matches(b"https://a/b/c"));
        assert!(!glob.matches(b"http://a"));
    }

    #[test]
    fn a_hostile_glob_is_not_slow() {
        let glob = format!("/{}b", "*a".repeat(500));
        assert!(!path(&glob, format!("/{}", "a".repeat(4000))));
    }
}
