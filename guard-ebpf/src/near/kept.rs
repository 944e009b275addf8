//! A directory is written down, with the states behind its path, and its path is put together again from there.

use guard_common::limits::{PATH_MAX, POLICIES_PER_DOMAIN};
use guard_common::table::{self, Words};

use super::{DIRECTORY, GENERATION, KEY, LONGEST, NUMBER, SEQUENCES, SERIAL, Slot, slot};
use crate::glide::glide;
use crate::judge::Arena;
use crate::kernel::{self, get, put};
use crate::known;
use crate::object::{HEAD, Scratch};
use crate::walk;

/// Directories up to this length are copied by words.
const BY_WORDS: u64 = 64;

/// Puts the directory in front of the last component: the whole path is wanted. 0 if there is no room for it.
// SAFETY: the name is this function's alone in the object.
#[unsafe(export_name = "near_complete")]
#[inline(never)]
pub(crate) extern "C" fn complete(scratch: *mut Scratch, slot: *mut Slot) -> u64 {
    if scratch.is_null() || slot.is_null() {
        return 0;
    }
    // SAFETY: not null, map values.
    unsafe {
        let (length, start) = (get(&raw const (*slot).length), get(&raw const (*scratch).start));
        if length >= LONGEST || length > start {
            return 0;
        }
        let bytes = (&raw mut (*scratch).bytes).cast::<u8>().add(HEAD);
        let path = (&raw const (*slot).path).cast::<u8>();
        if length <= BY_WORDS {
            // From its end; the last word brings along what lies in front of it, to where nothing is.
            let to = bytes.add(kernel::masked(start, PATH_MAX as u64 - 1) as usize);
            let from = path.add(kernel::masked(length, 2 * BY_WORDS - 1) as usize);
            let mut done = 8;
            while done <= BY_WORDS as usize {
                kernel::put_anywhere(to.sub(done), kernel::get_anywhere(from.sub(done)));
                if done as u64 >= length {
                    break;
                }
                done += 8;
            }
        } else {
            let at = kernel::masked(start - length, PATH_MAX as u64 - 1) as usize;
            if !kernel::copy(bytes.add(at), kernel::masked(length, 511) as u32, path as u64) {
                return 0;
            }
        }
        put(&raw mut (*scratch).start, start - length);
        walk::spelt(scratch, get((&raw const (*slot).key).cast::<u64>().add(SEQUENCES)));
    }
    1
}

/// The name that was asked about is a plain yes, and is remembered as one.
#[inline(always)]
pub(crate) fn learn(scratch: *mut Scratch, slot: *mut Slot) {
    if !slot.is_null() {
        // SAFETY: not null, a map value.
        unsafe { known::learn(scratch, slot) };
    }
}

/// Remembers the directory of the path that has just been spelt.
// SAFETY: the name is this function's alone in the object.
#[unsafe(export_name = "near_keep")]
#[inline(never)]
pub(crate) extern "C" fn keep(scratch: *mut Scratch, case: u64) -> u64 {
    let Some(arena) = Arena::live() else { return 0 };
    if scratch.is_null() {
        return 0;
    }
    // SAFETY: not null, map values.
    unsafe {
        let question = &raw mut (*scratch).near;
        let key = (&raw mut (*question).key).cast::<u64>();
        let (start, name) = (get(&raw const (*scratch).start), get(&raw const (*question).length));
        let length = (PATH_MAX as u64).wrapping_sub(start).wrapping_sub(name);
        if length == 0
            || length >= LONGEST
            || name == 0
            // Nothing tells this directory from one that gets its memory and its number: stacked file systems.
            || get(key.add(SERIAL)) == 0
            // Renamed in between: the walk has met another parent or name than the question.
            || get(&raw const (*question).parent) != get(key.add(DIRECTORY))
            || get(&raw const (*question).walked) != name
            || get(&raw const (*scratch).walk.from.dentry) == get(&raw const (*scratch).walk.from.root)
        {
            return 0;
        }
        let slot = slot(kernel::current(), get(key.add(NUMBER)), case, true);
        if slot.is_null() {
            return 0;
        }
        // Nothing holds until all of it is there.
        let kept = (&raw mut (*slot).key).cast::<u64>();
        put(kept.add(GENERATION), 0);
        known::forget(slot);
        put(key.add(SEQUENCES), get(&raw const (*question).sequences));
        let from = (&raw const (*scratch).bytes).cast::<u8>();
        let at = kernel::masked(start, PATH_MAX as u64 - 1) as usize;
        if !kernel::copy(
            (&raw mut (*slot).path).cast(),
            kernel::masked(length, 511) as u32,
            from.add(HEAD + at) as u64,
        ) {
            return 0;
        }
        put(&raw mut (*slot).length, length);
        let (domain, action) = (case as u32, (case >> 32) as u32 & 7);
        let policies = arena.flags(domain).policies();
        let mut n = 0;
        while n < POLICIES_PER_DOMAIN as u32 {
            let starts_at = table::domain_at(domain)
                + table::domain::ACTIONS
                + (action * POLICIES_PER_DOMAIN as u32 + n) * 2;
            let starts = if n < policies { arena.word(starts_at) } else { 0 };
            let first = glide(crate::judge::pointer(arena), scratch, start, length, starts as u32);
            let second = glide(crate::judge::pointer(arena), scratch, start, length, (starts >> 32) as u32);
            put((&raw mut (*slot).states).cast::<u64>().add(n as usize), first | second << 32);
            n += 1;
        }
        let mut i = 0;
        while i < KEY {
            if i != GENERATION {
                put(kept.add(i), get(key.add(i)));
            }
            i += 1;
        }
        put(kept.add(GENERATION), arena.word(table::AT_GENERATION));
    }
    1
}
