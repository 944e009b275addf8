//! A path is decided: by what the task remembers of its directory and of the name in it, else by walking it.

use guard_common::abi::{Action, EventKind, Op, Reason, Site, Verdict};
use guard_common::table::{self, Answer, DomainFlags, Words};

use super::{
    DECIDED, EPERM, MAY_BE_LOST, OPENS, PAID_FOR, RECORD, about, conclude, ipc, knobs, pack, records, refuse,
    returned, settle, why,
};
use crate::emit::{self, emit};
use crate::judge::{self, Arena, weigh};
use crate::kernel::{Ptr, count, get};
use crate::object::{self, Place, Scratch};
use crate::subject::Subject;
use crate::walk::{self, End, From};
use crate::{known, near, passed};

/// Decides one action on a place of the file tree.
#[inline(always)]
pub(crate) fn place(subject: Subject, action: Action, op: Op, at: Place) -> i32 {
    returned(question(subject, action, op, at, 0))
}

/// The same with more to say about the case; what comes back is no return code yet.
#[inline(always)]
pub(crate) fn question(subject: Subject, action: Action, op: Op, at: Place, more: u64) -> i64 {
    let case = pack(subject, action, op) | more;
    // Each has what the other needs not, and each program is verified with one of them.
    if action == Action::Exec {
        judge_run(subject.task, at.mount, at.dentry, case, subject.session)
    } else {
        judge_place(subject.task, at.mount, at.dentry, case, subject.session)
    }
}

/// A file that is to be run.
#[inline(never)]
fn judge_run(task: Ptr, mount: Ptr, dentry: Ptr, case: u64, session: u64) -> i64 {
    let at = Place { mount, dentry };
    let slot = near::recall(task, mount, dentry, case);
    let scratch = object::scratch(task);
    if scratch.is_null() {
        let Some(arena) = Arena::live() else { return -i64::from(EPERM) };
        return refuse(arena, case);
    }
    passed::about(scratch, dentry as u64);
    // Where nothing can be decided argv is not waited for, whatever was before.
    judge::begin(scratch);
    at.aim(scratch);
    let known = run_again(at, scratch, slot, case, session);
    if known != UNKNOWN {
        return known;
    }
    near::ask(scratch, dentry, case);
    judge_aimed(scratch, case, session)
}

#[inline(never)]
fn judge_place(task: Ptr, mount: Ptr, dentry: Ptr, case: u64, session: u64) -> i64 {
    let at = Place { mount, dentry };
    let action = (case >> 32) as u32 & 7;
    if action == Action::Write as u32 {
        let refused = knobs::judge(task, dentry, case, session);
        if refused != 0 {
            return refused;
        }
    }
    let known = recalled(at, case, session, near::recall(task, mount, dentry, case));
    if known != UNKNOWN {
        return known;
    }
    let scratch = object::scratch(task);
    if scratch.is_null() {
        let Some(arena) = Arena::live() else { return -i64::from(EPERM) };
        return refuse(arena, case);
    }
    passed::about(scratch, dentry as u64);
    at.aim(scratch);
    near::ask(scratch, dentry, case);
    judge_aimed(scratch, case, session)
}

/// Nothing is remembered that answers.
const UNKNOWN: i64 = 3;

/// What comes of a name that is known as a plain yes.
#[inline(always)]
fn recalled(at: Place, case: u64, session: u64, slot: *mut near::Slot) -> i64 {
    if slot.is_null() {
        return UNKNOWN;
    }
    let Some(arena) = Arena::live() else { return -i64::from(EPERM) };
    // SAFETY: not null, a map value.
    if unsafe { near::generation_of(slot) } != arena.word(table::AT_GENERATION) {
        return UNKNOWN;
    }
    let case = noted(arena, case, || near::digest_of(at.dentry, session));
    if case == 0 {
        return 0;
    }
    known::tell(slot, case, session, arena.word(table::AT_GENERATION))
}

/// The same of a program that is to be run. What it becomes is told of by its path, so that has to lie in the scratch
/// space, with the decision, as if both had just been made.
#[inline(always)]
fn run_again(at: Place, scratch: *mut Scratch, slot: *mut near::Slot, case: u64, session: u64) -> i64 {
    if slot.is_null() {
        return UNKNOWN;
    }
    let Some(arena) = Arena::live() else { return -i64::from(EPERM) };
    // SAFETY: not null, a map value.
    if unsafe { near::generation_of(slot) } != arena.word(table::AT_GENERATION)
        || known::lay(scratch, slot) == 0
    {
        return UNKNOWN;
    }
    let case = noted(arena, case, || near::digest_of(at.dentry, session));
    if case == 0 {
        return 0;
    }
    tell(scratch, case, session)
}

