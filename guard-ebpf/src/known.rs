//! Names that were a plain yes in a directory that is remembered: see `near`.
//!
//! What is decided on a path depends on its bytes, the action, the domain and the policies alone. Where the directory
//! is known to be the very same, under the same policies, the same last component gets the same answer. A name is
//! compared byte for byte, never by its hash.

use guard_common::abi::{Event, EventKind, Site, Verdict};
use guard_common::limits::PATH_MAX;
use guard_common::table::Answer;

use crate::emit;
use crate::hooks::{EPERM, MAY_BE_LOST, why};
use crate::kernel::{self, count, get, put};
use crate::near::{self, Slot};
use crate::object::{HEAD, Scratch};
use crate::walk;

/// Names kept for a directory and an action.
pub(crate) const NAMES: usize = 4;
/// Longest name that is kept.
pub(crate) const LONGEST: u64 = 16;

/// A name in two words: all of it at the upper end of the first, or, where that is too short, its first eight bytes
/// and its last eight.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Name {
    words: [u64; 2],
    /// 0 for none, or one that is too long.
    length: u64,
}

impl Name {
    const NONE: Self = Self { words: [0; 2], length: 0 };
}

/// A name and the answer that it got: which, and which policy's.
#[repr(C)]
pub(crate) struct Known {
    name: Name,
    answer: u32,
    policy: u32,
}

/// Reads the last component that is asked about. Only of one that begins at a multiple of eight: a word that begins
/// there lies in one page, so that it can be read whole though the name is shorter.
#[inline(always)]
pub(crate) fn read(name: u64, length: u64) -> Name {
    if length == 0 || length > LONGEST || name & 7 != 0 {
        return Name::NONE;
    }
    let [first] = kernel::peek(name);
    if first == 0 {
        // It could not be read.
        return Name::NONE;
    }
    if length <= 8 {
        return Name { words: [first << (64 - 8 * length), 0], length };
    }
    let [last] = kernel::peek(name + length - 8);
    Name { words: [first, last], length }
}

/// Writes the name to the end of the object's bytes, behind nothing yet. False if it is too long.
#[inline(always)]
pub(crate) fn spell(scratch: *mut Scratch, name: Name) -> bool {
    if name.length == 0 || name.length > LONGEST {
        return false;
    }
    // SAFETY: a map value; what is written lies in the last sixteen bytes of a path.
    unsafe {
        let bytes = (&raw mut (*scratch).bytes).cast::<u8>();
        let end = bytes.add(HEAD + PATH_MAX);
        if name.length <= 8 {
            put(end.sub(8).cast(), name.words[0]);
        } else {
            put(end.sub(8).cast(), name.words[1]);
            let at = kernel::masked(PATH_MAX as u64 - name.length, PATH_MAX as u64 - 1) as usize;
            kernel::put_anywhere(bytes.add(HEAD + at), name.words[0]);
        }
    }
    true
}

/// Where a directory keeps a name of this hash.
///
/// # Safety
///
/// `slot` lies in a map value.
#[inline(always)]
unsafe fn place(slot: *mut Slot, hash: u64) -> *mut Known {
    let at = kernel::masked(hash, NAMES as u64 - 1) as usize;
    // SAFETY: the index is masked to the array.
    unsafe { (&raw mut (*slot).names).cast::<Known>().add(at) }
}

/// Is a name known? Then it is the one that was met last.
///
/// # Safety
///
/// `slot` lies in a map value.
#[inline(always)]
pub(crate) unsafe fn find(slot: *mut Slot, hash: u64, name: Name) -> bool {
    // SAFETY: map values.
    let [length, first, last] = unsafe {
        let kept = &raw const (*place(slot, hash)).name;
        [get(&raw const (*kept).length), get(&raw const (*kept).words[0]), get(&raw const (*kept).words[1])]
    };
    let differ = kernel::differ(0, length, name.length);
    let differ = kernel::differ(differ, first, name.words[0]);
    let differ = kernel::differ(differ, last, name.words[1]);
    // SAFETY: as above.
    unsafe { put(&raw mut (*slot).met, hash) };
    differ == 0 && name.length != 0
}

