//! Questions about sets of globs: does one swallow another, where do two overlap, and a path that shows it.
//!
//! All globs of a question go into one nondeterministic automaton whose states remember which glob they
//! belong to; a breadth-first walk over its subsets finds the shortest answer. The walk is bounded: a question that
//! would take too long is answered with "not known", and a check then stays silent rather than wrong.

use std::cell::Cell;
use std::collections::{HashSet, VecDeque};

use super::glob::{Flavor, Glob, Token};

/// How much walking questions may still cost, counted in states stepped over one byte. Several questions share one, so that
/// a file with many hard ones is bounded too; memory is bounded with it, for every remembered state was stepped.
#[derive(Debug)]
pub struct Effort(Cell<usize>);

impl Effort {
    pub const fn new(steps: usize) -> Self {
        Self(Cell::new(steps))
    }

    /// Whether no further question will be answered.
    pub const fn is_spent(&self) -> bool {
        self.0.get() == 0
    }

    /// False if there is not that much left.
    fn spend(&self, steps: usize) -> bool {
        let left = self.0.get().checked_sub(steps);
        self.0.set(left.unwrap_or(0));
        left.is_some()
    }
}

/// Which glob of a question; the asker gives the number its meaning.
pub type Tag = u32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bytes([u64; 4]);

impl Bytes {
    const NONE: Self = Self([0; 4]);
    const ALL: Self = Self([u64::MAX; 4]);

    const fn has(self, byte: u8) -> bool {
        self.0[byte as usize / 64] >> (byte % 64) & 1 == 1
    }

    fn with(mut self, byte: u8) -> Self {
        self.0[usize::from(byte) / 64] |= 1 << (byte % 64);
        self
    }

    fn without(mut self, byte: u8) -> Self {
        self.0[usize::from(byte) / 64] &= !(1 << (byte % 64));
        self
    }
}

#[derive(Debug)]
struct State {
    tag: Tag,
    accepts: bool,
    /// Followed without a byte.
    free: Vec<u32>,
    /// Followed on one of these bytes.
    step: Option<(Bytes, u32)>,
}

/// Where a walk can be: in these states, behind a `/` or not, for two in a row are in no resolved path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Subset {
    states: Vec<u32>,
    after_slash: bool,
}

/// Globs put together for a question.
#[derive(Debug, Default)]
pub struct Globs {
    states: Vec<State>,
    starts: Vec<u32>,
}

/// What a walk found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<T> {
    Found(T),
    None,
    /// The bound was reached first.
    Unknown,
}

impl Globs {
    pub fn add(&mut self, tag: Tag, glob: &Glob) {
        let start = self.state(tag);
        self.starts.push(start);
        let end = self.sequence(tag, glob.flavor, &glob.tokens, start);
        self.states[end as usize].accepts = true;
    }

    pub fn add_all(&mut self, tag: Tag, globs: &[Glob]) {
        globs.iter().for_each(|glob| self.add(tag, glob));
    }

    fn state(&mut self, tag: Tag) -> u32 {
        self.states.push(State { tag, accepts: false, free: Vec::new(), step: None });
        u32::try_from(self.states.len() - 1).unwrap_or(u32::MAX)
    }

    fn free(&mut self, from: u32, to: u32) {
        self.states[from as usize].free.push(to);
    }

    /// A new state behind `from`, over `bytes`. `from` may have a step already, so each goes through a state of its own.
    fn over(&mut self, tag: Tag, from: u32, bytes: Bytes) -> u32 {
        let to = self.state(tag);
        let via = self.state(tag);
        self.free(from, via);
        self.states[via as usize].step = Some((bytes, to));
        to
    }

    /// A state that stays where it is on `bytes`.
    fn loop_on(&mut self, tag: Tag, from: u32, bytes: Bytes) -> u32 {
        let at = self.state(tag);
        self.free(from, at);
        self.states[at as usize].step = Some((bytes, at));
        at
    }

    fn sequence(&mut self, tag: Tag, flavor: Flavor, tokens: &[Token], start: u32) -> u32 {
        tokens.iter().fold(start, |at, token| self.token(tag, flavor, token, at))
    }

