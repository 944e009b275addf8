//! Task storage that cannot be looked into.
//!
//! Up to 6.1 `bpf_task_storage_get` gives null while anybody on this CPU is inside task storage
//! (`bpf_task_storage_trylock` in kernel/bpf/bpf_task_storage.c, v6.1), and with full preemption that may be
//! a task this one has preempted. Null then means nothing: a task would lose its label, or the room to
//! decide in. There the list that the storage keeps is read without the helper, and what must be written
//! lies in a map of spares. From 6.2 on LSM programs look up without that lock, and the loader says so.

use core::mem::offset_of;
use core::ptr;

use aya_ebpf::helpers::generated as helpers;
use guard_common::abi::offsets::ABSENT;
use guard_common::abi::{Label, Site};
use guard_common::limits;

use crate::hooks::Pending;
use crate::kernel::{self, Ptr, at, count, get, load, off, put};
use crate::maps::{
    BERTHS, BLANK_EXEC, BLANK_SCRATCH, EXECS, LABELS, Map, NEAR, SCRATCH, SPARE_EXECS, SPARE_SCRATCH,
};
use crate::near::Near;
use crate::object::{Berth, Scratch};
use crate::walk;

/// More than the maps of guard and of others that a task can be in.
const ELEMENTS: u32 = 16;

/// Copies a task's label without the helper; 0 if it has none.
#[inline(never)]
pub(crate) fn peek_label(task: Ptr, label: &mut Label) -> u64 {
    let address = peek(task, LABELS.as_ptr() as u64);
    if address == 0 {
        return 0;
    }
    let Some(found) = kernel::read::<Label>(address) else { return 0 };
    count(Site::LabelBusy);
    *label = found;
    1
}

/// The words of the running task's label from where the kernel keeps what it has looked up, if it has lately and is one
/// that can cast: a third of what its helper takes. `storage` is where the task's own lies; of no other task, whose
/// storage could go meanwhile.
#[inline(always)]
pub(crate) fn cached_label(storage: u64) -> Option<[u64; 2]> {
    // Where it is known, so is the rest, see `offsets::CACHE_NEEDS`.
    if off!(LOCAL_STORAGE_CACHE) == ABSENT {
        return None;
    }
    let place: u16 = load(LABELS.as_ptr().cast(), at!(STORAGE_MAP_PLACE));
    let cache = storage + off!(LOCAL_STORAGE_CACHE);
    let [value] = kernel::peek(cache + 8 * u64::from(place));
    let [map] = kernel::peek(value + off!(STORAGE_DATA_MAP));
    let label = kernel::peek(value + off!(STORAGE_DATA_BYTES));
    (map == LABELS.as_ptr() as u64).then_some(label)
}

/// The address of a task's value in the storage map at that address; 0 if it has none.
#[inline(always)]
fn peek(task: Ptr, map: u64) -> u64 {
    let storage: u64 = load(task, at!(TASK_BPF_STORAGE));
    if storage == 0 {
        return 0;
    }
    let mut node = kernel::read::<u64>(storage + off!(LOCAL_STORAGE_LIST)).unwrap_or(0);
    for _ in 0..ELEMENTS {
        if node == 0 {
            return 0;
        }
        let value = node - off!(STORAGE_ELEM_NODE) + off!(STORAGE_ELEM_DATA);
        if kernel::read::<u64>(value + off!(STORAGE_DATA_MAP)) == Some(map) {
            return value + off!(STORAGE_DATA_BYTES);
        }
        node = kernel::read::<u64>(node).unwrap_or(0);
    }
    0
}

/// A task's room in a storage map; null if it has none, or if there is none to be had.
#[inline(always)]
fn room<T, const K: usize, const N: usize, const F: usize>(
    map: &'static Map<K, i32, T, N, F>,
    task: Ptr,
    create: bool,
) -> *mut T {
    // SAFETY: `task` is typed; no initial value; 1 is BPF_LOCAL_STORAGE_GET_F_CREATE.
    unsafe {
        helpers::bpf_task_storage_get(
            map.as_ptr(),
            task.cast_mut().cast(),
            ptr::null_mut(),
            u64::from(create),
        )
        .cast()
    }
}

