//! The arena: one array of 64-bit words that holds a whole generation of compiled policy.
//!
//! Automata are deterministic and stored by row displacement. A state is the index of its header word:
//! the high half is the state's [`Answer`], the low half the state that every byte without an edge of its
//! own leads to. The edge for byte `c` lies at `state + 1 + c`; its high half names the state that owns it,
//! its low half the next state. Rows overlap; the owner check tells them apart. An answer has its top bit
//! set and a state index never has, so a header is never taken for an edge. A state with conditional rules
//! asks for argv; only such a state has an edge for the NUL in front of it.
//!
//! Words 0 to 256 are zero: state 0 is the dead state, and its row must hold no word whose high half is zero
//! and whose low half is not, or the dead would rise. Then the header, the domain descriptors, the tables of
//! profiles and budgets, the automata.

use crate::abi::{Action, Verdict};
use crate::budget::Budget;
use crate::limits::{ARENA_MASK, POLICIES_PER_DOMAIN};

/// First half: a magic that no zeroed or foreign map has; second half: the version of this layout.
pub const MAGIC: u64 = 0x6775_6172_6400_0004;
/// Words that a row can reach from its state: the header, then one for each byte.
pub const ROW_WORDS: u32 = 257;
/// Header words, behind the dead state's row.
pub const AT_MAGIC: u32 = ROW_WORDS;
pub const AT_GENERATION: u32 = ROW_WORDS + 1;
/// How many domain descriptors there are, domain 0 included.
pub const AT_DOMAINS: u32 = ROW_WORDS + 2;
/// Start state of the automaton over cgroup paths, whose answers carry a selection instead of a rule, see
/// [`enter`].
pub const AT_CGROUPS: u32 = ROW_WORDS + 3;
/// Four words of SHA-256 over the policies' texts, for `guard status` and the records.
pub const AT_SHA256: u32 = ROW_WORDS + 4;
/// Where the table of [`enter`] begins (low half) and how many entries a row of it has (high half).
pub const AT_JOINS: u32 = ROW_WORDS + 8;
/// Index of the first domain descriptor; domain 0 is "outside" and all zero.
pub const DOMAINS_AT: u32 = 272;
/// Words of a domain descriptor.
pub const DOMAIN_WORDS: u32 = 64;
/// The state that accepts nothing and never leaves itself.
pub const DEAD: u32 = 0;

/// Word offsets inside a domain descriptor.
pub mod domain {
    /// [`super::DomainFlags`].
    pub const FLAGS: u32 = 0;
    /// Boundary items the domain's policies all open, one bit each.
    pub const BOUNDARY: u32 = 1;
    /// Capabilities the domain keeps, one bit each.
    pub const CAPS: u32 = 2;
    /// `limits: max_bytes_out`, 0 for none.
    pub const BYTES_OUT: u32 = 3;
    /// One word for each joined policy: unit id in the low half, [`super::POLICY_SHADOW`] in the high half.
    pub const POLICIES: u32 = 4;
    /// For each action, for each joined policy: a word of start states (low: first automaton, high:
    /// second, 0 for none) and a word with the default answer in its low half.
    pub const ACTIONS: u32 = 8;
    /// One word for each joined policy: where its profiles' domains are listed, see [`super::derived`].
    pub const PROFILES: u32 = 56;
    /// One word for each joined policy: where its throttles' budgets are listed, see [`super::budget`].
    pub const BUDGETS: u32 = 60;
}

/// The policy decides and records, and lets through.
pub const POLICY_SHADOW: u32 = 1;

/// Flags of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainFlags(pub u64);

