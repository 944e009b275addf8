//! The decision for the parity test: the very functions that the hooks call, asked with the object spelt already. Part
//! of the object so that what is tested is what is shipped; loaded by the test alone, attached by nobody.

use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use guard_common::abi::{Action, Ask, Reason};
use guard_common::decide::Decision;
use guard_common::limits::PATH_MAX;

use crate::address::Key;
use crate::hooks::judge_words;
use crate::judge::{self, Arena};
use crate::judge_key;
use crate::kernel::{self, get, put};
use crate::maps::ASK;
use crate::object::{self, HEAD};

#[raw_tracepoint(tracepoint = "sys_enter")]
pub(crate) fn ask(_: RawTracePointContext) -> i32 {
    let ask = ASK.get(&0);
    let scratch = object::scratch(kernel::current());
    let Some(arena) = Arena::live() else { return 1 };
    if ask.is_null() || scratch.is_null() {
        return 1;
    }
    // SAFETY: a map value.
    let (domain, action, key) =
        unsafe { (get(&raw const (*ask).domain), get(&raw const (*ask).action), get(&raw const (*ask).key)) };
    if key != [0; 3] {
        let action = if action == Action::Listen as u32 { Action::Listen } else { Action::Connect };
        let weighed = judge_key::weigh(arena, domain, action, Key(key));
        return answer(ask, &weighed.decision, weighed.reason);
    }
    // SAFETY: both map values have that much room; an object begins inside it.
    let copied = unsafe {
        put(&raw mut (*scratch).start, kernel::masked(get(&raw const (*ask).start), PATH_MAX as u64 - 1));
        let to = (&raw mut (*scratch).bytes).cast::<u8>().add(HEAD);
        kernel::copy(to, PATH_MAX as u32, (&raw const (*ask).bytes) as u64)
    };
    if !copied {
        return 1;
    }
    let reason = judge::weigh(scratch, domain, action, 0);
    let decision = judge::decision(scratch);
    if action != Action::Exec as u32 || !decision.needs_args || reason != 0 {
        return answer(ask, &decision, reason);
    }
    let reason = if judge_words(arena, scratch, ask) { 0 } else { Reason::ArgvTooLong as u64 };
    answer(ask, &judge::decision(scratch), reason)
}

#[inline(always)]
fn answer(ask: *mut Ask, decision: &Decision, reason: u64) -> i32 {
    // SAFETY: a map value.
    unsafe {
        put(&raw mut (*ask).answer, decision.answer.0);
        put(&raw mut (*ask).policy, u32::from(decision.policy));
        put(&raw mut (*ask).shadow, decision.shadow.0);
        put(&raw mut (*ask).shadow_policy, u32::from(decision.shadow_policy));
        put(&raw mut (*ask).reason, reason);
    }
    0
}
