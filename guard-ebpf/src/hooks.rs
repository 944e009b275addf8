//! The only place where a decision becomes a return code.
//!
//! A program of the hook families below gathers facts and ends in [`place`], [`boundary`] or [`capability`].
//! An earlier program's denial needs no look here: the kernel runs LSM programs as modify-return
//! trampolines and skips the rest once one of them returns an error (`invoke_bpf_mod_ret` in
//! `arch/x86/net/bpf_jit_comp.c`, v6.1 to v7.2).

mod argv;
mod boundary;
mod cgroup;
mod exec;
mod file;
mod inherited;
mod knobs;
mod life;
mod mapping;
mod meta;
mod moves;
mod names;
mod net;
mod net_listen;
mod net_options;
mod net_packet;
mod owner;
mod partial;
mod peer;
mod sysctl;
mod task;
mod unix;

pub(crate) use argv::{Pending, judge_words};
pub(crate) use inherited::{Approved, REMEMBERED};

use guard_common::abi::{Action, BoundaryItem, CAPS_KEPT, EventFlags, EventKind, Op, Reason, Site, Verdict};
use guard_common::table::{self, Answer, DomainFlags, Words};

use crate::emit::{self, What, emit};
use guard_common::decide::Decision;

use crate::judge::{self, Arena, pointer, weigh};
use crate::kernel::{self, Ptr, count, follow, load, member, off};
use crate::maps::SEEN;
use crate::object::{self, End, Place, Scratch};
use crate::subject::Subject;

/// Operation not permitted.
pub(crate) const EPERM: i32 = 1;

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

/// Decides one action on a place of the file tree.
#[inline(always)]
pub(crate) fn place(subject: Subject, action: Action, op: Op, at: Place) -> i32 {
    returned(judge_place(subject.task, at.mount, at.dentry, pack(subject, action, op), subject.session))
}

#[inline(never)]
fn judge_place(task: Ptr, mount: Ptr, dentry: Ptr, case: u64, session: u64) -> i64 {
    let at = Place { mount, dentry };
    let scratch = object::scratch(task);
    let Some(arena) = Arena::live() else { return -i64::from(EPERM) };
    if scratch.is_null() {
        return refuse(arena, case);
    }
    if (case >> 32) as u32 & 7 == Action::Write as u32 {
        let refused = knobs::judge(task, dentry, case, session);
        if refused != 0 {
            return refused;
        }
    }
    let end = object::ended(object::spell(scratch, task, at.mount_address(), at.root(), dentry as u64));
    judge_end(task, scratch, arena, case, session, end, digest(dentry, session))
}

/// Decides under one name of a file; negative if the file has no name through this mount.
#[inline(always)]
fn decide_spelt(
    task: Ptr,
    scratch: *mut Scratch,
    mount: u64,
    root: u64,
    dentry: u64,
    case: u64,
    session: u64,
) -> i64 {
    let end = object::ended(object::spell(scratch, task, mount, root, dentry));
    if end == End::NoPath {
        return -1;
    }
    let Some(arena) = Arena::live() else { return 1 };
    let refused = judge_end(task, scratch, arena, case, session, end, 0);
    i64::from(refused != 0)
}

/// Decides once the walk has ended, one way or another.
#[inline(always)]
fn judge_end(
    task: Ptr,
    scratch: *mut Scratch,
    arena: Arena,
    case: u64,
    session: u64,
    end: End,
    digest: u64,
) -> i64 {
    let action = (case >> 32) as u32 & 7;
    if end == End::NoPath && (action == Action::Read as u32 || action == Action::Write as u32) {
        // Pipes, sockets and the like have no name that a rule could mean.
        return 0;
    }
    let reason = if end == End::Done || end == End::NoPath {
        if end == End::NoPath {
            emit::no_object(scratch);
        }
        weigh(pointer(arena), scratch, case as u32, action)
    } else {
        end.reason() as u64
    };
    let reason = if reason == 0 && end == End::NoPath { Reason::NoPath as u64 | DECIDED } else { reason };
    settle(task, scratch, case, session, reason | digest << 32)
}

