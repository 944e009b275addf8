//! On whose behalf a packet goes, or a call of a task without a label: what a cgroup says.

use guard_common::abi::{Action, BoundaryItem, EventFlags, Op, Reason};
use guard_common::table::{self, Words};

use super::{fault, from_decision, tally};
use crate::address::Key;
use crate::emit::{self, What};
use crate::judge::Arena;
use crate::judge_key;

#[derive(Clone, Copy)]
pub(super) struct Owner {
    pub(super) arena: Arena,
    pub(super) domain: u32,
    pub(super) session: u64,
    pub(super) generation: u64,
    pub(super) cgroup: u64,
}

impl Owner {
    /// Does the policy open this?
    #[inline(always)]
    pub(super) fn opens(self, item: BoundaryItem) -> bool {
        self.arena.word(table::domain_at(self.domain) + table::domain::BOUNDARY) & item.bit() != 0
    }

    /// The facts of a boundary's refusal.
    #[inline(always)]
    pub(super) fn forbidden(self, item: BoundaryItem, detail: u64) -> What {
        let mut what = self.fault(Reason::Boundary, Action::Boundary);
        what.detail = item as u64 | detail << 16;
        what
    }

    #[inline(always)]
    pub(super) fn fault(self, reason: Reason, action: Action) -> What {
        let mut what = fault(self.arena.flags(self.domain), reason as u16);
        what.action = action as u8;
        what
    }

    /// The facts of the decision on an address.
    #[inline(always)]
    pub(super) fn decide(self, action: Action, key: Key) -> What {
        let weighed = judge_key::weigh(self.arena, self.domain, action, key);
        let mut what = if weighed.reason == 0 {
            from_decision(&weighed.decision)
        } else {
            fault(self.arena.flags(self.domain), weighed.reason as u16)
        };
        what.action = action as u8;
        what
    }

    /// Counts and records; 1 lets through, 0 does not. `BY_TASK`: the running task is the one whose call it is.
    #[inline(always)]
    pub(super) fn settle<const BY_TASK: bool>(self, facts: What, op: Op, to: Key) -> i32 {
        let mut what = facts;
        what.session = self.session;
        what.domain = self.domain;
        what.generation = self.generation;
        what.op = op as u8;
        what.flags |= EventFlags::ADDRESS;
        tally(&what);
        emit::emit_key::<BY_TASK>(&what, self.cgroup, to);
        i32::from(what.errno == 0)
    }
}
