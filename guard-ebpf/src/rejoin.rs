//! Policies that come to a cgroup, or go, while tasks run in it. A label names the domain that its task entered; after each
//! change of policies a task asks once what its cgroup's domain is now, and takes that on if its own policies are all in
//! it. So nobody gets rid of a policy by where it is, and what a sandbox has moved stays.

use guard_common::abi::{CgroupEntry, Label, LabelFlags};
use guard_common::limits::POLICIES_PER_DOMAIN;
use guard_common::table::{self, DomainFlags, Words};

use crate::cgroups;
use crate::judge::{self, Arena};
use crate::kernel::{self, get, put};
use crate::maps::{ArenaValue, CGROUPS, CHANGES};
use crate::subject;

/// Looks whether policies have changed since the running task's label was looked at.
#[inline(always)]
pub(crate) fn renew(label: &mut Label) {
    let changes = get(CHANGES.word(0)) as u32;
    if !is_of(changes, label.flags) {
        rejoined(&raw mut *label, changes);
    }
}

/// Has a task taken on what applies to its cgroup now?
#[inline(always)]
pub(crate) fn is_renewed(label: &Label) -> bool {
    is_of(get(CHANGES.word(0)) as u32, label.flags)
}

#[inline(always)]
fn is_of(changes: u32, flags: u32) -> bool {
    (flags ^ changes << LabelFlags::CHANGES_SHIFT) >> LabelFlags::CHANGES_SHIFT == 0
}

// SAFETY: the name is this function's alone in the object.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rejoined(label: *mut Label, changes: u32) -> u64 {
    if label.is_null() {
        return 0;
    }
    let Some(arena) = Arena::live() else { return 0 };
    // SAFETY: not null, the caller's.
    let label = unsafe { &mut *label };
    let flags = label.flags & ((1 << LabelFlags::CHANGES_SHIFT) - 1) | changes << LabelFlags::CHANGES_SHIFT;
    let mut domain = label.domain;
    if flags & LabelFlags::SANDBOXED == 0 {
        let of = cgroups(label.session);
        if of != 0 && of != domain && follows(arena, domain, of) {
            domain = of;
        }
    }
    label.domain = domain;
    label.flags = flags;
    let place = subject::label_of(kernel::current());
    if !place.is_null() {
        // In one piece: another look may come between.
        put(place.cast::<u64>(), u64::from(domain) | u64::from(flags) << 32);
    }
    1
}

/// The domain of the running task's cgroup, if it is of the session, else of the session's own cgroup; 0 if that is no
/// more.
#[inline(always)]
fn cgroups(session: u64) -> u32 {
    let entry = CGROUPS.get(&cgroups::current_cgroup());
    if !entry.is_null() && of(entry).1 == session {
        return of(entry).0;
    }
    let entry = CGROUPS.get(&session);
    if entry.is_null() { 0 } else { of(entry).0 }
}

#[inline(always)]
fn of(entry: *const CgroupEntry) -> (u32, u64) {
    // SAFETY: checked for null, an entry of the map.
    unsafe { (get(&raw const (*entry).domain), get(&raw const (*entry).session)) }
}

/// The domain that an approval counts for whose socket's cgroup is in `now`: its own, which may be a sandbox's, unless all
/// of its policies are in the other.
// SAFETY: the name is this function's alone in the object.
#[unsafe(export_name = "domain_of_approval")]
#[inline(never)]
pub(crate) extern "C" fn of_approval(domain: u32, now: u32) -> u32 {
    let Some(arena) = Arena::live() else { return domain };
    if follows(arena, domain, now) { now } else { domain }
}

/// Do all policies of the one domain apply in the other?
#[inline(always)]
pub(crate) fn binds_as_much(domain: u32, other: u32) -> bool {
    domain == other || of_approval(domain, other) == other
}

/// Has the one domain all policies of the other, or all that are left of them?
#[inline(always)]
fn follows(arena: Arena, from: u32, to: u32) -> bool {
    let (now, then) = (arena.flags(from), arena.flags(to));
    if !now.has(DomainFlags::LIVE | DomainFlags::LEFT) || !then.has(DomainFlags::LIVE) {
        return false;
    }
    // By sums, because each branch would double what the verifier goes through.
    let count = u64::from(now.policies());
    let mut missing = 0;
    let mut n = 0;
    while n < POLICIES_PER_DOMAIN as u32 {
        let found = has(judge::pointer(arena), to, unit(arena, from, n), then.policies());
        missing |= (found ^ 1) & kernel::is_below(n.into(), count);
        n += 1;
    }
    missing == 0
}

/// 1 if one of a domain's policies is this one. A function of its own for the room on the stack.
#[inline(never)]
fn has(arena: *const ArenaValue, domain: u32, wanted: u64, policies: u32) -> u64 {
    let arena = Arena::of(arena);
    let mut found = 0;
    let mut n = 0;
    while n < POLICIES_PER_DOMAIN as u32 {
        let same = kernel::is_below(unit(arena, domain, n) ^ wanted, 1);
        found |= same & kernel::is_below(n.into(), policies.into());
        n += 1;
    }
    found
}

/// The n-th policy of a domain, by its number.
#[inline(always)]
fn unit(arena: Arena, domain: u32, n: u32) -> u64 {
    arena.word(table::domain_at(domain) + table::domain::POLICIES + n) & u64::from(u32::MAX)
}