impl DomainFlags {
    /// The descriptor is in use.
    pub const LIVE: u64 = 1;
    /// Every joined policy is in shadow mode: the boundary is recorded, not enforced.
    pub const SHADOW: u64 = 1 << 1;
    /// `audit: allows: every`.
    pub const ALLOWS_EVERY: u64 = 1 << 2;
    /// `audit: allows: none`.
    pub const ALLOWS_NONE: u64 = 1 << 3;
    /// `audit: on_loss: allow`: an event that finds no room is counted and does not block.
    pub const LOSS_ALLOWS: u64 = 1 << 4;
    /// The policy asks for the text of argv in records.
    pub const ARGV_TEXT: u64 = 1 << 5;
    /// Not in use: a policy of the domain has gone. The descriptor says which are left, for tasks that take on another
    /// domain; until they have, nothing is decided here, and all is blocked.
    pub const LEFT: u64 = 1 << 6;
    /// Bits 8 to 15: how many policies are joined.
    pub const POLICIES_SHIFT: u32 = 8;
    /// Bits 32 to 63: where the domain's easy peers are listed, see [`is_easy`].
    pub const EASY_SHIFT: u32 = 32;

    #[inline(always)]
    pub const fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    #[inline(always)]
    pub const fn policies(self) -> u32 {
        ((self.0 >> Self::POLICIES_SHIFT) & 0xff) as u32
    }
}

/// Index of a domain's descriptor.
#[inline(always)]
pub const fn domain_at(id: u32) -> u32 {
    DOMAINS_AT + id * DOMAIN_WORDS
}

/// Index of the start-state word of one action of the n-th joined policy; the default follows it.
#[inline(always)]
pub const fn starts_at(id: u32, action: Action, n: u32) -> u32 {
    domain_at(id) + domain::ACTIONS + (action as u32 * POLICIES_PER_DOMAIN as u32 + n) * 2
}

const _: () = assert!(
    domain::ACTIONS as usize + Action::WITH_AUTOMATON * POLICIES_PER_DOMAIN * 2 <= domain::PROFILES as usize
        && domain::BUDGETS as usize + POLICIES_PER_DOMAIN <= DOMAIN_WORDS as usize
        && DEAD + ROW_WORDS <= AT_MAGIC
        && AT_SHA256 + 4 <= AT_JOINS
        && AT_JOINS < DOMAINS_AT
);

/// Places for peers that a domain lists as easy.
pub const EASY: usize = 8;
/// Words of a peer's key.
pub const KEY_WORDS: usize = 3;

/// The only place where a peer may be listed, by the last word of its key.
#[inline(always)]
pub const fn easy_place(last: u64) -> u32 {
    const { assert!(EASY == 8) };
    // Address and port are spread over the word; the product's upper bits depend on all of it.
    (last.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61) as u32
}

/// Is this one of the peers to which a connect is a plain yes, of which the policy has nothing more to say? The
/// compiler asks the automata and lists them, gateways first, so that a packet need not. 0 is no key.
#[inline(always)]
pub fn is_easy<W: Words + ?Sized>(words: &W, domain: u32, key: [u64; KEY_WORDS]) -> bool {
    let at = (words.word(domain_at(domain) + domain::FLAGS) >> DomainFlags::EASY_SHIFT) as u32;
    if at == 0 || key[2] == 0 {
        return false;
    }
    let at = at + easy_place(key[2]) * KEY_WORDS as u32;
    // The last word tells nearly always.
    words.word(at + 2) == key[2] && words.word(at + 1) == key[1] && words.word(at) == key[0]
}

/// The domain that a task of `domain` lives in from the moment the n-th joined policy sandboxes it into its
/// `profile`. 0: there is none, because the domain joins as many policies as a domain can; block instead.
#[inline(always)]
pub fn derived<W: Words + ?Sized>(words: &W, domain: u32, n: u32, profile: u8) -> u32 {
    let row = words.word(domain_at(domain) + domain::PROFILES + n) as u32;
    words.word(row + profile as u32) as u32
}

