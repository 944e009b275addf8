//! What a session may still send, and which gateways are down: words that decide beside the policy.

use aya_ebpf::helpers::generated as helpers;
use guard_common::abi::Spent;
use guard_common::table::{self, Words};

use crate::address::Key;
use crate::judge::Arena;
use crate::kernel::{add, get, put};
use crate::maps::{CLOSED, DOWN, GATEWAYS, SPENT};

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
    let spent = SPENT.get(&session);
    if spent.is_null() {
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

/// Counts bytes that leave although they do not fit: in shadow mode.
#[inline(always)]
pub(crate) fn overspend(session: u64, length: u32) {
    let spent = SPENT.get(&session);
    if !spent.is_null() {
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
    let spent = SPENT.get(&session);
    u64::from(!spent.is_null() && is_closed(spent, limit))
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
