//! Whose a cgroup is, for packets: the domain and session of `CGROUPS`, kept in a small table of its own. A look-up in the
//! kernel's hash maps takes a hundred instructions; here it is a comparison.
//!
//! A slot holds while the daemon has not changed anything since it was filled: each change begins with an epoch of 0,
//! under which nothing is kept or believed, and ends with one that no slot has. The epoch is read before the map, so
//! what is filled from an older map has an older epoch. Slots are written under a sequence count that is also their
//! lock; who finds it odd goes to the map. Cgroups that are made or removed need no epoch: ids are not given again,
//! and one that governs nothing is not kept.

use guard_common::abi::CgroupEntry;

use crate::kernel::{self, get, put, swap};
use crate::maps::{CGROUPS, EPOCH, WHOSE};

pub(crate) const SLOTS: u64 = 256;
pub(crate) const SLOT_BYTES: u64 = 64;

/// Words of a slot, by their places.
const COUNT: u64 = 0;
const ID: u64 = 8;
const SINCE: u64 = 16;
const DOMAIN: u64 = 24;
const SESSION: u64 = 32;

/// A word of the slot for a cgroup.
#[inline(always)]
fn word(cgroup: u64, which: u64) -> *mut u64 {
    let slot = kernel::masked(cgroup << SLOT_BYTES.trailing_zeros(), (SLOTS - 1) * SLOT_BYTES);
    WHOSE.at_byte(slot + which)
}

/// Domain and session of a governed cgroup.
#[inline(always)]
pub(crate) fn is(cgroup: u64) -> Option<(u32, u64)> {
    if let Some(known) = is_known(cgroup) {
        return Some(known);
    }
    let found = look_up(cgroup);
    if found.is_null() {
        return None;
    }
    // SAFETY: not null, an entry of the map.
    unsafe { Some((get(&raw const (*found).domain), get(&raw const (*found).session))) }
}

/// The same if it has been looked up already.
#[inline(always)]
pub(crate) fn is_known(cgroup: u64) -> Option<(u32, u64)> {
    let epoch = get(EPOCH.word(0));
    let at = word(cgroup, 0).cast_const().cast::<u8>();
    let word = |which: u64| get(at.wrapping_add(which as usize).cast::<u64>());
    let count = word(COUNT);
    let (id, since, domain, session) = (word(ID), word(SINCE), word(DOMAIN), word(SESSION));
    let holds = (id ^ cgroup) | (since ^ epoch) | (count & 1) | (count ^ word(COUNT)) == 0 && epoch != 0;
    holds.then_some((domain as u32, session))
}

#[inline(always)]
fn look_up(cgroup: u64) -> *const CgroupEntry {
    let epoch = get(EPOCH.word(0));
    let entry = CGROUPS.get(&cgroup);
    if !entry.is_null() && epoch != 0 {
        // SAFETY: not null, an entry of the map.
        unsafe { keep(cgroup, epoch, get(&raw const (*entry).domain), get(&raw const (*entry).session)) };
    }
    entry
}

/// Several at once: whoever takes the lock writes.
#[inline(never)]
fn keep(cgroup: u64, epoch: u64, domain: u32, session: u64) -> u64 {
    if let Some(count) = lock(cgroup) {
        put(word(cgroup, ID), cgroup);
        put(word(cgroup, SINCE), epoch);
        put(word(cgroup, DOMAIN), u64::from(domain));
        put(word(cgroup, SESSION), session);
        put(word(cgroup, COUNT), count + 2);
        // It may have been removed and forgotten before this was written.
        if CGROUPS.get(&cgroup).is_null() {
            forget(cgroup);
        }
    }
    0
}

/// The cgroup is no more, and out of the map. Who is writing its slot now will look there again.
#[inline(always)]
pub(crate) fn forget(cgroup: u64) {
    if let Some(count) = lock(cgroup) {
        if get(word(cgroup, ID)) == cgroup {
            put(word(cgroup, ID), 0);
            put(word(cgroup, SINCE), 0);
        }
        put(word(cgroup, COUNT), count + 2);
    }
}

#[inline(always)]
fn lock(cgroup: u64) -> Option<u64> {
    let count = get(word(cgroup, COUNT));
    (count & 1 == 0 && swap(word(cgroup, COUNT), count, count + 1).1).then_some(count)
}
