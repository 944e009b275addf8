//! Whose a cgroup is, for packets and connects: the domain and session of `CGROUPS`, with what the domain says of packets,
//! kept in a small table of its own. A look-up in the kernel's hash maps takes a hundred instructions, the descriptor of a
//! domain eighty; here it is a comparison.
//!
//! A slot holds while the daemon has not changed anything since it was filled: each change of policies or cgroups begins
//! with an epoch of 0, under which nothing is kept or believed, and ends with one that no slot has. The epoch is read
//! before the map and the live generation, so what is filled from older ones has an older epoch. Slots are written under a
//! sequence count that is also their lock; who finds it odd goes to the map. Cgroups that are made or removed need no
//! epoch: ids are not given again, and one that governs nothing is not kept.

use guard_common::abi::CgroupEntry;
use guard_common::table::{self, DomainFlags, KEY_WORDS, Words};

use crate::judge::Arena;
use crate::kernel::{self, get, put, swap};
use crate::maps::{CGROUPS, EPOCH, WHOSE};
use crate::spent;

pub(crate) const SLOTS: u64 = 256;
pub(crate) const SLOT_BYTES: u64 = 128;

/// Words of a slot, by their places.
const COUNT: u64 = 0;
const ID: u64 = 8;
const SINCE: u64 = 16;
/// The domain in the low half, its flags in the high one.
const DOMAIN: u64 = 24;
const SESSION: u64 = 32;
const LIMIT: u64 = 40;
/// The last words of the domain's easy peers, each in its place.
const EASY: u64 = 48;

const _: () = assert!(EASY + 8 * table::EASY as u64 <= SLOT_BYTES);

/// What packets and connects need to know of a cgroup.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub(crate) domain: u32,
    pub(crate) session: u64,
    /// `limits: max_bytes_out`, 0 for none.
    pub(crate) limit: u64,
    /// Whether it is said of the domain that nothing is told of yeses.
    pub(crate) quiet: bool,
    /// Whether the peer that was asked about is one of the domain's easy ones, see [`table::is_easy`].
    pub(crate) easy: bool,
}

/// A word of the slot for a cgroup.
#[inline(always)]
fn word(cgroup: u64, which: u64) -> *mut u64 {
    let slot = kernel::masked(cgroup << SLOT_BYTES.trailing_zeros(), (SLOTS - 1) * SLOT_BYTES);
    WHOSE.at_byte(slot + which)
}

/// Domain and session of a governed cgroup.
#[inline(always)]
pub(crate) fn is(cgroup: u64) -> Option<(u32, u64)> {
    if let Some(known) = is_known(cgroup, 0) {
        return Some((known.domain, known.session));
    }
    let found = look_up(cgroup);
    if found.is_null() {
        return None;
    }
    // SAFETY: not null, an entry of the map.
    unsafe { Some((get(&raw const (*found).domain), get(&raw const (*found).session))) }
}

/// What is known of a governed cgroup if it has been looked up already. `peer` is the last word of the key of an IPv4
/// address that is asked about. In this order because a packet has few registers.
#[inline(always)]
pub(crate) fn is_known(cgroup: u64, peer: u64) -> Option<Known> {
    let at = word(cgroup, 0).cast_const().cast::<u8>();
    let word = |which: u64| get(at.wrapping_add(which as usize).cast::<u64>());
    let count = word(COUNT);
    let epoch = get(EPOCH.word(0));
    if (word(ID) ^ cgroup) | (word(SINCE) ^ epoch) | (count & 1) != 0 || epoch == 0 {
        return None;
    }
    let easy = word(EASY + u64::from(table::easy_place(peer)) * 8) == peer;
    let (domain, session, limit) = (word(DOMAIN), word(SESSION), word(LIMIT));
    let quiet = domain >> 32 & DomainFlags::ALLOWS_NONE != 0;
    (count == word(COUNT)).then_some(Known { domain: domain as u32, session, limit, quiet, easy })
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
    let Some(arena) = Arena::live() else { return 0 };
    let flags = arena.flags(domain);
    if let Some(count) = lock(cgroup) {
        put(word(cgroup, ID), cgroup);
        put(word(cgroup, SINCE), epoch);
        put(word(cgroup, DOMAIN), u64::from(domain) | flags.0 << 32);
        put(word(cgroup, SESSION), session);
        put(word(cgroup, LIMIT), spent::limit(arena, domain));
        for n in 0..table::EASY as u32 {
            put(word(cgroup, EASY + u64::from(n) * 8), easy(arena, flags, n));
        }
        put(word(cgroup, COUNT), count + 2);
        // It may have been removed and forgotten before this was written.
        if CGROUPS.get(&cgroup).is_null() {
            forget(cgroup);
        }
    }
    0
}

/// The last word of the domain's easy peer in this place, if there is one and it is an IPv4 address; else that of no key.
#[inline(always)]
fn easy(arena: Arena, flags: DomainFlags, n: u32) -> u64 {
    let at = (flags.0 >> DomainFlags::EASY_SHIFT) as u32;
    let word = |which: u32| arena.word(at + n * KEY_WORDS as u32 + which);
    if at != 0 && word(0) == 0 && word(1) == 0 { word(2) } else { 0 }
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
