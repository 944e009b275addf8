//! One item of the boundary, or a capability: refused unless the policy opens it.

use guard_common::abi::{Action, BoundaryItem, CAPS_KEPT, Op, Reason};
use guard_common::table::{self, DomainFlags, Words};

use super::{EPERM, fault, pack, returned, tally};
use crate::emit::{self, What};
use crate::judge::Arena;
use crate::subject::Subject;

/// One of the boundary's items: blocked unless the policy opens it. `detail` goes into the record.
#[inline(always)]
pub(crate) fn boundary(subject: Subject, item: BoundaryItem, op: Op, detail: u32) -> i32 {
    let why = Reason::Boundary as u64 | (item as u64) << 16 | u64::from(detail) << 32;
    returned(judge_boundary(pack(subject, Action::Boundary, op), subject.session, item.bit(), why))
}

/// A capability: refused unless the domain keeps it.
#[inline(always)]
pub(crate) fn capability(subject: Subject, capability: u32, quiet: bool) -> i32 {
    let Some(arena) = Arena::live() else { return -EPERM };
    let at = table::domain_at(subject.domain);
    let bit = 1u64 << (capability & 63);
    if capability < 64 && (CAPS_KEPT | arena.word(at + table::domain::CAPS)) & bit != 0 {
        return 0;
    }
    if quiet {
        return if arena.flags(subject.domain).has(DomainFlags::SHADOW) { 0 } else { -EPERM };
    }
    let why = Reason::Capability as u64 | u64::from(capability) << 32;
    let case = pack(subject, Action::Boundary, Op::Capability);
    returned(judge_boundary(case, subject.session, 0, why))
}

// SAFETY: the name is this function's alone in the object.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn judge_boundary(case: u64, session: u64, bit: u64, why: u64) -> i64 {
    let Some(arena) = Arena::live() else { return -i64::from(EPERM) };
    let domain = case as u32;
    if arena.word(table::domain_at(domain) + table::domain::BOUNDARY) & bit != 0 {
        return 0;
    }
    // Not in the scratch space: files send their signals from interrupts too, in the middle of what the task was about.
    let mut facts = What::default();
    fault(&mut facts, arena.flags(domain), why as u16);
    facts.session = session;
    facts.domain = domain;
    facts.generation = arena.word(table::AT_GENERATION);
    facts.action = Action::Boundary as u8;
    facts.op = (case >> 40) as u8;
    facts.detail = why >> 16;
    tally(&facts);
    emit::emit_alone(&facts);
    i64::from(facts.errno)
}