/// The domain of a cgroup below one of the domain `above` (0 is none): `own` is what the automaton over cgroup
/// paths says of its own path. Whatever governs a cgroup governs everything below it too.
#[inline(always)]
pub fn enter<W: Words + ?Sized>(words: &W, above: u32, own: Answer) -> u32 {
    if own.is_none() || above >= words.word(AT_DOMAINS) as u32 {
        return above;
    }
    let joins = words.word(AT_JOINS);
    let entry = above * (joins >> 32) as u32 + own.rule() as u32;
    (words.word(joins as u32 + entry / JOINS_IN_WORD) >> (entry % JOINS_IN_WORD * 16)) as u32 & 0xffff
}

/// Entries in a word of the table of [`enter`].
pub const JOINS_IN_WORD: u32 = 4;

/// The budget behind an answer of the n-th joined policy that says [`Verdict::Throttle`]: such an answer
/// carries the budget's number where a sandbox carries its profile.
#[inline(always)]
pub fn budget<W: Words + ?Sized>(words: &W, domain: u32, n: u32, answer: Answer) -> Budget {
    budget_from(words, budget_at(words, domain, n, answer))
}

/// Where the arena holds that budget.
#[inline(always)]
pub fn budget_at<W: Words + ?Sized>(words: &W, domain: u32, n: u32, answer: Answer) -> u32 {
    let row = words.word(domain_at(domain) + domain::BUDGETS + n) as u32;
    row + answer.profile() as u32 * BUDGET_WORDS
}

/// The budget that the arena holds there.
#[inline(always)]
pub fn budget_from<W: Words + ?Sized>(words: &W, at: u32) -> Budget {
    Budget {
        interval: words.word(at),
        burst: words.word(at + 1),
        window: words.word(at + 2),
        rule: words.word(at + 3),
    }
}

/// Words of a budget in the arena.
pub const BUDGET_WORDS: u32 = 4;

/// What a state says of the bytes that led to it: everything the kernel needs, in one word that compares by
/// strictness first and lowest rule second, so that a join is a maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Answer(pub u32);

impl Answer {
    const MARK: u32 = 1 << 31;
    const VERDICT_SHIFT: u32 = 28;
    const RULE_SHIFT: u32 = 14;
    const RULE_MASK: u32 = 0x3fff;
    const PROFILE_SHIFT: u32 = 6;
    const SHADOW_SHIFT: u32 = 3;
    const ARGS: u32 = 1 << 2;

    /// The rule is not told apart in this automaton; recompute it from the record.
    pub const RULE_UNKNOWN: u16 = 0x3fff;
    /// No rule matched: the section's default.
    pub const RULE_DEFAULT: u16 = 0x3ffe;
    /// The built-in baseline.
    pub const RULE_BASELINE: u16 = 0x3ffd;
    /// The policy's gateway.
    pub const RULE_GATEWAY: u16 = 0x3ffc;

    /// No rule matched.
    pub const NONE: Self = Self(Self::MARK);

    /// An answer of one rule. `profile` is 1-based, a sandbox's profile or a throttle's budget; 0 is none.
    pub const fn new(verdict: Verdict, rule: u16, profile: u8) -> Self {
        Self(
            Self::MARK
                | verdict.code() << Self::VERDICT_SHIFT
                | (Self::RULE_MASK - rule as u32) << Self::RULE_SHIFT
                | (profile as u32) << Self::PROFILE_SHIFT,
        )
    }

    /// The same answer, remembering that shadow rules would have said `verdict`.
    pub const fn with_shadow(self, verdict: Option<Verdict>) -> Self {
        let code = match verdict {
            Some(verdict) => verdict.code(),
            None => 0,
        };
        Self(self.0 & !(7 << Self::SHADOW_SHIFT) | code << Self::SHADOW_SHIFT)
    }

