//! What a glob means: `**` any depth, `*` and `?` inside a component, `[a-z]`, `{a,b}`; a bare directory does not
//! match what is below it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Byte(u8),
    Question,
    Star,
    DoubleStar,
    Class(bool, Vec<(u8, u8)>),
}

/// Whether a glob over paths matches.
pub fn path(glob: &str, path: &[u8]) -> bool {
    matches(glob, path, true)
}

/// Whether a glob over text, in which `/` is nothing special, matches.
pub fn text(glob: &str, text: &[u8]) -> bool {
    matches(glob, text, false)
}

type Choices = Rc<Vec<Vec<Part>>>;

thread_local! {
    /// What globs mean is worked out once: the baseline's are asked about again and again.
    static KNOWN: RefCell<HashMap<(bool, String), Choices>> = RefCell::default();
}

fn matches(glob: &str, bytes: &[u8], path: bool) -> bool {
    let key = (path, glob.to_owned());
    let all = KNOWN.with_borrow_mut(|known| {
        Rc::clone(known.entry(key).or_insert_with(|| Rc::new(choices(&mut glob.as_bytes(), path, false))))
    });
    all.iter().any(|parts| {
        // The bytes before the first wildcard settle most questions.
        let plain = parts.iter().take_while(|part| matches!(part, Part::Byte(_))).count();
        let begins = plain <= bytes.len()
            && parts[..plain].iter().zip(bytes).all(|(part, byte)| *part == Part::Byte(*byte));
        begins && {
            let (parts, bytes) = (&parts[plain..], &bytes[plain..]);
            walk(parts, bytes, path, &mut vec![None; (parts.len() + 1) * (bytes.len() + 1)])
        }
    })
}

/// Every way to choose one branch of each brace, up to the end or to the `,` or `}` that ends a branch.
fn choices(rest: &mut &[u8], path: bool, nested: bool) -> Vec<Vec<Part>> {
    let mut all = vec![Vec::new()];
    while let Some((&byte, tail)) = rest.split_first() {
        if nested && (byte == b',' || byte == b'}') {
            break;
        }
        *rest = tail;
        let part = match byte {
            b'{' => {
                let mut branches = Vec::new();
                loop {
                    branches.extend(choices(rest, path, true));
                    let end = rest[0];
                    *rest = &rest[1..];
                    if end == b'}' {
                        break;
                    }
                }
                all = all
                    .iter()
                    .flat_map(|head: &Vec<Part>| branches.iter().map(|tail| [head.as_slice(), tail].concat()))
                    .collect();
                continue;
            }
            b'*' if path && rest.first() == Some(&b'*') => {
                *rest = &rest[1..];
                Part::DoubleStar
            }
            b'*' => Part::Star,
            b'?' => Part::Question,
            b'[' => class(rest),
            b'\\' => Part::Byte(escaped(rest)),
            _ => Part::Byte(byte),
        };
        all.iter_mut().for_each(|parts| parts.push(part.clone()));
    }
    all
}

fn escaped(rest: &mut &[u8]) -> u8 {
    let (byte, used) = match **rest {
        [b'x', high, low, ..] => {
            let hex = [high, low].map(|digit| char::from(digit).to_digit(16).expect("a hex digit") as u8);
            (hex[0] << 4 | hex[1], 3)
        }
        _ => (rest[0], 1),
    };
    *rest = &rest[used..];
    byte
}

fn class(rest: &mut &[u8]) -> Part {
    let negated = matches!(rest[0], b'!' | b'^');
    if negated {
        *rest = &rest[1..];
    }
    let byte = |rest: &mut &[u8]| {
        let first = rest[0];
        *rest = &rest[1..];
        if first == b'\\' { escaped(rest) } else { first }
    };
    let mut ranges = Vec::new();
    while rest[0] != b']' {
        let first = byte(rest);
        let mut last = first;
        if rest[0] == b'-' && rest[1] != b']' {
            *rest = &rest[1..];
            last = byte(rest);
        }
        ranges.push((first, last));
    }
    *rest = &rest[1..];
    Part::Class(negated, ranges)
}

/// Tries everything; `memo` remembers what failed or worked, by parts and bytes left.
fn walk(parts: &[Part], bytes: &[u8], path: bool, memo: &mut [Option<bool>]) -> bool {
    let width = memo.len() / (parts.len() + 1);
    return go(parts, bytes, path, memo, width);

    fn go(parts: &[Part], bytes: &[u8], path: bool, memo: &mut [Option<bool>], width: usize) -> bool {
        let slot = parts.len() * width + bytes.len();
        if let Some(known) = memo[slot] {
            return known;
        }
        let inside = |byte: u8| !path || byte != b'/';
        let answer = match parts.split_first() {
            None => bytes.is_empty(),
            Some((Part::Byte(byte), tail)) => {
                bytes.first() == Some(byte) && go(tail, &bytes[1..], path, memo, width)
            }
            Some((Part::Question, tail)) => {
                bytes.first().is_some_and(|&byte| inside(byte)) && go(tail, &bytes[1..], path, memo, width)
            }
            Some((Part::Class(negated, ranges), tail)) => {
                bytes.first().is_some_and(|&byte| {
                    inside(byte)
                        && ranges.iter().any(|&(first, last)| (first..=last).contains(&byte)) != *negated
                }) && go(tail, &bytes[1..], path, memo, width)
            }
            Some((Part::Star, tail)) => {
                go(tail, bytes, path, memo, width)
                    || bytes.first().is_some_and(|&byte| inside(byte))
                        && go(parts, &bytes[1..], path, memo, width)
            }
            // At the end: something below. In the middle: any number of whole components, none included.
            Some((Part::DoubleStar, [])) => !bytes.is_empty(),
            Some((Part::DoubleStar, tail)) => {
                let behind_slash = &tail[1..];
                go(behind_slash, bytes, path, memo, width)
                    || (0..bytes.len())
                        .any(|at| bytes[at] == b'/' && go(behind_slash, &bytes[at + 1..], path, memo, width))
            }
        };
        memo[slot] = Some(answer);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_design_page_hold() {
        assert!(path("/w/**", b"/w/a/b") && !path("/w/**", b"/w") && !path("/w", b"/w/a"));
        assert!(path("/**/x", b"/x") && path("/**/x", b"/a/b/x") && !path("/**/x", b"/ax"));
        assert!(path("/a/*/c", b"/a/b/c") && !path("/a/*/c", b"/a/b/b/c"));
        assert!(path("/{a,b{c,d}}/?[!x]", b"/bd/12") && !path("/{a,b{c,d}}/?[!x]", b"/b/12"));
        assert!(text("a*", b"a/b") && path("/\\xff\\*", b"/\xff*"));
    }
}
