//! The only place where a decision becomes a return code.
//!
//! A program of the hook families below gathers facts and ends in [`place`], [`boundary`] or [`capability`].
//! An earlier program's denial needs no look here: the kernel runs LSM programs as modify-return
//! trampolines and skips the rest once one of them returns an error (`invoke_bpf_mod_ret` in
//! `arch/x86/net/bpf_jit_comp.c`, v6.1 to v7.2).

mod argv;
mod boundary;
mod cgroup;
mod control;
mod exec;
mod file;
mod inherited;
mod ipc;
mod item;
mod knobs;
mod life;
mod mapping;
mod meta;
mod moves;
mod names;
mod net;
mod net_control;
mod net_listen;
mod net_options;
mod net_packet;
mod net_quick;
mod owner;
mod partial;
mod path;
mod peer;
mod sysctl;
mod task;
mod unix;

pub(crate) use argv::{Pending, judge_words};
pub(crate) use inherited::{Approved, REMEMBERED};
pub(crate) use item::{boundary, capability};
pub(crate) use path::{decide_spelt, place, question};

use guard_common::abi::{Action, EventFlags, EventKind, Op, Reason, Site, Verdict};
use guard_common::decide::Decision;
use guard_common::table::{self, Answer, DomainFlags, Words};

use crate::emit::{What, emit};
use crate::judge::{self, Arena};
use crate::kernel::{count, get};
use crate::maps::SEEN;
use crate::object::Scratch;
use crate::subject::Subject;
use crate::{budget, confine, hold, passed};

/// Operation not permitted.
pub(crate) const EPERM: i32 = 1;

/// Try again: over a budget.
const EAGAIN: i32 = 11;

/// The kernel's own: make the call again, once the signal that is pending has been dealt with.
pub(crate) const ERESTARTNOINTR: i32 = 513;

/// Cross-device link: what a rename across file systems says, upon which programs copy instead.
pub(crate) const EXDEV: i32 = 18;

/// The verifier wants to see that a program returns zero or an error number. A value that came through a
/// call is any number to it, so each one is spelt out.
#[inline(always)]
fn returned(code: i64) -> i32 {
    if code == 0 {
        0
    } else if code == i64::from(-EXDEV) {
        -EXDEV
    } else if code == i64::from(-EAGAIN) {
        -EAGAIN
    } else if code == i64::from(-ERESTARTNOINTR) {
        -ERESTARTNOINTR
    } else {
        -EPERM
    }
}

/// What is asked, packed so that it fits the registers of a call: domain, action, operation.
#[inline(always)]
fn pack(subject: Subject, action: Action, op: Op) -> u64 {
    u64::from(subject.domain) | (action as u64) << 32 | (op as u64) << 40
}

/// In a case: the object is an address or an abstract name, not a path.
const ADDRESS: u64 = 1 << 48;

/// In a case: a budget was charged for this before.
const PAID: u64 = 1 << 49;
/// In a case: the operation has more questions to come.
pub(crate) const PART: u64 = 1 << 50;
/// In a case: the call could not be made again from its beginning.
pub(crate) const NO_HOLD: u64 = 1 << 51;
/// In a case: whoever asks will read argv before the call is held.
pub(crate) const ARGV_FIRST: u64 = 1 << 52;

/// In a case: that there must be a record is known.
const RECORD: u64 = 1 << 53;

/// In a case: what cannot be recorded is allowed all the same.
pub(crate) const MAY_BE_LOST: u64 = 1 << 55;

/// In a case: the file is being opened.
pub(crate) const OPENS: u64 = 1 << 54;

/// What a decision says that waits for argv to be read; no return code.
pub(crate) const ASK_ARGV: i64 = 1;
/// What a decision says that was a yes for which something was spent, if the file is being opened; no return code.
pub(crate) const PAID_FOR: i64 = 2;

/// The reason comes with a decision in the scratch space.
const DECIDED: u64 = 1 << 16;

/// No scratch space: nothing can be decided or recorded. In shadow mode even that lets through.
#[inline(always)]
fn refuse(arena: Arena, case: u64) -> i64 {
    if arena.flags(case as u32).has(DomainFlags::SHADOW) { 0 } else { -i64::from(EPERM) }
}

/// Turns the outcome in the scratch space, or the reason why there is none, into the call's return value,
/// and records it. `reason` carries a digest of the object in its high half.
// SAFETY: the name is this function's alone in the object.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn settle(scratch: *mut Scratch, case: u64, session: u64, reason: u64) -> i64 {
    conclude(scratch, case, session, reason)
}

/// The same without a level of calls more: the kernel takes eight.
#[inline(always)]
fn conclude(scratch: *mut Scratch, case: u64, session: u64, reason: u64) -> i64 {
    let next = prepare(scratch, case, session, reason);
    if next == NOT_FINAL {
        return 0;
    }
    if next == WAITS_FOR_ARGV {
        return ASK_ARGV;
    }
    if next == REFUSED {
        return -i64::from(EPERM);
    }
    let told = if next == CARRY_OUT { carry_out(scratch, case) } else { 0 };
    finish(scratch, case, reason >> 32 | (told & 1) << 32)
}