/// The running task's room to decide in; null if there is no memory. Mostly it is its berth's, which lies there ready:
/// task storage has to be made, cleared and freed for each process. On 6.1 there is no stack for the longer way.
#[inline(always)]
pub(crate) fn scratch(task: Ptr) -> *mut Scratch {
    if off!(STORAGE_BUSY) != 0 {
        return scratch_or_spare(task);
    }
    let berth = berth();
    if berth.is_null() {
        return ptr::null_mut();
    }
    if is_owned(berth, task) { scratch_of(berth) } else { scratch_elsewhere(task, berth) }
}

/// What the running task remembers of directories; null if it has no berth, and then it remembers nothing.
#[inline(always)]
pub(crate) fn near(task: Ptr, create: bool) -> *mut Near {
    if off!(STORAGE_BUSY) != 0 {
        return room(&NEAR, task, create);
    }
    let berth = berth();
    if berth.is_null() || !is_owned(berth, task) {
        return ptr::null_mut();
    }
    // SAFETY: not null, a map value.
    unsafe { &raw mut (*berth).near }
}

/// Owns what is not to be had.
const NOBODY: u64 = 1;

/// The running task's address, as a number.
#[inline(always)]
fn own_address() -> u64 {
    // SAFETY: takes nothing.
    unsafe { helpers::bpf_get_current_task() }
}

/// The one berth that the running task can have.
#[inline(always)]
fn berth() -> *mut Berth {
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    BERTHS.get(&((own_address().wrapping_mul(SPREAD) >> 32) as u32 & (limits::BERTHS - 1)))
}

#[inline(always)]
fn scratch_of(berth: *mut Berth) -> *mut Scratch {
    // SAFETY: not null, a map value; `&raw` makes no reference.
    unsafe { &raw mut (*berth).scratch }
}

/// By the running task's address, and by when it began: the address of one that has gone is another's later, which began
/// later. A thread that runs a new program takes its leader's place and time, and began earlier then than before.
#[inline(always)]
fn is_owned(berth: *mut Berth, task: Ptr) -> bool {
    // SAFETY: not null, a map value.
    let (owner, since) = unsafe { (get(&raw const (*berth).owner), get(&raw const (*berth).born)) };
    // 0 has just been taken: an interrupt's call finds it so.
    owner == own_address() && load::<u64, _, _>(task, at!(TASK_START)) <= since.wrapping_sub(1)
}

/// Its room in task storage if it has any there, because all that is said of one call has to lie in one place; else its
/// berth, if nobody has that. A task on its way out takes none, because nobody would leave it.
#[inline(never)]
fn scratch_elsewhere(task: Ptr, berth: *mut Berth) -> *mut Scratch {
    const EXITING: u32 = 4;
    if load::<u32, _, _>(task, at!(TASK_FLAGS)) & EXITING == 0 {
        // SAFETY: not null, a map value.
        let (owner, since, crowded) =
            unsafe { (&raw mut (*berth).owner, &raw mut (*berth).born, &raw mut (*berth).crowded) };
        if get(crowded) != 0 {
            let room = room(&SCRATCH, task, false);
            if !room.is_null() {
                return room;
            }
        }
        let start: u64 = load(task, at!(TASK_START));
        if get(owner) == own_address() {
            if start <= get(since).wrapping_sub(1) {
                // An interrupt's call has taken it meanwhile.
                return scratch_of(berth);
            }
            // Of one that had this address and did not leave.
            put(owner, NOBODY);
            clear(berth);
        }
        let (before, taken) = kernel::swap(owner, 0, own_address());
        if taken {
            put(since, start + 1);
        }
        if taken || before == own_address() {
            return scratch_of(berth);
        }
        // From now on there may be somebody with this berth who has room in storage.
        put(crowded, 1);
    }
    room(&SCRATCH, task, true)
}

/// A task that goes leaves its berth. One that is not left, because the kernel passed this program over, is left by whoever
/// gets the task's address, and was born later.
#[inline(always)]
pub(crate) fn leave(task: Ptr) {
    if off!(STORAGE_BUSY) != 0 {
        return;
    }
    let berth = berth();
    if berth.is_null() || !is_owned(berth, task) {
        return;
    }
    // What comes in between does not write in what is cleared.
    // SAFETY: not null, a map value; `&raw` makes no reference.
    put(unsafe { &raw mut (*berth).owner }, NOBODY);
    clear(berth);
}