/// Records the plain yes that the name which was met last got, and gives the call's return value. The event is put
/// together where the directory's path lies already.
// SAFETY: the name is this function's alone in the object.
#[unsafe(export_name = "tell_known")]
#[inline(never)]
pub(crate) extern "C" fn tell(slot: *mut Slot, case: u64, session: u64, generation: u64) -> i64 {
    if slot.is_null() {
        return -i64::from(EPERM);
    }
    // SAFETY: not null, a map value.
    let length = unsafe { get(&raw const (*slot).length) };
    if length > near::LONGEST {
        return -i64::from(EPERM);
    }
    // SAFETY: not null, a map value, which has room for the longest path and name, and for what the mask lets through.
    let sent = unsafe {
        let known = place(slot, get(&raw const (*slot).met));
        let (answer, name) = (Answer(get(&raw const (*known).answer)), get(&raw const (*known).name));
        let end = (&raw mut (*slot).path).cast::<u8>().add(length as usize);
        let last = kernel::masked(name.length, 2 * LONGEST - 1);
        if last <= 8 {
            kernel::put_anywhere(end, name.words[0] >> ((64 - 8 * last) & 63));
        } else {
            kernel::put_anywhere(end, name.words[0]);
            kernel::put_anywhere(end.add(last as usize).sub(8), name.words[1]);
        }
        let event = (&raw mut (*slot).event).cast::<Event>();
        let flags = emit::actor(event);
        put(&raw mut (*event).session, session);
        put(&raw mut (*event).generation, generation);
        put(&raw mut (*event).detail, 0);
        put(&raw mut (*event).domain, case as u32);
        put(&raw mut (*event).answer, answer.0);
        put(&raw mut (*event).shadow, 0);
        put(&raw mut (*event).errno, 0);
        put(&raw mut (*event).reason, why(answer) as u16);
        put(&raw mut (*event).object_len, (length + last) as u16);
        put(&raw mut (*event).object_at, size_of::<Event>() as u16);
        put(&raw mut (*event).policy, get(&raw const (*known).policy) as u16);
        put(&raw mut (*event).kind, EventKind::Decision as u8);
        put(&raw mut (*event).action, (case >> 32) as u8);
        put(&raw mut (*event).op, (case >> 40) as u8);
        put(&raw mut (*event).verdict, Verdict::Allow as u8);
        put(&raw mut (*event).flags, flags);
        emit::send(event, size_of::<Event>() as u64 + length + last)
    };
    count(Site::Allowed);
    if !sent && case & MAY_BE_LOST == 0 { -i64::from(EPERM) } else { 0 }
}

/// Lays the path of the name that was met last into the scratch space, and the plain yes that it got. 0 if there is no
/// room for the path.
// SAFETY: the name is this function's alone in the object.
#[unsafe(export_name = "lay_known")]
#[inline(never)]
pub(crate) extern "C" fn lay(scratch: *mut Scratch, slot: *mut Slot) -> u64 {
    if scratch.is_null() || slot.is_null() {
        return 0;
    }
    walk::overwritten(scratch);
    // SAFETY: not null, map values.
    unsafe {
        let known = place(slot, get(&raw const (*slot).met));
        let name = get(&raw const (*known).name);
        if !spell(scratch, name) {
            return 0;
        }
        put(&raw mut (*scratch).start, PATH_MAX as u64 - name.length);
        let decision = &raw mut (*scratch).decision;
        put(&raw mut (*decision).answer, get(&raw const (*known).answer));
        put(&raw mut (*decision).shadow, Answer::NONE.0);
        put(&raw mut (*decision).policy, get(&raw const (*known).policy));
        put(&raw mut (*decision).needs_args, 0);
        put(&raw mut (*scratch).weighed_in, near::generation_of(slot));
    }
    near::complete(scratch, slot)
}

/// Keeps the name that was asked about with the decision in the scratch space, which is a plain yes.
///
/// # Safety
///
/// `slot` lies in a map value.
#[inline(always)]
pub(crate) unsafe fn learn(scratch: *mut Scratch, slot: *mut Slot) {
    // SAFETY: map values.
    unsafe {
        let question = &raw const (*scratch).near;
        let known = place(slot, get(&raw const (*question).hash));
        put(&raw mut (*known).answer, get(&raw const (*scratch).decision.answer));
        put(&raw mut (*known).policy, get(&raw const (*scratch).decision.policy) & 0xff);
        put(&raw mut (*known).name, get(&raw const (*question).last));
    }
}

/// Nothing is known of a directory any more.
///
/// # Safety
///
/// `slot` lies in a map value.
#[inline(always)]
pub(crate) unsafe fn forget(slot: *mut Slot) {
    let mut at = 0;
    while at < NAMES {
        // SAFETY: below the array's length.
        unsafe { put(&raw mut (*(&raw mut (*slot).names).cast::<Known>().add(at)).name.length, 0) };
        at += 1;
    }
}
