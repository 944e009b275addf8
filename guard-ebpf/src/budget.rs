//! Spending from a throttle's budget: one word for each session and rule, swapped only if nobody else did.

use aya_ebpf::helpers::generated as helpers;
use guard_common::abi::{BudgetKey, BudgetWord, Site};
use guard_common::budget::{Charge, charge};
use guard_common::table;

use crate::judge::Arena;
use crate::kernel::{self, count, get};
use crate::maps::{ArenaValue, BUDGETS};

/// Attempts to swap the word. On a machine where this many others come first each time, the call counts as
/// over budget.
const TRIES: u32 = 32;

/// Charges one call; 0 if it may go on, else the nanoseconds until the next one fits.
#[inline(never)]
pub(crate) fn spend(arena: *const ArenaValue, at: u32, session: u64) -> u64 {
    if arena.is_null() {
        return 1;
    }
    let budget = table::budget_from(&Arena::of(arena), at);
    let interval = budget.interval;
    let key = BudgetKey { session, rule: budget.rule };
    // SAFETY: takes nothing.
    let now = unsafe { helpers::bpf_ktime_get_boot_ns() };
    let mut spent = BUDGETS.get(&key);
    if spent.is_null() {
        // Somebody else may be first; what counts is that there is one.
        BUDGETS.insert(&key, &BudgetWord { word: 0, since: now });
        spent = BUDGETS.get(&key);
    }
    if spent.is_null() {
        count(Site::BudgetFailed);
        return interval | 1;
    }
    // SAFETY: not null, a map value.
    let (mut seen, since) = unsafe { (get(&raw const (*spent).word), get(&raw const (*spent).since)) };
    for _ in 0..TRIES {
        match charge(budget, seen, since, now) {
            Charge::Over(wait) => return if wait == 0 { 1 } else { wait },
            Charge::Paid(next) => {
                // SAFETY: as above.
                let (was, swapped) = kernel::swap(unsafe { &raw mut (*spent).word }, seen, next);
                if swapped {
                    return 0;
                }
                seen = was;
            }
        }
    }
    count(Site::BudgetFailed);
    interval | 1
}