/// Decides on what was aimed at, and has been asked about.
// SAFETY: the name is this function's alone in the object.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_aimed(scratch: *mut Scratch, case: u64, session: u64) -> i64 {
    let Some(arena) = Arena::live() else { return -i64::from(EPERM) };
    if scratch.is_null() {
        return -i64::from(EPERM);
    }
    let mut case = case;
    let (domain, action) = (case as u32, (case >> 32) as u32 & 7);
    let slot = near::slot_for(scratch, case);
    let mut spelt = false;
    let mut reason = 0;
    if near::resume(scratch, slot) != 0 && weigh(scratch, domain, action, 1) == 0 {
        case = heard(arena, scratch, case, session);
        if case == 0 || case & RECORD != 0 {
            near::learn(scratch, slot);
        }
        // What a program becomes is told of by its path, be it recorded or not.
        if case == 0 && action != Action::Exec as u32 {
            return 0;
        }
        spelt = near::complete(scratch, slot) != 0;
        if case == 0 {
            return 0;
        }
        if spelt && case & RECORD != 0 {
            return tell(scratch, case, session);
        }
    }
    if !spelt {
        let end = walk::ended(walk::spell(scratch));
        if end == End::Done {
            reason = weigh(scratch, domain, action, 0);
            near::keep(scratch, case);
            if reason == 0 && case & RECORD == 0 {
                // A walk can take long.
                let Some(arena) = Arena::live() else { return -i64::from(EPERM) };
                case = heard(arena, scratch, case, session);
            }
            if case == 0 {
                return 0;
            }
        } else {
            reason = judge_end(scratch, case, end);
            if reason == NO_NAME {
                return 0;
            }
        }
    }
    let digest = near::digest(scratch, session);
    let code = conclude(scratch, case, session, reason | digest << 32);
    if case & OPENS != 0 && code == 0 && passed::has_spent(scratch) { PAID_FOR } else { code }
}

/// 0 where the decision in the scratch space is a plain yes and nothing else comes of it, else the case.
#[inline(always)]
fn heard(arena: Arena, scratch: *mut Scratch, case: u64, session: u64) -> u64 {
    if !judge::is_plain(&judge::decision(scratch)) {
        return case;
    }
    noted(arena, case, || near::digest(scratch, session))
}

/// The same where it is a plain yes.
#[inline(always)]
fn noted(arena: Arena, case: u64, digest: impl FnOnce() -> u64) -> u64 {
    let flags = arena.flags(case as u32);
    let told = !flags.has(DomainFlags::ALLOWS_NONE)
        && (flags.has(DomainFlags::ALLOWS_EVERY) || records(arena, case, digest() & 0xffff_ffff));
    if !told {
        count(Site::Allowed);
        return 0;
    }
    let may_be_lost = flags.has(DomainFlags::LOSS_ALLOWS) || flags.has(DomainFlags::SHADOW);
    case | RECORD | if may_be_lost { MAY_BE_LOST } else { 0 }
}

/// Decides under one name of a file: 0 or an error number, negative if the file has no name through this mount.
#[inline(always)]
pub(crate) fn decide_spelt(scratch: *mut Scratch, from: From, case: u64, session: u64) -> i64 {
    walk::aim(scratch, from);
    let end = walk::ended(walk::spell(scratch));
    if end == End::NoPath || end == End::Outside {
        return -1;
    }
    passed::about(scratch, from.dentry);
    let reason = if end == End::Done {
        weigh(scratch, case as u32, (case >> 32) as u32 & 7, 0)
    } else {
        end.reason() as u64
    };
    -settle(scratch, case, session, reason)
}

/// What is made of a walk that did not end at the root: the reason, or [`NO_NAME`] where there is nothing to decide on.
#[inline(always)]
fn judge_end(scratch: *mut Scratch, case: u64, end: End) -> u64 {
    let action = (case >> 32) as u32 & 7;
    // SAFETY: a map value.
    if end == End::Detached && ipc::opens(unsafe { get(&raw const (*scratch).walk.from.dentry) }, case as u32)
    {
        return NO_NAME;
    }
    if end != End::NoPath {
        return end.reason() as u64;
    }
    if action == Action::Read as u32 || action == Action::Write as u32 {
        // Pipes, sockets and the like have no name that a rule could mean.
        return NO_NAME;
    }
    emit::no_object(scratch);
    let reason = weigh(scratch, case as u32, action, 0);
    if reason == 0 { Reason::NoPath as u64 | DECIDED } else { reason }
}

/// No reason: see [`judge_end`].
const NO_NAME: u64 = u64::MAX;

/// Records a plain yes, whose decision lies in the scratch space: what [`settle`] comes to then, by the short way.
// SAFETY: the name is this function's alone in the object.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tell(scratch: *mut Scratch, case: u64, session: u64) -> i64 {
    if scratch.is_null() {
        return -i64::from(EPERM);
    }
    // SAFETY: not null, a map value that is the task's own.
    let (facts, answer, policy) = unsafe {
        let decision = &raw const (*scratch).decision;
        (&mut (*scratch).what, Answer(get(&raw const (*decision).answer)), get(&raw const (*decision).policy))
    };
    facts.errno = 0;
    facts.answer = answer.0;
    facts.shadow = 0;
    facts.reason = why(answer) as u16;
    facts.policy = policy as u16 & 0xff;
    facts.kind = EventKind::Decision as u8;
    facts.verdict = Verdict::Allow as u8;
    facts.flags = 0;
    // SAFETY: as above.
    about(facts, unsafe { get(&raw const (*scratch).weighed_in) }, case, session, 0);
    count(Site::Allowed);
    if emit(scratch) == 0 && case & MAY_BE_LOST == 0 { -i64::from(EPERM) } else { 0 }
}