    fn token(&mut self, tag: Tag, flavor: Flavor, token: &Token, at: u32) -> u32 {
        let wild = match flavor {
            Flavor::Path => Bytes::ALL.without(b'/').without(0),
            Flavor::Text => Bytes::ALL.without(0),
        };
        let any = Bytes::ALL.without(0);
        match token {
            Token::Literal(bytes) => {
                bytes.iter().fold(at, |at, byte| self.over(tag, at, Bytes::NONE.with(*byte)))
            }
            Token::One => self.over(tag, at, wild),
            Token::Star => {
                let at = self.loop_on(tag, at, wild);
                let out = self.state(tag);
                self.free(at, out);
                out
            }
            Token::Dirs => {
                let inside = self.loop_on(tag, at, any);
                let via = self.over(tag, inside, Bytes::NONE.with(b'/'));
                let out = self.state(tag);
                self.free(at, out);
                self.free(via, out);
                out
            }
            Token::Below => {
                let first = self.over(tag, at, any);
                let rest = self.loop_on(tag, first, any);
                let out = self.state(tag);
                self.free(rest, out);
                out
            }
            Token::Class(class) => {
                let bytes = (1..=u8::MAX).filter(|byte| class.contains(*byte) && wild.has(*byte));
                let bytes = bytes.fold(Bytes::NONE, Bytes::with);
                self.over(tag, at, bytes)
            }
            Token::Alternation(branches) => {
                let out = self.state(tag);
                for branch in branches {
                    let start = self.state(tag);
                    self.free(at, start);
                    let end = self.sequence(tag, flavor, branch, start);
                    self.free(end, out);
                }
                out
            }
        }
    }

    /// The shortest bytes for which `wanted` (given the tags that match, ascending) says yes. A subset that is not
    /// `alive` (given the tags that could still match, ascending) is not followed.
    pub fn find(
        &self,
        effort: &Effort,
        alive: impl Fn(&[Tag]) -> bool,
        mut wanted: impl FnMut(&[Tag]) -> bool,
    ) -> Answer<Vec<u8>> {
        let mut found = None;
        let complete = self.walk(effort, alive, |tags, example| {
            if wanted(tags) {
                found = Some(example());
            }
            found.is_none()
        });
        match found {
            Some(bytes) => Answer::Found(bytes),
            None if complete => Answer::None,
            None => Answer::Unknown,
        }
    }

    /// Visits every distinguishable class of byte strings, shortest first, with the tags that match it and a way to
    /// an example, until `visit` says false. False if the bound was reached.
    pub fn walk(
        &self,
        effort: &Effort,
        alive: impl Fn(&[Tag]) -> bool,
        mut visit: impl FnMut(&[Tag], &dyn Fn() -> Vec<u8>) -> bool,
    ) -> bool {
        // Grouping 256 bytes by the states' sets is a walk over them all.
        if !effort.spend(8 * self.states.len()) {
            return false;
        }
        let alphabet = self.alphabet();
        let start = Subset { states: self.close(self.starts.clone()), after_slash: false };
        // The byte that led to each subset, and from where, so that an example can be read backwards.
        let mut subsets: Vec<(Subset, usize, u8)> = vec![(start.clone(), 0, 0)];
        let mut known: HashSet<Subset> = HashSet::from([start]);
        let mut queue = VecDeque::from([0]);
        while let Some(at) = queue.pop_front() {
            let example = || {
                let mut bytes = Vec::new();
                let mut here = at;
                while here != 0 {
                    bytes.push(subsets[here].2);
                    here = subsets[here].1;
                }
                bytes.reverse();
                bytes
            };
            // No resolved path ends in a slash, save the root.
            let resolved = !subsets[at].0.after_slash || subsets[at].1 == 0;
            if resolved && !visit(&self.tags(&subsets[at].0.states, true), &example) {
                return true;
            }
            if !effort.spend(alphabet.len() * (1 + subsets[at].0.states.len())) {
                return false;
            }
            let no_slash = subsets[at].0.after_slash;
            for &byte in alphabet.iter().filter(|byte| **byte != b'/' || !no_slash) {
                let states = self.close(self.step(&subsets[at].0.states, byte));
                let next = Subset { states, after_slash: byte == b'/' };
                if known.contains(&next) || !alive(&self.tags(&next.states, false)) {
                    continue;
                }
                known.insert(next.clone());
                queue.push_back(subsets.len());
                subsets.push((next, at, byte));
            }
        }
        true
    }

    fn step(&self, subset: &[u32], byte: u8) -> Vec<u32> {
        let follow = |state: &u32| self.states[*state as usize].step.filter(|(bytes, _)| bytes.has(byte));
        subset.iter().filter_map(follow).map(|(_, to)| to).collect()
    }

