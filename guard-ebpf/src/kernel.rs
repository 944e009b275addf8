//! Reading the kernel's memory: the one module whose business is `unsafe`.
//!
//! Two kinds of pointer occur. A *typed* pointer came from a hook's argument or from another typed pointer;
//! the verifier knows its kernel type and turns a load at a constant offset into a fault-safe read. An
//! *address* is a number; it is read with `bpf_probe_read_kernel`, which can fail and says so.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr;

use aya_ebpf::helpers::generated as helpers;
use guard_common::abi::{Site, offsets};

use crate::maps::SITES;

/// A typed pointer to some kernel structure.
pub(crate) type Ptr = *const u8;

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $(
            $(#[$doc])*
            // SAFETY: the loader overrides the word by its symbol name; nothing else links to it.
            #[unsafe(no_mangle)]
            pub(crate) static $name: u64 = 0;
        )*
    };
}

words! {
    /// Address of the sequence count of renames.
    RENAME_LOCK;
    /// Address of the namespaces that the first process has.
    INIT_NSPROXY;
    /// Address of the sequence count of mounts.
    MOUNT_LOCK;
    /// Random key of the digests in `SEEN`.
    DIGEST_KEY;
}

/// The value of a word that the loader set; the verifier knows it as a constant.
macro_rules! word {
    ($name:ident) => {
        $crate::kernel::constant(&$crate::kernel::$name)
    };
}
pub(crate) use word;

/// A fact that the loader writes into the instructions that use it: the `N`th of [`Fact`], as the place of a member,
/// and so many bytes further on.
#[derive(Clone, Copy)]
pub(crate) struct At<const N: u32, const PLUS: u32>;

impl<const N: u32> At<N, 0> {
    /// The same structure, further on.
    #[inline(always)]
    pub(crate) fn plus<const PLUS: u32>(self) -> At<N, PLUS> {
        At
    }

    /// The fact as a number; the verifier knows it as a constant.
    #[inline(always)]
    pub(crate) fn value(self) -> u64 {
        let value: u64;
        // SAFETY: one move of an immediate, which the loader replaces.
        unsafe {
            core::arch::asm!("{0} = {1}", out(reg) value, const offsets::VALUE + N, options(pure, nomem, nostack));
        }
        value
    }
}

/// A fact as the place of a member to load.
macro_rules! at {
    ($name:ident) => {
        $crate::kernel::At::<{ guard_common::abi::offsets::Fact::$name as u32 }, 0>
    };
    ($name:ident, $plus:literal) => {
        $crate::kernel::At::<{ guard_common::abi::offsets::Fact::$name as u32 }, $plus>
    };
}
pub(crate) use at;

/// A fact as a number.
macro_rules! off {
    ($name:ident) => {
        $crate::kernel::at!($name).value()
    };
}
pub(crate) use off;

/// Reads a word of the read-only section so that neither compiler can assume the zero written here.
#[inline(always)]
pub(crate) fn constant(word: &'static u64) -> u64 {
    // SAFETY: a static is readable; volatile keeps the load.
    unsafe { ptr::read_volatile(word) }
}

/// Loads a member of a structure behind a typed pointer: one instruction, into which the loader puts the member's place.
#[inline(always)]
pub(crate) fn load<T: Copy, const N: u32, const PLUS: u32>(base: Ptr, _: At<N, PLUS>) -> T {
    macro_rules! marked {
        ($load:literal) => {{
            let value: u64;
            // SAFETY: the verifier proves that `base` is a typed pointer and checks the place against BTF; a stale
            // pointer reads as zero.
            unsafe {
                core::arch::asm!(
                    $load,
                    value = out(reg) value, base = in(reg) base,
                    place = const offsets::MEMBER + N * offsets::MEMBER_STRIDE + PLUS,
                    options(readonly, nostack),
                );
            }
            value
        }};
    }
    const { assert!(PLUS < offsets::MEMBER_STRIDE) };
    let value = match const { size_of::<T>() } {
        1 => within(marked!("{value} = *(u8 *)({base} + {place})"), u8::MAX.into()),
        2 => within(marked!("{value} = *(u16 *)({base} + {place})"), u16::MAX.into()),
        4 => within(marked!("{value} = *(u32 *)({base} + {place})"), u32::MAX.into()),
        _ => {
            const { assert!(matches!(size_of::<T>(), 1 | 2 | 4 | 8)) };
            marked!("{value} = *(u64 *)({base} + {place})")
        }
    };
    // SAFETY: the low bytes of the register are what was read, and as many as the type has.
    unsafe { (&raw const value).cast::<T>().read() }
}

