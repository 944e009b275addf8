//! Spending from a throttle's budget: one word for each session and rule, swapped only if nobody else did.

use aya_ebpf::helpers::generated as helpers;
use guard_common::abi::{BudgetKey, BudgetWord, Site};
use guard_common::budget::{Charge, charge};
use guard_common::table;

use crate::judge::Arena;
use crate::kernel::{self, count, get};
use crate::maps::BUDGETS;

/// Attempts to swap the word. On a machine where this many others come first each time, the call counts as
/// over budget.
const TRIES: u32 = 32;

/// Charges one call; 0 if it may go on, else the nanoseconds until the next one fits.
// SAFETY: the name is this function's alone in the object.
#[unsafe(export_name = "spend_budget")]
#[inline(never)]
pub(crate) extern "C" fn spend(at: u32, session: u64) -> u64 {
    let Some(arena) = Arena::live() else { return 1 };
    let budget = table::budget_from(&arena, at);
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
    for _ in 0..TRIES {
        let wait = attempt(spent, at, now);
        if wait != AGAIN {
            return wait;
        }
    }
    count(Site::BudgetFailed);
    interval | 1
}

/// Somebody else was first.
const AGAIN: u64 = u64::MAX;

/// Charges the budget's word once.
// SAFETY: the name is this function's alone in the object.
#[unsafe(export_name = "attempt_to_spend")]
#[inline(never)]
extern "C" fn attempt(spent: *mut BudgetWord, at: u32, now: u64) -> u64 {
    let Some(arena) = Arena::live() else { return 1 };
    if spent.is_null() {
        return 1;
    }
    // SAFETY: not null, a map value.
    let (seen, since) = unsafe { (get(&raw const (*spent).word), get(&raw const (*spent).since)) };
    match charge(table::budget_from(&arena, at), seen, since, now) {
        Charge::Over(0 | AGAIN) => 1,
        Charge::Over(wait) => wait,
        Charge::Paid(next) => {
            // SAFETY: as above.
            let (_, swapped) = kernel::swap(unsafe { &raw mut (*spent).word }, seen, next);
            if swapped { 0 } else { AGAIN }
        }
    }
}
