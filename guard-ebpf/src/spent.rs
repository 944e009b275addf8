//! What a session may still send, and which gateways are down: words that decide beside the policy.

use aya_ebpf::helpers::generated as helpers;
use guard_common::abi::{ACCOUNT_PROBES, Spent, first_account};
use guard_common::limits;
use guard_common::table::{self, Words};

use crate::address::Key;
use crate::judge::Arena;
use crate::kernel::{add, get, put, swap};
use crate::maps::{ACCOUNTS, CLOSED, DOWN, GATEWAYS};

/// The place of an account, so many behind the first that it can have.
#[inline(always)]
fn nth(session: u64, n: u32) -> *mut Spent {
    ACCOUNTS.get(&(first_account(session).wrapping_add(n) & (limits::ACCOUNTS - 1)))
}

#[inline(always)]
fn is_of(place: *const Spent, session: u64) -> bool {
    // SAFETY: checked for null, a value of the map.
    !place.is_null() && unsafe { get(&raw const (*place).session) } == session
}

/// The account of a session, null if it has none.
#[inline(always)]
fn account(session: u64) -> *mut Spent {
    let first = nth(session, 0);
    if is_of(first, session) { first } else { nth(session, further(session)) }
}

/// How far behind its first place an account is; where it is not, a place that is another's or nobody's.
#[inline(never)]
fn further(session: u64) -> u32 {
    let mut n = 1;
    while n < ACCOUNT_PROBES {
        if is_of(nth(session, n), session) {
            return n;
        }
        n += 1;
    }
    0
}

/// Opens the account of a session that has just come to be; false if there is no room.
#[inline(never)]
pub(crate) fn open(session: u64) -> bool {
    let mut n = 0;
    while n < ACCOUNT_PROBES {
        let place = nth(session, n);
        if place.is_null() {
            return false;
        }
        // SAFETY: not null, a value of the map.
        if swap(unsafe { &raw mut (*place).session }, 0, session).1 {
            // A packet of whoever had it before may have come by late.
            // SAFETY: as above.
            unsafe {
                put(&raw mut (*place).bytes, 0);
                put(&raw mut (*place).closed_at, 0);
            }
            return true;
        }
        n += 1;
    }
    false
}

/// The session is over.
#[inline(never)]
pub(crate) fn close(session: u64) -> u64 {
    let mut n = 0;
    while n < ACCOUNT_PROBES {
        let place = nth(session, n);
        if is_of(place, session) {
            // SAFETY: not null, a value of the map.
            unsafe {
                put(&raw mut (*place).bytes, 0);
                put(&raw mut (*place).closed_at, 0);
                put(&raw mut (*place).session, 0);
            }
        }
        n += 1;
    }
    0
}

/// What became of a packet's bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spending {
    Fits,
    /// The first that does not fit. It closes the budget, so that no smaller one slips through behind it.
    Closes,
    /// Closed already.
    Closed,
}

/// `limits: max_bytes_out` of a domain, 0 for none.
#[inline(always)]
pub(crate) fn limit(arena: Arena, domain: u32) -> u64 {
    arena.word(table::domain_at(domain) + table::domain::BYTES_OUT)
}

/// Counts bytes that are about to leave. A session that the map does not know has gone with its cgroup: its last packets
/// do not go.
#[inline(always)]
pub(crate) fn spend(session: u64, limit: u64, length: u32) -> Spending {
    let spent = account(session);
    if !is_of(spent, session) {
        return Spending::Closed;
    }
    if is_closed(spent, limit) {
        return Spending::Closed;
    }
    // SAFETY: not null, a value of the map.
    let bytes = unsafe { &raw mut (*spent).bytes };
    let before = add(bytes, u64::from(length));
    if before + u64::from(length) <= limit {
        return Spending::Fits;
    }
    add(bytes, u64::from(length).wrapping_neg());
    // SAFETY: as above.
    unsafe { put(&raw mut (*spent).closed_at, limit) };
    CLOSED.happens();
    Spending::Closes
}

/// Counts bytes that are about to leave if they clearly fit; if not nothing has happened.
#[inline(always)]
pub(crate) fn fits(session: u64, limit: u64, length: u32) -> bool {
    let spent = nth(session, 0);
    if !is_of(spent, session) || is_closed(spent, limit) {
        return false;
    }
    // SAFETY: not null, a value of the map.
    let bytes = unsafe { &raw mut (*spent).bytes };
    if add(bytes, u64::from(length)) + u64::from(length) <= limit {
        return true;
    }
    add(bytes, u64::from(length).wrapping_neg());
    false
}

/// Counts bytes that leave although they do not fit: in shadow mode.
#[inline(always)]
pub(crate) fn overspend(session: u64, length: u32) {
    let spent = account(session);
    if is_of(spent, session) {
        // SAFETY: not null, a value of the map.
        add(unsafe { &raw mut (*spent).bytes }, u64::from(length));
    }
}

/// Has the session nothing left to send?
#[inline(always)]
pub(crate) fn is_spent(session: u64, limit: u64) -> bool {
    limit != 0 && CLOSED.happened() && look_up_spent(session, limit) != 0
}

/// A function of its own, as the one below: its callers have no stack to spare for a key.
#[inline(never)]
fn look_up_spent(session: u64, limit: u64) -> u64 {
    let spent = account(session);
    u64::from(is_of(spent, session) && is_closed(spent, limit))
}

/// Another limit opens it again.
#[inline(always)]
fn is_closed(spent: *const Spent, limit: u64) -> bool {
    // SAFETY: not null, a value of the map.
    limit != 0 && unsafe { get(&raw const (*spent).closed_at) } == limit
}

/// Is this the address of a gateway that the daemon found down a moment ago? What it says has an end, so that a
/// daemon that has gone keeps nobody from a gateway that is back.
#[inline(always)]
pub(crate) fn is_down(key: Key) -> bool {
    DOWN.happened() && look_up_down(key.0[0], key.0[1], key.0[2]) != 0
}

#[inline(never)]
fn look_up_down(first: u64, second: u64, third: u64) -> u64 {
    let until = GATEWAYS.get(&[first, second, third]);
    // SAFETY: checked for null, a value of the map; a helper that takes nothing.
    u64::from(!until.is_null() && unsafe { get(until) > helpers::bpf_ktime_get_boot_ns() })
}