    /// The same answer, valid only once argv has been walked too (from this state, a NUL, then argv).
    pub const fn with_args(self, args: bool) -> Self {
        Self(self.0 & !Self::ARGS | if args { Self::ARGS } else { 0 })
    }

    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.verdict_code() == 0
    }

    /// 0 for none, else [`Verdict::code`].
    #[inline(always)]
    pub const fn verdict_code(self) -> u32 {
        self.0 >> Self::VERDICT_SHIFT & 7
    }

    #[inline(always)]
    pub const fn shadow_code(self) -> u32 {
        self.0 >> Self::SHADOW_SHIFT & 7
    }

    #[inline(always)]
    pub const fn rule(self) -> u16 {
        (Self::RULE_MASK - (self.0 >> Self::RULE_SHIFT & Self::RULE_MASK)) as u16
    }

    #[inline(always)]
    pub const fn profile(self) -> u8 {
        (self.0 >> Self::PROFILE_SHIFT) as u8
    }

    #[inline(always)]
    pub const fn needs_args(self) -> bool {
        self.0 & Self::ARGS != 0
    }

    /// The stricter of two answers of one policy, with the shadow verdicts and the need for argv joined.
    #[inline(always)]
    pub const fn join(self, other: Self) -> Self {
        let (high, low) = if self.0 >= other.0 { (self, other) } else { (other, self) };
        let shadow =
            if high.shadow_code() >= low.shadow_code() { high.shadow_code() } else { low.shadow_code() };
        Self(high.0 & !(7 << Self::SHADOW_SHIFT) | shadow << Self::SHADOW_SHIFT | (low.0 & Self::ARGS))
    }
}

/// Something that holds an arena's words: a slice on the host, a map value in the kernel.
pub trait Words {
    /// The word at `index`, which is taken modulo the arena's size.
    fn word(&self, index: u32) -> u64;
}

impl Words for [u64] {
    fn word(&self, index: u32) -> u64 {
        self.get((index & ARENA_MASK) as usize).copied().unwrap_or(0)
    }
}

/// The state after one more byte.
#[inline(always)]
pub fn step<W: Words + ?Sized>(words: &W, state: u32, byte: u8) -> u32 {
    let edge = words.word(state + 1 + byte as u32);
    if (edge >> 32) as u32 == state { edge as u32 } else { words.word(state) as u32 }
}

/// What a state says.
#[inline(always)]
pub fn answer<W: Words + ?Sized>(words: &W, state: u32) -> Answer {
    Answer((words.word(state) >> 32) as u32)
}

/// The state after all of `bytes`.
pub fn run<W: Words + ?Sized>(words: &W, start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |state, byte| step(words, state, *byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_is_the_strictest_and_among_equals_the_lowest_rule() {
        let allow = Answer::new(Verdict::Allow, 0, 0);
        let block_7 = Answer::new(Verdict::Block, 7, 0);
        let block_3 = Answer::new(Verdict::Block, 3, 0).with_shadow(Some(Verdict::Throttle));
        assert_eq!(allow.join(block_7), block_7);
        assert_eq!(block_7.join(block_3).rule(), 3);
        assert_eq!(
            block_7.join(allow.with_shadow(Some(Verdict::Block))).shadow_code(),
            Verdict::Block.code()
        );
        assert_eq!(Answer::NONE.join(allow), allow);
        assert!(Answer::NONE.is_none() && !allow.is_none());
    }

    #[test]
    fn a_header_is_never_taken_for_an_edge() {
        // State 20 leads to itself by default; its row reaches word 24, the header of state 24.
        let mut words = [0u64; 64];
        words[20] = u64::from(Answer::NONE.0) << 32 | 20;
        words[24] = u64::from(Answer::new(Verdict::Allow, 1, 0).0) << 32;
        assert_eq!(step(words.as_slice(), 20, 3), 20);
        words[21 + 7] = 20 << 32 | 24;
        assert_eq!(run(words.as_slice(), 20, &[3, 7]), 24);
        assert_eq!(run(words.as_slice(), 20, &[7, 7]), DEAD);
    }
}