/// Tells the compiler what a narrow load leaves in the rest of the register.
#[inline(always)]
fn within(value: u64, most: u64) -> u64 {
    // SAFETY: a load of fewer bytes than eight clears the others.
    unsafe { core::hint::assert_unchecked(value <= most) };
    value
}

/// The same task for walking on from, and for nothing else: where the verifier trusts a pointer, kernels 6.4 to 6.17 search
/// all their types by name, four times, for each pointer that is loaded through it (`btf_nested_type_is_trusted`). That
/// was the greater part of a start. One that has been cast is not trusted. Where the kernel cannot cast, and need
/// not, the loader puts a move in place of the call; what the call becomes is a move as well.
#[inline(always)]
pub(crate) fn loose(task: Ptr) -> Ptr {
    cast(task as u64, off!(TASK_TYPE))
}

/// Anything as one of the kernel's types, to load from.
#[inline(always)]
pub(crate) fn cast(from: u64, kind: u64) -> Ptr {
    let cast: u64;
    // SAFETY: the kernel's `bpf_rdonly_cast` takes anything and gives it back as one of its types.
    unsafe {
        core::arch::asm!(
            "call {cast}",
            cast = const offsets::VALUE + offsets::Fact::CAST as u32,
            inlateout("r1") from => _,
            inlateout("r2") kind => _,
            lateout("r0") cast,
            lateout("r3") _, lateout("r4") _, lateout("r5") _,
            options(pure, nomem, nostack),
        );
    }
    cast as Ptr
}

/// Loads a typed pointer from a structure behind a typed pointer.
#[inline(always)]
pub(crate) fn follow<const N: u32, const PLUS: u32>(base: Ptr, at: At<N, PLUS>) -> Ptr {
    load(base, at)
}

/// Address of a member embedded in a structure behind a typed pointer, still typed.
#[inline(always)]
pub(crate) fn member(base: Ptr, offset: u64) -> Ptr {
    // SAFETY: the verifier checks the place against BTF.
    unsafe { base.add(offset as usize) }
}

/// Reads kernel memory at an address.
#[inline(always)]
pub(crate) fn read<T: Copy>(address: u64) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the destination has the size given; the helper reads any address without faulting.
    let failed = unsafe {
        helpers::bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            address as *const c_void,
        )
    };
    if failed != 0 {
        count(Site::ReadFailed);
        return None;
    }
    // SAFETY: the helper filled it.
    Some(unsafe { value.assume_init() })
}

/// Words at an address, as many as there are bytes for, up to four; each is 0 if it cannot be read. Where the kernel can
/// cast, that is a load for each, which is an eighth of what its helper takes.
#[inline(always)]
pub(crate) fn peek<const WORDS: usize>(address: u64) -> [u64; WORDS] {
    const { assert!(WORDS >= 1 && WORDS <= 4) };
    if off!(CAST) == offsets::ABSENT {
        return read(address).unwrap_or([0; WORDS]);
    }
    let (from, mut words) = (cast(address, off!(WORDS_TYPE)), [0; WORDS]);
    if WORDS > 0 {
        words[0] = load(from, at!(WORDS));
    }
    if WORDS > 1 {
        words[1] = load(from, at!(WORDS, 8));
    }
    if WORDS > 2 {
        words[2] = load(from, at!(WORDS, 16));
    }
    if WORDS > 3 {
        words[3] = load(from, at!(WORDS, 24));
    }
    words
}

/// Reads a sequence count; 1, which is odd and so "being changed", if it cannot be read.
#[inline(always)]
pub(crate) fn read_or_odd(address: u64) -> u32 {
    if off!(CAST) != offsets::ABSENT {
        return load(cast(address, off!(WORDS_TYPE)), at!(WORDS));
    }
    let mut value = 1u32;
    // SAFETY: the destination is a u32 on the stack.
    let failed =
        unsafe { helpers::bpf_probe_read_kernel((&raw mut value).cast(), 4, address as *const c_void) };
    if failed != 0 {
        count(Site::ReadFailed);
        return 1;
    }
    get(&raw const value)
}

/// Copies `length` bytes of kernel memory into a map value.
#[inline(always)]
pub(crate) fn copy(to: *mut u8, length: u32, address: u64) -> bool {
    // SAFETY: the verifier proves that `to` has room for the bound it knows of `length`.
    unsafe { helpers::bpf_probe_read_kernel(to.cast(), length, address as *const c_void) == 0 }
}

