//! `args:` as a small deterministic automaton over what follows the path: NUL, argument, NUL, argument … NUL.
//!
//! The n-th pattern is about the n-th argument that is not an option. Whether an argument right behind an
//! option is that option's value cannot be known, so a command line has several readings, and a state is the
//! set of all of them. `--` ends the options. A rule stricter than allow matches if any reading does, an
//! allow only if every reading does: not knowing never makes the answer laxer.

use std::collections::BTreeSet;

use super::fragment::{Fragment, FragmentId, Fragments};
use super::symbol::{Map, Symbol};
use crate::compile::glob;
use crate::policy::glob::Glob;

/// Which readings of a command line must match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::compile) enum Readings {
    Any,
    Every,
}

/// More states than this and a rule's patterns are to blame: a plain word needs a few for each letter.
const STATES: usize = 4096;

#[derive(Debug, Hash)]
pub(in crate::compile) struct Args {
    pub(super) states: Vec<Row>,
}

#[derive(Debug, Hash)]
pub(super) struct Row {
    pub(super) outcome: Outcome,
    pub(super) default: u32,
    pub(super) edges: Vec<(u8, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    Open,
    Matched,
    Failed,
}

/// The state right behind the NUL that ends the path.
pub(super) const START: u32 = 0;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Reading {
    Matched,
    Failed,
    /// In front of an argument, waiting for the pattern with this number.
    Before(usize, Mode),
    /// Inside an argument.
    Inside(usize, Mode, Spelt, Vec<FragmentId>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Mode {
    /// Options may come.
    Options,
    /// The next argument is the value of the option before it.
    Value,
    /// `--` has been.
    NoOptions,
}

/// What an argument looks like so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Spelt {
    Plain,
    Dash,
    DashDash,
    Option,
    OptionWithValue,
}

type State = BTreeSet<Reading>;

struct Builder {
    fragments: Fragments,
    starts: Vec<Vec<FragmentId>>,
    readings: Readings,
}

impl Args {
    /// `None`: too many states.
    pub(in crate::compile) fn new(patterns: &[Glob], readings: Readings) -> Option<Self> {
        let builder = Builder::new(patterns, readings);
        let representatives = builder.representatives();
        let start = State::from([Reading::Before(0, Mode::Options)]);
        let mut ids = Map::default();
        ids.insert(start.clone(), START);
        let mut open = vec![start];
        let mut states = Vec::new();
        while states.len() < open.len() {
            let state = open[states.len()].clone();
            let mut row = Row { outcome: outcome(&state), default: 0, edges: Vec::new() };
            let mut by_class = Vec::with_capacity(representatives.bytes.len());
            for &byte in &representatives.bytes {
                let next = builder.step(&state, byte);
                let id = *ids.entry(next).or_insert_with_key(|next| {
                    open.push(next.clone());
                    open.len() as u32 - 1
                });
                by_class.push(id);
            }
            row.default = by_class[usize::from(representatives.class[usize::from(u8::MAX)])];
            for byte in 0..=u8::MAX {
                let next = by_class[usize::from(representatives.class[usize::from(byte)])];
                if next != row.default {
                    row.edges.push((byte, next));
                }
            }
            states.push(row);
            if open.len() > STATES {
                return None;
            }
        }
        Some(Self { states })
    }
}

fn outcome(state: &State) -> Outcome {
    match state.first() {
        Some(Reading::Matched) => Outcome::Matched,
        Some(Reading::Failed) => Outcome::Failed,
        Some(Reading::Before(..) | Reading::Inside(..)) | None => Outcome::Open,
    }
}

/// Bytes that the patterns do not tell apart, one of each kind.
struct Representatives {
    bytes: Vec<u8>,
    class: [u8; 256],
}

impl Builder {
    fn new(patterns: &[Glob], readings: Readings) -> Self {
        let mut fragments = Fragments::new();
        let end = fragments.accept(0, false);
        let starts: Vec<FragmentId> =
            patterns.iter().map(|pattern| glob::glob(&mut fragments, pattern, end)).collect();
        let mut this = Self { fragments, starts: Vec::new(), readings };
        this.starts = starts.iter().map(|&start| this.close([start])).collect();
        this
    }

    fn representatives(&self) -> Representatives {
        let mut symbols: Vec<Symbol> = self.fragments.symbols().collect();
        symbols.sort_unstable();
        symbols.dedup();
        let mut kinds: Map<Vec<bool>, u8> = Map::default();
        let mut this = Representatives { bytes: Vec::new(), class: [0; 256] };
        for byte in 0..=u8::MAX {
            let own = [0, b'-', b'='].into_iter().map(|special| byte == special);
            let kind = own.chain(symbols.iter().map(|&symbol| self.takes(symbol, byte))).collect();
            let class = *kinds.entry(kind).or_insert_with(|| {
                this.bytes.push(byte);
                (this.bytes.len() - 1) as u8
            });
            this.class[usize::from(byte)] = class;
        }
        this
    }

    fn takes(&self, symbol: Symbol, byte: u8) -> bool {
        match symbol {
            Symbol::Byte(own) => own == byte,
            Symbol::Set(set) | Symbol::Star(set) => self.fragments.byte_set(set).contains(byte),
            Symbol::Dirs => false,
        }
    }

    fn step(&self, state: &State, byte: u8) -> State {
        let mut next = State::new();
        for reading in state {
            self.read(reading, byte, &mut next);
        }
        self.settle(next)
    }

    /// Leaves out what can no longer matter.
    fn settle(&self, mut state: State) -> State {
        let (decides, other) = match self.readings {
            Readings::Any => (Reading::Matched, Reading::Failed),
            Readings::Every => (Reading::Failed, Reading::Matched),
        };
        if state.contains(&decides) {
            return State::from([decides]);
        }
        if state.len() > 1 {
            state.remove(&other);
        }
        state
    }

    fn read(&self, reading: &Reading, byte: u8, into: &mut State) {
        let next = match *reading {
            Reading::Matched | Reading::Failed => reading.clone(),
            Reading::Before(number, mode) => {
                return self.inside(number, mode, Spelt::Plain, &self.starts[number], true, byte, into);
            }
            Reading::Inside(number, mode, spelt, ref at) => {
                return self.inside(number, mode, spelt, at, false, byte, into);
            }
        };
        into.insert(next);
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one reading, taken apart")]
    fn inside(
        &self,
        number: usize,
        mode: Mode,
        spelt: Spelt,
        at: &[FragmentId],
        first: bool,
        byte: u8,
        into: &mut State,
    ) {
        if byte == 0 {
            return self.end(number, mode, spelt, at, into);
        }
        let spelt = match (mode, spelt, byte) {
            (Mode::Value | Mode::NoOptions, ..) => Spelt::Plain,
            (Mode::Options, Spelt::Plain, b'-') if first => Spelt::Dash,
            (Mode::Options, Spelt::Plain, _) => Spelt::Plain,
            (Mode::Options, Spelt::OptionWithValue, _) => Spelt::OptionWithValue,
            (Mode::Options, Spelt::Dash | Spelt::DashDash | Spelt::Option, b'=') => Spelt::OptionWithValue,
            (Mode::Options, Spelt::Dash, b'-') => Spelt::DashDash,
            (Mode::Options, Spelt::Dash | Spelt::DashDash | Spelt::Option, _) => Spelt::Option,
        };
        // Only an argument that may turn out to be no option is held against its pattern.
        let held = mode != Mode::Value && matches!(spelt, Spelt::Plain | Spelt::Dash);
        let at = if held { self.advance(at, byte) } else { Vec::new() };
        into.insert(if held && at.is_empty() && spelt == Spelt::Plain {
            Reading::Failed
        } else {
            Reading::Inside(number, mode, spelt, at)
        });
    }

    /// The NUL behind an argument.
    fn end(&self, number: usize, mode: Mode, spelt: Spelt, at: &[FragmentId], into: &mut State) {
        match (mode, spelt) {
            (Mode::Value, _) | (Mode::Options, Spelt::OptionWithValue) => {
                into.insert(Reading::Before(number, Mode::Options));
            }
            (Mode::Options, Spelt::DashDash) => {
                into.insert(Reading::Before(number, Mode::NoOptions));
            }
            (Mode::Options, Spelt::Option) => {
                into.insert(Reading::Before(number, Mode::Options));
                into.insert(Reading::Before(number, Mode::Value));
            }
            (Mode::Options, Spelt::Plain | Spelt::Dash) | (Mode::NoOptions, _) => {
                into.insert(if !self.accepts(at) {
                    Reading::Failed
                } else if number + 1 == self.starts.len() {
                    Reading::Matched
                } else {
                    Reading::Before(number + 1, mode)
                });
            }
        }
    }

    fn accepts(&self, at: &[FragmentId]) -> bool {
        at.iter().any(|&id| matches!(self.fragments.get(id), Fragment::Accept(_)))
    }

    fn advance(&self, at: &[FragmentId], byte: u8) -> Vec<FragmentId> {
        let mut next = Vec::new();
        for &id in at {
            if let &Fragment::Then(symbol, then) = self.fragments.get(id)
                && self.takes(symbol, byte)
            {
                next.push(if matches!(symbol, Symbol::Star(_)) { id } else { then });
            }
        }
        self.close(next)
    }

    /// `at` and what is reached from there without a byte.
    fn close(&self, at: impl IntoIterator<Item = FragmentId>) -> Vec<FragmentId> {
        let mut closed = BTreeSet::new();
        let mut open = Vec::new();
        at.into_iter().for_each(|id| self.fragments.flatten(id, &mut open));
        while let Some(id) = open.pop() {
            if closed.insert(id)
                && let &Fragment::Then(Symbol::Star(_), then) = self.fragments.get(id)
            {
                self.fragments.flatten(then, &mut open);
            }
        }
        closed.into_iter().collect()
    }
}