/// The reason comes with a decision in the scratch space.
const DECIDED: u64 = 1 << 16;

/// No scratch space: nothing can be decided or recorded. In shadow mode even that lets through.
#[inline(always)]
fn refuse(arena: Arena, case: u64) -> i64 {
    if arena.flags(case as u32).has(DomainFlags::SHADOW) { 0 } else { -i64::from(EPERM) }
}

/// Tells objects apart for `allows: first`: the name and its directory by the kernel's own salted hash,
/// the inode, the session.
#[inline(always)]
fn digest(dentry: Ptr, session: u64) -> u64 {
    let hash: u32 = load(member(dentry, off!(DENTRY_NAME)), 0);
    let directory = number(follow(dentry, off!(DENTRY_PARENT)));
    let mixed = (u64::from(hash) ^ kernel::constant(&kernel::DIGEST_KEY)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ directory.wrapping_mul(0xff51_afd7_ed55_8ccd)
        ^ number(dentry).wrapping_mul(0xc4ce_b9fe_1a85_ec53)
        ^ session;
    mixed >> 32
}

/// The inode number of a dentry, 0 if there is no inode yet.
#[inline(always)]
fn number(dentry: Ptr) -> u64 {
    let inode = follow(dentry, off!(DENTRY_INODE));
    if inode.is_null() { 0 } else { load(inode, off!(INODE_INO)) }
}

/// Turns the outcome in the scratch space, or the reason why there is none, into the call's return value,
/// and records it. `reason` carries a digest of the object in its high half.
#[inline(never)]
pub(crate) fn settle(task: Ptr, scratch: *mut Scratch, case: u64, session: u64, reason: u64) -> i64 {
    if scratch.is_null() {
        return -i64::from(EPERM);
    }
    let Some(arena) = Arena::live() else { return -i64::from(EPERM) };
    let domain = case as u32;
    let flags = arena.flags(domain);
    let why = reason as u16;
    let decision = judge::decision(scratch);
    let decided = why == 0 || reason & DECIDED != 0;
    let mut facts = if decided { from_decision(&decision) } else { fault(flags, why) };
    if why != 0 && decided && facts.reason == Reason::Default as u16 {
        facts.reason = why;
    }
    facts.session = session;
    facts.domain = domain;
    facts.generation = arena.word(table::AT_GENERATION);
    facts.action = (case >> 32) as u8;
    facts.op = (case >> 40) as u8;
    facts.detail = reason >> 32;
    facts.flags |= if case & ADDRESS != 0 { EventFlags::ADDRESS } else { 0 };
    if decision.needs_args && decided && facts.errno == 0 {
        // Not final: argv speaks next, and then it is recorded.
        return 0;
    }
    tally(&facts);
    if facts.errno == 0 && facts.flags & EventFlags::SHADOWED == 0 && !records(flags, &facts, reason >> 32) {
        return 0;
    }
    if emit(task, scratch, &raw const facts) == 0
        && facts.errno == 0
        && !flags.has(DomainFlags::LOSS_ALLOWS)
        && !flags.has(DomainFlags::SHADOW)
    {
        return -i64::from(EPERM);
    }
    i64::from(facts.errno)
}

/// The facts of a decision that the policy made.
#[inline(always)]
fn from_decision(decision: &Decision) -> What {
    let answer = decision.answer;
    let verdict = decision.verdict();
    let shadow = if decision.shadow.is_none() { 0 } else { decision.shadow.0 };
    let reason = match answer.rule() {
        Answer::RULE_DEFAULT => Reason::Default,
        Answer::RULE_BASELINE => Reason::Baseline,
        Answer::RULE_GATEWAY => Reason::Gateway,
        _ => Reason::Rule,
    };
    let errno = match verdict {
        Verdict::Allow => 0,
        // Their place; until they are built, what is not a plain yes is a no.
        Verdict::Throttle | Verdict::Sandbox | Verdict::Escalate | Verdict::Block => -EPERM,
    };
    What {
        session: 0,
        generation: 0,
        detail: 0,
        domain: 0,
        errno,
        answer: answer.0,
        shadow,
        reason: reason as u16,
        policy: u16::from(decision.policy) | u16::from(decision.shadow_policy) << 8,
        kind: EventKind::Decision as u8,
        action: 0,
        op: 0,
        verdict: verdict as u8,
        flags: if shadow != 0 { EventFlags::SHADOWED } else { 0 },
        tail: 0,
    }
}

/// The facts of a decision that no rule made: blocked, unless the whole domain is in shadow mode.
#[inline(always)]
fn fault(flags: DomainFlags, reason: u16) -> What {
    let shadow = flags.has(DomainFlags::SHADOW);
    What {
        session: 0,
        generation: 0,
        detail: 0,
        domain: 0,
        errno: match (shadow, reason == Reason::OtherRules as u16) {
            (true, _) => 0,
            (false, true) => -EXDEV,
            (false, false) => -EPERM,
        },
        answer: Answer::NONE.0,
        shadow: 0,
        reason,
        policy: 0,
        kind: EventKind::Decision as u8,
        action: 0,
        op: 0,
        verdict: if shadow { Verdict::Allow as u8 } else { Verdict::Block as u8 },
        flags: if shadow { EventFlags::SHADOWED } else { 0 },
        tail: 0,
    }
}

#[inline(always)]
fn tally(facts: &What) {
    if facts.flags & EventFlags::SHADOWED != 0 {
        count(Site::ShadowHit);
    }
    count(if facts.errno == 0 { Site::Allowed } else { Site::Blocked });
}

/// Whether an allowed call is recorded.
#[inline(always)]
fn records(flags: DomainFlags, facts: &What, digest: u64) -> bool {
    if flags.has(DomainFlags::ALLOWS_EVERY) {
        return true;
    }
    if flags.has(DomainFlags::ALLOWS_NONE) {
        return false;
    }
    let key = digest << 32 | u64::from(facts.action) << 24 | u64::from(facts.domain & 0xff_ffff);
    if !SEEN.get(&key).is_null() {
        return false;
    }
    if SEEN.set(&key, &facts.generation) != 0 {
        count(Site::SeenFailed);
    }
    true
}

/// One of the boundary's items: blocked unless the policy opens it. `detail` goes into the record.
#[inline(always)]
pub(crate) fn boundary(subject: Subject, item: BoundaryItem, op: Op, detail: u32) -> i32 {
    let why = Reason::Boundary as u64 | (item as u64) << 16 | u64::from(detail) << 32;
    returned(judge_boundary(
        subject.task,
        pack(subject, Action::Boundary, op),
        subject.session,
        item.bit(),
        why,
    ))
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
    returned(judge_boundary(subject.task, case, subject.session, 0, why))
}

#[inline(never)]
fn judge_boundary(task: Ptr, case: u64, session: u64, bit: u64, why: u64) -> i64 {
    let Some(arena) = Arena::live() else { return -i64::from(EPERM) };
    let domain = case as u32;
    if arena.word(table::domain_at(domain) + table::domain::BOUNDARY) & bit != 0 {
        return 0;
    }
    let flags = arena.flags(domain);
    let scratch = object::scratch(task);
    if scratch.is_null() {
        return refuse(arena, case);
    }
    emit::no_object(scratch);
    let mut facts = fault(flags, why as u16);
    facts.session = session;
    facts.domain = domain;
    facts.generation = arena.word(table::AT_GENERATION);
    facts.action = Action::Boundary as u8;
    facts.op = (case >> 40) as u8;
    facts.detail = why >> 16;
    tally(&facts);
    emit(task, scratch, &raw const facts);
    i64::from(facts.errno)
}