/// Whom and what a record is about.
#[inline(always)]
fn about(facts: &mut What, generation: u64, case: u64, session: u64, detail: u64) {
    facts.session = session;
    facts.domain = case as u32;
    facts.generation = generation;
    facts.action = (case >> 32) as u8;
    facts.op = (case >> 40) as u8;
    facts.detail = detail;
    facts.tail = 0;
}

/// What comes after [`prepare`].
const FINISH: u64 = 0;
const CARRY_OUT: u64 = 1;
const NOT_FINAL: u64 = 2;
const WAITS_FOR_ARGV: u64 = 3;
const REFUSED: u64 = 4;

/// Puts the facts into the scratch space, and says what comes next.
// SAFETY: the name is this function's alone in the object.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn prepare(scratch: *mut Scratch, case: u64, session: u64, reason: u64) -> u64 {
    if scratch.is_null() {
        return REFUSED;
    }
    let Some(arena) = Arena::live() else { return REFUSED };
    let domain = case as u32;
    let flags = arena.flags(domain);
    let why = reason as u16;
    let decision = judge::decision(scratch);
    let decided = why == 0 || reason & DECIDED != 0;
    // SAFETY: not null, a map value that is the task's own.
    let facts = unsafe { &mut (*scratch).what };
    if decided {
        decided_by(facts, &decision);
    } else {
        fault(facts, flags, why);
    }
    if why != 0 && decided && facts.reason == Reason::Default as u16 {
        facts.reason = why;
    }
    // SAFETY: as above.
    let weighed_in = unsafe { get(&raw const (*scratch).weighed_in) };
    let generation = if decided { weighed_in } else { arena.word(table::AT_GENERATION) };
    about(facts, generation, case, session, reason >> 32);
    facts.flags |= if case & ADDRESS != 0 { EventFlags::ADDRESS } else { 0 };
    // SAFETY: as above.
    let shown = unsafe { get(&raw const (*scratch).shown) } as u32;
    // What is left of an exec before is no part of anything else.
    facts.tail = if facts.action == Action::Exec as u8 { shown } else { 0 };
    if !decided {
        return FINISH;
    }
    let verdict = decision.verdict();
    if decision.needs_args && verdict != Verdict::Block {
        // argv speaks next, and then it is recorded.
        return NOT_FINAL;
    }
    if case & ARGV_FIRST != 0 && verdict == Verdict::Escalate {
        return WAITS_FOR_ARGV;
    }
    if verdict == Verdict::Allow || verdict == Verdict::Block {
        return FINISH;
    }
    if generation != arena.word(table::AT_GENERATION) {
        // What is to be done has another number now. Who asks again is answered by the policies of now.
        facts.errno = -EAGAIN;
        facts.reason = Reason::Changed as u16;
        return FINISH;
    }
    CARRY_OUT
}

/// Counts and records what the scratch space says was done, and gives the call's return value. `object` is the object's
/// digest, with a bit above it if there must be a record.
// SAFETY: the name is this function's alone in the object.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn finish(scratch: *mut Scratch, case: u64, object: u64) -> i64 {
    let Some(arena) = Arena::live() else { return -i64::from(EPERM) };
    if scratch.is_null() {
        return -i64::from(EPERM);
    }
    let flags = arena.flags(case as u32);
    // SAFETY: not null, a map value that is the task's own.
    let facts = unsafe { &mut (*scratch).what };
    tally(facts);
    let quiet = facts.errno == 0 && facts.flags & EventFlags::SHADOWED == 0 && object >> 32 == 0;
    if quiet && case & RECORD == 0 && !records(arena, case, object & 0xffff_ffff) {
        return 0;
    }
    let code = facts.errno;
    if code == -ERESTARTNOINTR {
        // The call has not returned anything yet.
        facts.errno = 0;
    }
    if emit(scratch) == 0
        && code == 0
        && !flags.has(DomainFlags::LOSS_ALLOWS)
        && !flags.has(DomainFlags::SHADOW)
    {
        return -i64::from(EPERM);
    }
    i64::from(code)
}

