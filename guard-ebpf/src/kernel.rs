//! Reading the kernel's memory: the one module whose business is `unsafe`.
//!
//! Two kinds of pointer occur. A *typed* pointer came from a hook's argument or from another typed pointer;
//! the verifier knows its kernel type and turns a load at a constant offset into a fault-safe read. An
//! *address* is a number; it is read with `bpf_probe_read_kernel`, which can fail and says so.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr;

use aya_ebpf::helpers::generated as helpers;
use guard_common::abi::Site;

use crate::maps::SITES;

/// A typed pointer to some kernel structure.
pub(crate) type Ptr = *const u8;

macro_rules! statics {
    ($($name:ident $of:literal $member:literal $need:ident;)*) => {
        $(
            // SAFETY: the loader overrides the word by its symbol name; nothing else links to it.
            #[unsafe(no_mangle)]
            pub(crate) static $name: u64 = 0;
        )*
    };
}
guard_common::kernel_offsets!(statics);

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $(
            $(#[$doc])*
            // SAFETY: as above.
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
    /// The bit of `struct sock` that is set on the kernel's own sockets.
    SOCK_KERNEL_BIT;
    /// 1 where `inode_setattr` has an argument in front of the dentry.
    SETATTR_SHIFT;
    /// 1 where a look into task storage can fail because another task is in it.
    STORAGE_BUSY;
    /// Random key of the digests in `SEEN`.
    DIGEST_KEY;
}

/// The value of a word that the loader set; the verifier knows it as a constant.
macro_rules! off {
    ($name:ident) => {
        $crate::kernel::constant(&$crate::kernel::$name)
    };
}
pub(crate) use off;

/// Reads a word of the read-only section so that neither compiler can assume the zero written here.
#[inline(always)]
pub(crate) fn constant(word: &'static u64) -> u64 {
    // SAFETY: a static is readable; volatile keeps the load.
    unsafe { ptr::read_volatile(word) }
}

/// Loads a member of a structure behind a typed pointer.
#[inline(always)]
pub(crate) fn load<T: Copy>(base: Ptr, offset: u64) -> T {
    // SAFETY: the verifier proves that `base` is a typed pointer and checks the offset against BTF; a stale
    // pointer reads as zero.
    unsafe { ptr::read_volatile(base.add(offset as usize).cast()) }
}

/// Loads a typed pointer from a structure behind a typed pointer.
#[inline(always)]
pub(crate) fn follow(base: Ptr, offset: u64) -> Ptr {
    load(base, offset)
}

/// Address of a member embedded in a structure behind a typed pointer, still typed.
#[inline(always)]
pub(crate) fn member(base: Ptr, offset: u64) -> Ptr {
    // SAFETY: as in `load`.
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

/// Reads a sequence count; 1, which is odd and so "being changed", if it cannot be read.
#[inline(always)]
pub(crate) fn read_or_odd(address: u64) -> u32 {
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
    add(SITES.word(site), 1);
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

/// Sets bits of a word shared between CPUs.
#[inline(always)]
pub(crate) fn or(word: *mut u64, bits: u64) {
    use core::intrinsics::{AtomicOrdering, atomic_or};
    // SAFETY: the verifier proves that the word lies in a map value.
    unsafe { atomic_or::<u64, u64, { AtomicOrdering::SeqCst }>(word, bits) };
}