/// Clears a berth that is nobody's, so that whoever is next finds it as new, and lets it be had.
// SAFETY: the name is this function's alone in the object.
#[unsafe(export_name = "clear_berth")]
#[inline(never)]
extern "C" fn clear(berth: *mut Berth) -> u64 {
    if berth.is_null() {
        return 0;
    }
    // SAFETY: not null, a map value; `&raw` makes no reference.
    let (words, owner, since) =
        unsafe { (scratch_of(berth).cast::<u64>(), &raw mut (*berth).owner, &raw mut (*berth).born) };
    walk::overwritten(scratch_of(berth));
    let (mut at, end) = (offset_of!(Scratch, decided_in) / 8, size_of::<Scratch>() / 8);
    // SAFETY: inside the scratch space.
    unsafe {
        // As a loop by ones it would be three times as long.
        while at + 8 <= end {
            put(words.add(at), 0);
            put(words.add(at + 1), 0);
            put(words.add(at + 2), 0);
            put(words.add(at + 3), 0);
            put(words.add(at + 4), 0);
            put(words.add(at + 5), 0);
            put(words.add(at + 6), 0);
            put(words.add(at + 7), 0);
            at += 8;
        }
        while at < end {
            put(words.add(at), 0);
            at += 1;
        }
    }
    put(since, 0);
    // In this order for whoever takes it next, on whatever processor.
    kernel::swap(owner, NOBODY, 0);
    0
}

/// The running task's pending exec; null if it has none.
#[inline(always)]
pub(crate) fn exec(task: Ptr, create: bool) -> *mut Pending {
    if off!(STORAGE_BUSY) == 0 { room(&EXECS, task, create) } else { exec_or_spare(task, create) }
}

#[inline(never)]
fn scratch_or_spare(task: Ptr) -> *mut Scratch {
    spared(&SCRATCH, &SPARE_SCRATCH, &BLANK_SCRATCH, task, true)
}

#[inline(never)]
fn exec_or_spare(task: Ptr, create: bool) -> *mut Pending {
    spared(&EXECS, &SPARE_EXECS, &BLANK_EXEC, task, create)
}

/// A task that goes needs no spare any more.
#[inline(always)]
pub(crate) fn give_back(task: Ptr) {
    if off!(STORAGE_BUSY) == 0 {
        return;
    }
    let key = task as u64;
    if !SPARE_SCRATCH.get(&key).is_null() {
        SPARE_SCRATCH.delete(&key);
    }
    if !SPARE_EXECS.get(&key).is_null() {
        SPARE_EXECS.delete(&key);
    }
}

/// Once a task has had to take a spare it keeps to it, so that all that is said of one call lies in one place. One that
/// is taken on the very way out outlives its task; whoever has its address next finds old bytes in it, as in any room.
#[inline(always)]
fn spared<T, const K: usize, const N: usize, const F: usize, const S: usize, const G: usize>(
    map: &'static Map<K, i32, T, N, F>,
    spares: &'static Map<S, u64, T, G, 0>,
    blank: &'static Map<2, u32, T, 1, 0>,
    task: Ptr,
    create: bool,
) -> *mut T {
    let key = task as u64;
    let spare = spares.get(&key);
    if !spare.is_null() {
        return spare;
    }
    let room = room(map, task, create);
    if !room.is_null() {
        return room;
    }
    let address = peek(task, map.as_ptr() as u64);
    if address == 0 && !create {
        return ptr::null_mut();
    }
    let blank = blank.get(&0);
    // SAFETY: checked for null; a value of the map's type.
    if blank.is_null() || spares.set(&key, unsafe { &*blank }) != 0 {
        return ptr::null_mut();
    }
    let spare = spares.get(&key);
    if !spare.is_null() && address != 0 && !kernel::copy(spare.cast(), size_of::<T>() as u32, address) {
        return ptr::null_mut();
    }
    spare
}