/// Does what the verdict in the scratch space asks for, if it is one between yes and no. Not 0 if that is worth a
/// record whatever the audit settings.
// SAFETY: the name is this function's alone in the object.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn carry_out(scratch: *mut Scratch, case: u64) -> u64 {
    let Some(arena) = Arena::live() else { return 0 };
    if scratch.is_null() {
        return 0;
    }
    let decision = judge::decision(scratch);
    // SAFETY: not null, a map value that is the task's own.
    let facts = unsafe { &mut (*scratch).what };
    let n = u32::from(decision.policy);
    match decision.verdict() {
        Verdict::Allow | Verdict::Block => {}
        Verdict::Escalate => {
            if passed::covers(scratch, case, &decision) {
                facts.errno = 0;
                facts.reason = Reason::Approved as u16;
            } else if hold::hold(scratch, case, hold::digest(scratch, case)) != 0 {
                passed::leave(scratch, case, &decision);
                return 1;
            }
        }
        Verdict::Sandbox => {
            let unit = arena.word(table::domain_at(case as u32) + table::domain::POLICIES + n) as u32;
            let sandbox = confine::sandbox(unit, decision.answer.profile());
            let entered = if facts.action == Action::Exec as u8 {
                // An exec that fails moves nobody; one that succeeds is born inside.
                confine::bear(scratch, sandbox)
            } else {
                confine::confine(case as u32, sandbox, facts.generation)
            };
            if entered == 0 {
                facts.errno = -EPERM;
                facts.reason = Reason::NoSandbox as u16;
            }
            // Where it was already, nothing has happened.
            return u64::from(entered != u64::from(facts.domain));
        }
        Verdict::Throttle => {
            if case & PAID != 0 || passed::covers(scratch, case, &decision) {
                return 0;
            }
            let at = table::budget_at(&arena, case as u32, n, decision.answer);
            let wait = budget::spend(at, facts.session);
            if wait == 0 {
                passed::leave(scratch, case, &decision);
            } else {
                facts.errno = -EAGAIN;
                facts.reason = Reason::OverBudget as u16;
                facts.detail = wait;
            }
        }
    }
    0
}

/// The facts of a decision that the policy made. Field by field: a whole one would be put together on the stack.
#[inline(always)]
fn decided_by(facts: &mut What, decision: &Decision) {
    let answer = decision.answer;
    let verdict = decision.verdict();
    let shadow = if decision.shadow.is_none() { 0 } else { decision.shadow.0 };
    let reason = why(answer);
    facts.errno = match verdict {
        Verdict::Allow | Verdict::Throttle | Verdict::Sandbox => 0,
        // A no, until it has been held and answered.
        Verdict::Escalate | Verdict::Block => -EPERM,
    };
    facts.answer = answer.0;
    facts.shadow = shadow;
    facts.reason = reason as u16;
    facts.policy = u16::from(decision.policy) | u16::from(decision.shadow_policy) << 8;
    facts.kind = EventKind::Decision as u8;
    facts.tail = 0;
    facts.verdict = verdict as u8;
    facts.flags = if shadow != 0 { EventFlags::SHADOWED } else { 0 };
}

/// The reason that an answer speaks for.
#[inline(always)]
pub(crate) fn why(answer: Answer) -> Reason {
    match answer.rule() {
        Answer::RULE_DEFAULT => Reason::Default,
        Answer::RULE_BASELINE => Reason::Baseline,
        Answer::RULE_GATEWAY => Reason::Gateway,
        _ => Reason::Rule,
    }
}

/// The facts of a decision that no rule made: blocked, unless the whole domain is in shadow mode.
#[inline(always)]
fn fault(facts: &mut What, flags: DomainFlags, reason: u16) {
    let shadow = flags.has(DomainFlags::SHADOW);
    facts.errno = match (shadow, reason == Reason::OtherRules as u16) {
        (true, _) => 0,
        (false, true) => -EXDEV,
        (false, false) => -EPERM,
    };
    facts.answer = Answer::NONE.0;
    facts.shadow = 0;
    facts.reason = reason;
    facts.policy = 0;
    facts.kind = EventKind::Decision as u8;
    facts.tail = 0;
    facts.verdict = if shadow { Verdict::Allow as u8 } else { Verdict::Block as u8 };
    facts.flags = if shadow { EventFlags::SHADOWED } else { 0 };
}

#[inline(always)]
fn tally(facts: &What) {
    if facts.flags & EventFlags::SHADOWED != 0 {
        count(Site::ShadowHit);
    }
    count(if facts.errno == 0 && facts.verdict == Verdict::Sandbox as u8 {
        Site::Sandboxed
    } else if facts.errno == 0 && facts.verdict == Verdict::Escalate as u8 {
        Site::Escalated
    } else if facts.errno == 0 {
        Site::Allowed
    } else if facts.errno == -EAGAIN {
        Site::Throttled
    } else if facts.errno == -ERESTARTNOINTR {
        Site::Held
    } else {
        Site::Blocked
    });
}

/// Whether an allowed call is recorded.
#[inline(always)]
fn records(arena: Arena, case: u64, digest: u64) -> bool {
    let (flags, generation) = (arena.flags(case as u32), arena.word(table::AT_GENERATION));
    if flags.has(DomainFlags::ALLOWS_EVERY) {
        return true;
    }
    if flags.has(DomainFlags::ALLOWS_NONE) {
        return false;
    }
    let key = digest << 32 | (case >> 32 & 0xff) << 24 | case & 0xff_ffff;
    let seen = SEEN.get(&key);
    if !seen.is_null() && get(seen) == generation {
        return false;
    }
    if SEEN.set(&key, &generation) != 0 {
        count(Site::SeenFailed);
    }
    true
}
