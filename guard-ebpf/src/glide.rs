//! An automaton's way over a part of the object: over a directory to where its names begin, and over a name from there.

use core::ffi::c_void;

use aya_ebpf::helpers::generated as helpers;
use guard_common::limits::PATH_MAX;
use guard_common::table;

use crate::judge::Arena;
use crate::kernel::{self, get, put};
use crate::maps::ArenaValue;
use crate::object::{HEAD, Scratch};

/// The way of one automaton over some bytes.
#[repr(C)]
pub(crate) struct Glide {
    at: u64,
    length: u64,
    state: u64,
}

/// Bytes in one call of the loop's body.
const BLOCK: u64 = 16;

/// What the loop over the bytes needs.
struct Gliding {
    arena: Arena,
    scratch: *mut Scratch,
}

/// The state of an automaton behind `length` bytes of the object from `at` on.
// SAFETY: the name is this function's alone in the object.
#[unsafe(export_name = "glide")]
#[inline(never)]
pub(crate) extern "C" fn glide(
    arena: *const ArenaValue,
    scratch: *mut Scratch,
    at: u64,
    length: u64,
    state: u32,
) -> u64 {
    if arena.is_null() || scratch.is_null() || state == table::DEAD || length > PATH_MAX as u64 {
        return u64::from(table::DEAD);
    }
    let mut context = Gliding { arena: Arena::of(arena), scratch };
    // SAFETY: a map value; the callback takes the context it is given here.
    unsafe {
        let glide = &raw mut (*scratch).near.glide;
        put(&raw mut (*glide).at, at);
        put(&raw mut (*glide).length, length);
        put(&raw mut (*glide).state, u64::from(state));
        helpers::bpf_loop(
            length.div_ceil(BLOCK) as u32,
            block as unsafe extern "C" fn(u64, *mut c_void) -> i64 as *mut c_void,
            (&raw mut context).cast(),
            0,
        );
        get(&raw const (*glide).state)
    }
}

/// One block of bytes, the last one shorter.
unsafe extern "C" fn block(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: the context is the one `glide` gives; the place is masked to the bytes, which go on for more than a
    // block behind it.
    unsafe {
        let gliding = context.cast::<Gliding>();
        let (arena, scratch) = ((*gliding).arena, (*gliding).scratch);
        let glide = &raw mut (*scratch).near.glide;
        let (at, length) = (get(&raw const (*glide).at), get(&raw const (*glide).length));
        let done = index * BLOCK;
        let left = length - done;
        let at = kernel::masked(at + done, PATH_MAX as u64 - 1) as usize;
        let bytes = (&raw const (*scratch).bytes).cast::<u8>().add(HEAD + at);
        let mut state = get(&raw const (*glide).state) as u32;
        let mut i = 0;
        while i < BLOCK as usize {
            if i as u64 >= left {
                break;
            }
            state = table::step(&arena, state, get(bytes.add(i)));
            i += 1;
        }
        put(&raw mut (*glide).state, u64::from(state));
    }
    0
}