    /// With everything that can be reached without a byte; sorted.
    fn close(&self, mut open: Vec<u32>) -> Vec<u32> {
        let mut closed: Vec<u32> = Vec::new();
        let mut seen: HashSet<u32> = open.iter().copied().collect();
        while let Some(state) = open.pop() {
            closed.push(state);
            for &next in &self.states[state as usize].free {
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        // Only states that step or accept tell subsets apart.
        closed.retain(|state| {
            let state = &self.states[*state as usize];
            state.accepts || state.step.is_some()
        });
        closed.sort_unstable();
        closed
    }

    fn tags(&self, subset: &[u32], accepting: bool) -> Vec<Tag> {
        let states = subset.iter().map(|state| &self.states[*state as usize]);
        let mut tags: Vec<Tag> =
            states.filter(|state| !accepting || state.accepts).map(|state| state.tag).collect();
        tags.sort_unstable();
        tags.dedup();
        tags
    }

    /// One byte for every group of bytes that no glob tells apart; of a group, the one that reads best in an example.
    fn alphabet(&self) -> Vec<u8> {
        let mut sets: Vec<Bytes> = self.states.iter().filter_map(|state| Some(state.step?.0)).collect();
        sets.sort_unstable_by_key(|set| set.0);
        sets.dedup();
        let readable = b"xabcdefghijklmnopqrstuvwyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-_.";
        let order = readable.iter().copied().chain((1..=u8::MAX).filter(|byte| !readable.contains(byte)));
        let mut seen = HashSet::new();
        order
            .filter(|byte| seen.insert(sets.iter().map(|set| set.has(*byte)).collect::<Vec<bool>>()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::source::Span;

    fn globs(sets: &[&[&str]]) -> Globs {
        let mut globs = Globs::default();
        for (tag, set) in sets.iter().enumerate() {
            for text in *set {
                globs.add(tag as Tag, &Glob::path(text, Span::default()).unwrap());
            }
        }
        globs
    }

    fn minus(a: &[&str], b: &[&str]) -> Answer<String> {
        let found = globs(&[a, b]).find(&Effort::new(200_000), |tags| tags.contains(&0), |tags| tags == [0]);
        match found {
            Answer::Found(bytes) => Answer::Found(String::from_utf8(bytes).unwrap()),
            Answer::None => Answer::None,
            Answer::Unknown => Answer::Unknown,
        }
    }

    #[test]
    fn what_one_glob_leaves_of_another() {
        assert_eq!(minus(&["/usr/bin/**"], &["/usr/**"]), Answer::None);
        assert_eq!(minus(&["/usr/**"], &["/usr/bin/**", "/usr/bin"]), Answer::Found("/usr/x".into()));
        assert_eq!(minus(&["/{a,b}/*"], &["/a/*", "/b/**"]), Answer::None);
        assert_eq!(minus(&["/a/**/c"], &["/a/c"]), Answer::Found("/a/x/c".into()));
        assert_eq!(minus(&["/a/*.key"], &["/a/[a-z]*"]), Answer::Found("/a/.key".into()));
        assert_eq!(minus(&["/**"], &["/**/**"]), Answer::None);
        assert_eq!(minus(&["/{a,b}/**"], &["/a/**", "/b/**"]), Answer::None);
    }

    #[test]
    fn the_walk_and_the_matcher_agree() {
        let set = ["/a/**/b*", "/a/{x,**}", "/[!q]?/**/z", "/a/*/b"];
        let parsed: Vec<Glob> = set.iter().map(|text| Glob::path(text, Span::default()).unwrap()).collect();
        let sets: Vec<&[&str]> = set.iter().map(std::slice::from_ref).collect();
        let mut classes = 0;
        let complete = globs(&sets).walk(
            &Effort::new(1_000_000),
            |tags| !tags.is_empty(),
            |tags, example| {
                let bytes = example();
                let matched: Vec<Tag> = (0..4).filter(|tag| parsed[*tag as usize].matches(&bytes)).collect();
                assert_eq!(tags, matched, "{}", String::from_utf8_lossy(&bytes));
                classes += 1;
                true
            },
        );
        assert!(complete && classes > 10);
    }

    #[test]
    fn a_question_that_explodes_is_not_known() {
        let texts: Vec<String> = (0..12).map(|n| format!("/**/{n}*a?????????????")).collect();
        let set: Vec<&str> = texts.iter().map(String::as_str).collect();
        let none = globs(&[&set]).find(&Effort::new(200_000), |_| true, |tags| tags == [7]);
        assert_eq!(none, Answer::Unknown);
    }
}
