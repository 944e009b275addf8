//! Paths that were seen → patterns that are no wider than their slack.
//!
//! The bound, which a property test holds: whatever a pattern matches differs from something that was seen in at most
//! `slack` components, and only below a directory in which at least [`MANY`] different names were seen (or in the
//! number of a process below /proc). Directories in which names mean different things are never opened.

use std::collections::{BTreeMap, BTreeSet};

/// Names in one directory from which on they stand for the directory.
pub const MANY: usize = 3;

/// Directories whose names are never summed up, themselves or as the parent of a home.
const NEVER: &[&[u8]] = &[
    b"/",
    b"/etc",
    b"/home",
    b"/root",
    b"/dev",
    b"/proc",
    b"/sys",
    b"/run",
    b"/boot",
    b"/var",
    b"/var/run",
    b"/var/lib",
];

#[derive(Debug, Default)]
struct Node {
    /// A path ends here.
    is_end: bool,
    below: BTreeMap<Vec<u8>, Self>,
}

impl Node {
    fn add<'a>(&mut self, components: impl Iterator<Item = &'a [u8]>) {
        let mut at = self;
        for component in components {
            at = at.below.entry(component.to_vec()).or_default();
        }
        at.is_end = true;
    }

    /// Components of the longest path below.
    fn height(&self) -> usize {
        self.below.values().map(|node| node.height() + 1).max().unwrap_or(0)
    }

    /// The depths, counted from here, at which paths end.
    fn depths(&self, at: usize, found: &mut BTreeSet<usize>) {
        if self.is_end && at > 0 {
            found.insert(at);
        }
        self.below.values().for_each(|node| node.depths(at + 1, found));
    }
}

/// Patterns, in the syntax of policies, that match everything in `paths`.
pub fn patterns<'a>(paths: impl IntoIterator<Item = &'a [u8]>, slack: usize) -> Vec<String> {
    let mut root = Node::default();
    let mut found = BTreeSet::new();
    for path in paths {
        match path.strip_prefix(b"/") {
            Some(b"") => {
                found.insert("/".to_owned());
            }
            Some(below) => root.add(below.split(|byte| *byte == b'/')),
            // An abstract socket's name.
            None => {
                found.insert(literal(path));
            }
        }
    }
    collect(&root, b"", String::new(), slack, &mut found);
    found.into_iter().collect()
}

/// `path` is the directory as it is called, `text` as the pattern spells it.
fn collect(node: &Node, path: &[u8], text: String, slack: usize, found: &mut BTreeSet<String>) {
    if node.is_end {
        found.insert(text.clone());
    }
    if node.below.len() >= MANY && slack > 0 && node.height() <= slack && may_open(path) {
        let mut depths = BTreeSet::new();
        node.depths(0, &mut depths);
        found.extend(depths.into_iter().map(|depth| format!("{text}{}", "/*".repeat(depth))));
        return;
    }
    for (name, below) in &node.below {
        let is_process = path == b"/proc" && name.iter().all(u8::is_ascii_digit);
        let open = is_process && slack > 0;
        let spelt = if open { "[0-9]*".to_owned() } else { literal(name) };
        let path = [path, b"/", name].concat();
        // The open number is one of the components that may differ.
        collect(below, &path, format!("{text}/{spelt}"), slack - usize::from(open), found);
    }
}

fn may_open(path: &[u8]) -> bool {
    let path = if path.is_empty() { b"/" } else { path };
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let parent = path.strip_suffix(name).and_then(|parent| parent.strip_suffix(b"/")).unwrap_or_default();
    // What is hidden holds settings and keys; a home holds everything.
    let hidden = path.split(|byte| *byte == b'/').any(|component| component.first() == Some(&b'.'));
    !NEVER.contains(&path) && parent != b"/home" && parent != b"/proc" && !hidden
}

/// The bytes as a pattern that matches them alone.
fn literal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' | '*' | '?' | '[' | ']' | '{' | '}' | ',' => text.extend(['\\', c]),
                c if c.is_control() => c.to_string().bytes().for_each(|byte| push(&mut text, byte)),
                c => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| push(&mut text, *byte));
    }
    text
}