/// The running task, typed.
#[inline(always)]
pub(crate) fn current() -> Ptr {
    // SAFETY: takes nothing, always gives the running task.
    unsafe { helpers::bpf_get_current_task_btf().cast_const().cast() }
}

/// Adds one to a counter.
#[inline(always)]
pub(crate) fn count(site: Site) {
    add(SITES.word(site as u64), 1);
}

/// Adds to a word shared between CPUs; gives what it was.
#[inline(always)]
pub(crate) fn add(word: *mut u64, amount: u64) -> u64 {
    use core::intrinsics::{AtomicOrdering, atomic_xadd};
    // SAFETY: the verifier proves that the word lies in a map value.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(word, amount) }
}

/// Puts `new` where `old` is, and says what was there and whether it was `old`.
#[inline(always)]
pub(crate) fn swap(word: *mut u64, old: u64, new: u64) -> (u64, bool) {
    use core::intrinsics::{AtomicOrdering, atomic_cxchg};
    // SAFETY: the verifier proves that the word lies in a map value.
    unsafe { atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(word, old, new) }
}

/// Hides a value's origin from the compiler, so that a mask the verifier needs is not optimised away.
#[inline(always)]
pub(crate) fn masked(value: u64, mask: u64) -> u64 {
    let mut result = value;
    // SAFETY: plain arithmetic.
    unsafe { core::arch::asm!("{0} &= {1}", inlateout(reg) result, in(reg) mask) };
    result
}

/// Loads and stores of map values that must not be merged, split or remembered: walk state lives in memory
/// so that the verifier does not track it.
#[inline(always)]
pub(crate) fn get<T: Copy>(place: *const T) -> T {
    // SAFETY: the verifier proves that the place lies in a map value.
    unsafe { ptr::read_volatile(place) }
}

#[inline(always)]
pub(crate) fn put<T: Copy>(place: *mut T, value: T) {
    // SAFETY: as in `get`.
    unsafe { ptr::write_volatile(place, value) }
}

/// The same number, of which the compiler knows nothing.
#[inline(always)]
pub(crate) fn opaque(number: u64) -> u64 {
    let mut number = number;
    // SAFETY: changes nothing. With no instruction at all two lines would begin at one place, which the kernel refuses.
    unsafe { core::arch::asm!("{0} |= 0", inlateout(reg) number, options(pure, nomem, nostack)) };
    number
}

/// 1 if two words differ, else what was known before. The verifier takes this of typed pointers too, of which it takes
/// no sums.
#[inline(always)]
pub(crate) fn differ(before: u64, one: u64, other: u64) -> u64 {
    let mut differ = before;
    // SAFETY: plain arithmetic; the jump is over one instruction.
    unsafe {
        core::arch::asm!(
            "if {one} == {other} goto +1",
            "{differ} = 1",
            differ = inlateout(reg) differ, one = in(reg) one, other = in(reg) other,
            options(pure, nomem, nostack),
        );
    }
    differ
}

/// 1 if the first number is below the second, else 0, without a branch; of numbers below 2^63.
#[inline(always)]
pub(crate) fn is_below(number: u64, than: u64) -> u64 {
    let mut difference = number;
    // SAFETY: plain arithmetic.
    unsafe {
        core::arch::asm!("{0} -= {1}", "{0} >>= 63", inlateout(reg) difference, in(reg) than, options(pure, nomem, nostack));
    }
    difference
}

/// A word in a map value that need not lie at a multiple of eight, in one instruction.
#[inline(always)]
pub(crate) fn get_anywhere(place: *const u8) -> u64 {
    let value: u64;
    // SAFETY: the verifier proves that the place lies in a map value.
    unsafe {
        core::arch::asm!("{0} = *(u64 *)({1} + 0)", out(reg) value, in(reg) place, options(readonly, nostack));
    }
    value
}

#[inline(always)]
pub(crate) fn put_anywhere(place: *mut u8, value: u64) {
    // SAFETY: as in `get_anywhere`.
    unsafe {
        core::arch::asm!("*(u64 *)({0} + 0) = {1}", in(reg) place, in(reg) value, options(nostack));
    }
}

/// Sets bits of a word shared between CPUs.
#[inline(always)]
pub(crate) fn or(word: *mut u64, bits: u64) {
    use core::intrinsics::{AtomicOrdering, atomic_or};
    // SAFETY: the verifier proves that the word lies in a map value.
    unsafe { atomic_or::<u64, u64, { AtomicOrdering::SeqCst }>(word, bits) };
}
