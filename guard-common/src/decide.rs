//! The decision: pure, the same code in the kernel and on the host.
//!
//! A domain joins up to four policies. Each policy's answer is the stricter of its automata's answers, or
//! its default when none of them matched; a policy in shadow mode, and a shadow rule, say what they would
//! have done and enforce nothing. The domain's answer is the strictest of its policies'.

use crate::abi::{Action, Verdict};
use crate::table::{self, Answer, DomainFlags, POLICY_SHADOW, Words};

/// What a domain says of one action on one object.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The winning answer that takes effect.
    pub answer: Answer,
    /// Which joined policy gave it.
    pub policy: u8,
    /// The strictest answer of shadow rules and shadow policies, [`Answer::NONE`] if they are no stricter.
    pub shadow: Answer,
    /// Which joined policy gave that.
    pub shadow_policy: u8,
    /// The answer is not final before argv has been walked.
    pub needs_args: bool,
}

impl Decision {
    /// Before any policy has spoken: no answer.
    pub const START: Self =
        Self { answer: Answer::NONE, policy: 0, shadow: Answer::NONE, shadow_policy: 0, needs_args: false };

    /// The verdict that takes effect. No policy at all fails closed.
    #[inline(always)]
    pub const fn verdict(&self) -> Verdict {
        match Verdict::from_code(self.answer.verdict_code()) {
            Some(verdict) => verdict,
            None => Verdict::Block,
        }
    }

    /// The stricter verdict that shadow rules or policies would have given.
    #[inline(always)]
    pub const fn shadow_verdict(&self) -> Option<Verdict> {
        Verdict::from_code(self.shadow.verdict_code())
    }

    /// Joins the answers of the n-th policy: `first` and `second` from its automata, `default` if both are
    /// none.
    #[inline(always)]
    pub fn add(&mut self, n: u8, flags: u32, first: Answer, second: Answer, default: Answer) {
        let joined = first.join(second);
        let mut own = joined;
        if own.is_none() {
            own = default.with_shadow(Verdict::from_code(joined.shadow_code()));
        }
        self.needs_args |= joined.needs_args();
        let shadowed = if flags & POLICY_SHADOW != 0 {
            // What the policy would have done, in force or in shadow, counts as shadow; it enforces "allow".
            let would = if own.shadow_code() > own.verdict_code() { shadow_of(own) } else { own };
            own = Answer::new(Verdict::Allow, Answer::RULE_DEFAULT, 0);
            would
        } else if own.shadow_code() > own.verdict_code() {
            shadow_of(own)
        } else {
            Answer::NONE
        };
        if own.verdict_code() > self.answer.verdict_code() {
            self.answer = own;
            self.policy = n;
        }
        if shadowed.verdict_code() > self.shadow.verdict_code() {
            self.shadow = shadowed;
            self.shadow_policy = n;
        }
    }

    /// The decision once every policy has spoken: a shadow answer that is no stricter is dropped.
    #[inline(always)]
    pub const fn finish(mut self) -> Self {
        if self.shadow.verdict_code() <= self.answer.verdict_code() {
            self.shadow = Answer::NONE;
            self.shadow_policy = 0;
        }
        self
    }
}

/// An answer that says what the shadow rules behind `answer` said; which rule is not kept.
#[inline(always)]
const fn shadow_of(answer: Answer) -> Answer {
    match Verdict::from_code(answer.shadow_code()) {
        Some(verdict) => Answer::new(verdict, Answer::RULE_UNKNOWN, 0),
        None => Answer::NONE,
    }
}

/// Decides one action of a domain on the host: `bytes` is a path, an address key or a socket name. For
/// `exec`, `args` is argv from its second entry on; `None` stops at the path.
pub fn decide<W: Words + ?Sized>(
    words: &W,
    domain: u32,
    action: Action,
    bytes: &[u8],
    args: Option<&[&[u8]]>,
) -> Decision {
    let mut decision = Decision::START;
    let at = table::domain_at(domain);
    let flags = DomainFlags(words.word(at + table::domain::FLAGS));
    if !flags.has(DomainFlags::LIVE) || action == Action::Boundary {
        return decision;
    }
    for n in 0..flags.policies() {
        let starts = words.word(table::starts_at(domain, action, n));
        let default = Answer(words.word(table::starts_at(domain, action, n) + 1) as u32);
        let policy_flags = (words.word(at + table::domain::POLICIES + n) >> 32) as u32;
        let first = answer_of(words, starts as u32, bytes, args);
        let second = answer_of(words, (starts >> 32) as u32, bytes, args);
        decision.add(n as u8, policy_flags, first, second, default);
    }
    decision.finish()
}

fn answer_of<W: Words + ?Sized>(words: &W, start: u32, bytes: &[u8], args: Option<&[&[u8]]>) -> Answer {
    if start == table::DEAD {
        return Answer::NONE;
    }
    let mut state = table::run(words, start, bytes);
    let mut answer = table::answer(words, state);
    if let (true, Some(args)) = (answer.needs_args(), args) {
        for arg in args {
            state = table::run(words, table::step(words, state, 0), arg);
        }
        // A last NUL ends the last argument, so that the automaton never needs to know how many there are.
        answer = table::answer(words, table::step(words, state, 0)).with_args(false);
    }
    answer
}