fn push(text: &mut String, byte: u8) {
    text.push_str(&format!("\\x{byte:02x}"));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::glob::Glob;

    fn of(paths: &[&str], slack: usize) -> Vec<String> {
        patterns(paths.iter().map(|path| path.as_bytes()), slack)
    }

    fn parse(pattern: &str) -> Glob {
        crate::audit::filter::path(pattern).unwrap_or_else(|error| panic!("{pattern}: {error:?}"))
    }

    #[test]
    fn without_slack_every_path_stands_for_itself() {
        let paths = ["/w/a", "/w/b", "/w/c", "/w/d/e", "/"];
        assert_eq!(of(&paths, 0), ["/", "/w/a", "/w/b", "/w/c", "/w/d/e"]);
    }

    #[test]
    fn three_names_open_their_directory_and_two_do_not() {
        assert_eq!(of(&["/w/a", "/w/b", "/w/c"], 1), ["/w/*"]);
        assert_eq!(of(&["/w/a", "/w/b"], 1), ["/w/a", "/w/b"]);
        assert_eq!(of(&["/w/a", "/w/b", "/w/c/d"], 1), ["/w/a", "/w/b", "/w/c/d"]);
        assert_eq!(of(&["/w/a", "/w/b", "/w/c/d"], 2), ["/w/*", "/w/*/*"]);
    }

    #[test]
    fn where_names_mean_different_things_none_is_added() {
        for paths in [
            ["/etc/hosts", "/etc/passwd", "/etc/resolv.conf"],
            ["/home/a/x", "/home/b/x", "/home/c/x"],
            ["/home/a/x", "/home/a/y", "/home/a/z"],
            ["/home/a/.ssh/x", "/home/a/.ssh/y", "/home/a/.ssh/z"],
            ["/a", "/b", "/c"],
        ] {
            assert_eq!(of(&paths, 9), paths);
        }
    }

    #[test]
    fn processes_are_one_another() {
        assert_eq!(
            of(&["/proc/17/stat", "/proc/4242/stat", "/proc/self"], 1),
            ["/proc/[0-9]*/stat", "/proc/self"]
        );
        assert_eq!(of(&["/proc/17/stat"], 0), ["/proc/17/stat"]);
    }

    #[test]
    fn names_that_look_like_patterns_match_themselves_alone() {
        let name = b"/w/a*[b]{c,d}?\\\n\xff".as_slice();
        let found = patterns([name], 0);
        let glob = parse(&found[0]);
        assert!(glob.matches(name) && !glob.matches(b"/w/abbc"), "{found:?}");
    }

    fn components() -> impl Strategy<Value = Vec<Vec<String>>> {
        let name = prop::sample::select(vec!["a", "b", "c", "d", "etc", "home", ".git", "proc", "12", "7"]);
        let path = prop::collection::vec(name.prop_map(str::to_owned), 1..5);
        prop::collection::vec(path, 1..14)
    }

    fn path(components: &[String]) -> Vec<u8> {
        components.iter().flat_map(|name| [b"/", name.as_bytes()].concat()).collect()
    }

    proptest! {
        #[test]
        fn all_that_was_seen_matches_and_nothing_wider_than_the_slack(
            seen in components(), tried in components(), slack in 0usize..4
        ) {
            let paths: Vec<Vec<u8>> = seen.iter().map(|components| path(components)).collect();
            let globs: Vec<Glob> =
                patterns(paths.iter().map(Vec::as_slice), slack).iter().map(|text| parse(text)).collect();
            let matches = |path: &[u8]| globs.iter().any(|glob| glob.matches(path));
            for path in &paths {
                prop_assert!(matches(path), "{} is lost", String::from_utf8_lossy(path));
            }
            for other in &tried {
                if matches(&path(other)) {
                    let apart = |one: &Vec<String>| {
                        (one.len() == other.len())
                            .then(|| one.iter().zip(other).filter(|(one, other)| one != other).count())
                    };
                    let nearest = seen.iter().filter_map(apart).min();
                    prop_assert!(nearest.is_some_and(|n| n <= slack), "{other:?} is {nearest:?} apart, slack {slack}");
                }
            }
        }
    }
}
