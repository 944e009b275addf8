//! Sandboxes: a one-way move of a task, with all threads of its process, into the domain of a tighter profile.
//!
//! A process of one thread carries the move in its label. One of several carries it in a map too, where each
//! thread finds it at its next call: the id of a process and the start of its leader outlast an exec by any
//! of its threads, a leader's task does not. Each move starts from where the process is, so two threads that
//! are moved at once end up in the sandbox of both.

use guard_common::abi::{GroupKey, LabelFlags, Site};
use guard_common::limits::POLICIES_PER_DOMAIN;
use guard_common::table::{self, Words};

use crate::judge::Arena;
use crate::kernel::{self, Ptr, at, count, follow, get, load, put};
use crate::maps::{GROUPS, MOVED};
use crate::object::Scratch;
use crate::subject;

/// Attempts to be the last to move a process: more than it can have moves at once.
const TRIES: u32 = 16;
/// Sandboxes that one exec can lead to: a script's and its interpreter's, and their words'.
pub(crate) const BORN: usize = 4;

/// A task's process, for as long as it lives.
#[inline(always)]
fn group(task: Ptr) -> GroupKey {
    GroupKey { start: subject::started(task), tgid: load(task, at!(TASK_TGID)), _pad: 0 }
}

/// Is the task the only one of its process?
#[inline(always)]
fn is_alone(task: Ptr) -> bool {
    load::<u32, _, _>(follow(kernel::loose(task), at!(TASK_SIGNAL)), at!(SIGNAL_THREADS)) == 1
}

/// Where the move of another thread has put the task's process; 0 for nowhere.
#[inline(always)]
pub(crate) fn moved(task: Ptr) -> u32 {
    if MOVED.happened() { look_up_move(task) as u32 } else { 0 }
}

#[inline(never)]
fn look_up_move(task: Ptr) -> u64 {
    let place = GROUPS.get(&group(task));
    if place.is_null() { 0 } else { get(place) }
}

/// A process is gone. What is left of it would take the room of others' moves.
#[inline(always)]
pub(crate) fn ends(task: Ptr) {
    if MOVED.happened() {
        GROUPS.delete(&group(task));
    }
}

/// A profile of a unit, in one word.
#[inline(always)]
pub(crate) fn sandbox(unit: u32, profile: u8) -> u64 {
    u64::from(unit) << 8 | u64::from(profile)
}

/// The domain that a sandbox leads to from `domain`, 0 for none, or if they are not of the live generation:
/// another knows them by other numbers.
// SAFETY: the name is this function's alone in the object.
#[unsafe(export_name = "led_to")]
#[inline(never)]
extern "C" fn led(domain: u32, sandbox: u64, generation: u64) -> u32 {
    let Some(arena) = Arena::live() else { return 0 };
    if arena.word(table::AT_GENERATION) != generation {
        return 0;
    }
    let at = table::domain_at(domain) + table::domain::POLICIES;
    let policies = arena.flags(domain).policies();
    let mut n = 0;
    while n < POLICIES_PER_DOMAIN as u32 {
        if n < policies && arena.word(at + n) as u32 == (sandbox >> 8) as u32 {
            return table::derived(&arena, domain, n, sandbox as u8);
        }
        n += 1;
    }
    0
}

/// Moves the running task's process from `domain` into a profile; gives the domain it is in then, 0 if it
/// cannot be there, which the caller must treat as a refusal.
// SAFETY: the name is this function's alone in the object.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn confine(domain: u32, sandbox: u64, generation: u64) -> u64 {
    let task = kernel::current();
    let to = led(domain, sandbox, generation);
    if to == 0 {
        count(Site::SandboxFailed);
        return 0;
    }
    let label = subject::label_of(task);
    // A process that was moved when it had more threads keeps being looked for in the map, and so is one whose task's
    // storage is busy.
    if !is_alone(task) || moved(task) != 0 || label.is_null() {
        let now = together(task, domain, sandbox, generation);
        if now == 0 {
            count(Site::SandboxFailed);
        }
        return u64::from(now);
    }
    // SAFETY: not null, a label in task storage; only the task itself changes these words.
    unsafe {
        put(&raw mut (*label).domain, to);
        put(&raw mut (*label).flags, get(&raw const (*label).flags) | LabelFlags::SANDBOXED);
    }
    u64::from(to)
}

/// Moves a process of several threads.
#[inline(always)]
fn together(task: Ptr, domain: u32, sandbox: u64, generation: u64) -> u32 {
    let key = group(task);
    GROUPS.insert(&key, &u64::from(domain));
    let place = GROUPS.get(&key);
    if place.is_null() {
        return 0;
    }
    MOVED.happens();
    let mut was = get(place);
    let mut tries = 0;
    while tries < TRIES {
        let to = led(was as u32, sandbox, generation);
        if to == 0 {
            return 0;
        }
        let (found, swapped) = kernel::swap(place, was, u64::from(to));
        if swapped {
            return to;
        }
        was = found;
        tries += 1;
    }
    0
}

/// Keeps in mind that the image of the exec under way is to be born in a profile; 0 if there is no room, or if it is
/// to be born in another one under other policies.
// SAFETY: the name is this function's alone in the object.
#[unsafe(export_name = "bear_later")]
#[inline(never)]
pub(crate) extern "C" fn bear(scratch: *mut Scratch, sandbox: u64) -> u64 {
    if scratch.is_null() {
        return 0;
    }
    // SAFETY: not null, a map value; the index is masked.
    unsafe {
        let generation = get(&raw const (*scratch).what.generation);
        let births = get(&raw const (*scratch).births);
        if births >= BORN as u64 || births != 0 && get(&raw const (*scratch).born_in) != generation {
            return 0;
        }
        let at = kernel::masked(births, BORN as u64 - 1) as usize;
        put((&raw mut (*scratch).born).cast::<u64>().add(at), sandbox);
        put(&raw mut (*scratch).born_in, generation);
        put(&raw mut (*scratch).births, births + 1);
    }
    1
}

/// The new image is there: the process lives on in whatever its exec led to from `domain`. 0 if it cannot.
#[inline(always)]
pub(crate) fn deliver(scratch: *mut Scratch, domain: u32) -> u32 {
    let Some(arena) = Arena::live() else { return 0 };
    // SAFETY: `scratch` is a map value.
    let (births, generation) =
        unsafe { (get(&raw const (*scratch).births), get(&raw const (*scratch).born_in)) };
    if births != 0 && generation != arena.word(table::AT_GENERATION) {
        // Units are known by other numbers now.
        return 0;
    }
    let mut now = domain;
    let mut i = 0;
    while i < BORN {
        if (i as u64) < births {
            // SAFETY: `scratch` is a map value.
            let birth = unsafe { get((&raw const (*scratch).born).cast::<u64>().add(i)) };
            now = confine(now, birth, generation) as u32;
            if now == 0 {
                return 0;
            }
        }
        i += 1;
    }
    now
}

/// A new exec begins.
#[inline(always)]
pub(crate) fn forget(scratch: *mut Scratch) {
    // SAFETY: `scratch` is a map value.
    unsafe { put(&raw mut (*scratch).births, 0) };
}
