//! Every map, in the order of the data's way.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr;

use aya_ebpf::helpers::generated as helpers;
use guard_common::abi::offsets;
use guard_common::abi::{
    Ask, BudgetKey, BudgetWord, CgroupEntry, Control, GroupKey, Held, InodeKey, Label, Ruling, RulingKey,
    Site, Spent,
};
use guard_common::limits;

use crate::approval::Approval;
use crate::hooks::Pending;
use crate::kernel::{get, put};
use crate::near::Near;
use crate::object::{Berth, Scratch};
use crate::passed::Passed;
use crate::whose;

/// A BTF-described map of any kind. aya's own types know neither task storage nor arrays of maps.
#[repr(C)]
pub(crate) struct Map<const KIND: usize, K, V, const ENTRIES: usize, const FLAGS: usize> {
    r#type: *const [i32; KIND],
    key: *const K,
    value: *const V,
    max_entries: *const [i32; ENTRIES],
    map_flags: *const [i32; FLAGS],
}

// SAFETY: the fields are never read, they only carry types to the loader.
unsafe impl<const T: usize, K, V, const N: usize, const F: usize> Sync for Map<T, K, V, N, F> {}

impl<const T: usize, K, V, const N: usize, const F: usize> Map<T, K, V, N, F> {
    const fn new() -> Self {
        Self {
            r#type: ptr::null(),
            key: ptr::null(),
            value: ptr::null(),
            max_entries: ptr::null(),
            map_flags: ptr::null(),
        }
    }

    #[inline(always)]
    pub(crate) fn as_ptr(&self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// The value of a key, null if there is none.
    #[inline(always)]
    pub(crate) fn get(&self, key: &K) -> *mut V {
        // SAFETY: the helper takes a map and a key of the map's size; the type parameters say it is one.
        unsafe { helpers::bpf_map_lookup_elem(self.as_ptr(), ptr::from_ref(key).cast()).cast() }
    }

    #[inline(always)]
    pub(crate) fn set(&self, key: &K, value: &V) -> i64 {
        self.update(key, value, 0)
    }

    /// Sets the value unless there is one.
    #[inline(always)]
    pub(crate) fn insert(&self, key: &K, value: &V) -> i64 {
        const NOEXIST: u64 = 1;
        self.update(key, value, NOEXIST)
    }

    #[inline(always)]
    fn update(&self, key: &K, value: &V, flags: u64) -> i64 {
        // SAFETY: as in `get`, and the value has the map's size.
        unsafe {
            helpers::bpf_map_update_elem(
                self.as_ptr(),
                ptr::from_ref(key).cast(),
                ptr::from_ref(value).cast(),
                flags,
            )
        }
    }

    #[inline(always)]
    pub(crate) fn delete(&self, key: &K) -> i64 {
        // SAFETY: as in `get`.
        unsafe { helpers::bpf_map_delete_elem(self.as_ptr(), ptr::from_ref(key).cast()) }
    }
}

/// From 7.0 on the kernel takes the memory of task storage from its caches of up to 8 KiB, and what is larger is never
/// there (`kmalloc_nolock` in kernel/bpf/bpf_local_storage.c). Its own header lies in front.
const STORAGE: usize = 8192 - 128;
const _: () = assert!(
    STORAGE < offsets::MEMBER as usize && size_of::<Scratch>() <= STORAGE && size_of::<Pending>() <= STORAGE
);

/// An array of maps; the loader makes the inner map from the template in `values`.
#[repr(C)]
pub(crate) struct Outer<I, const ENTRIES: usize> {
    r#type: *const [i32; ARRAY_OF_MAPS],
    key: *const u32,
    value: *const u32,
    max_entries: *const [i32; ENTRIES],
    map_flags: *const [i32; 0],
    values: [*const I; 0],
}

// SAFETY: as for `Map`.
unsafe impl<I, const N: usize> Sync for Outer<I, N> {}

impl<I, const N: usize> Outer<I, N> {
    const fn new() -> Self {
        Self {
            r#type: ptr::null(),
            key: ptr::null(),
            value: ptr::null(),
            max_entries: ptr::null(),
            map_flags: ptr::null(),
            values: [],
        }
    }

    /// The one value of the inner map at `index`, null if there is none.
    #[inline(always)]
    pub(crate) fn get<V>(&self, index: u32) -> *const V {
        let zero = 0u32;
        // SAFETY: an array of maps gives back a map, whose key is a u32.
        unsafe {
            let inner = helpers::bpf_map_lookup_elem(
                ptr::from_ref(self).cast_mut().cast(),
                ptr::from_ref(&index).cast(),
            );
            if inner.is_null() {
                return ptr::null();
            }
            helpers::bpf_map_lookup_elem(inner, ptr::from_ref(&zero).cast()).cast_const().cast()
        }
    }
}

const HASH: usize = 1;
const ARRAY: usize = 2;
const PERCPU_ARRAY: usize = 6;
const LRU_HASH: usize = 9;
const ARRAY_OF_MAPS: usize = 12;
const SK_STORAGE: usize = 24;
const RINGBUF: usize = 27;
const TASK_STORAGE: usize = 29;
const NO_PREALLOC: usize = 1;
const CLONE: usize = 1 << 9;
const MMAPABLE: usize = 1 << 10;

/// The words of an arena as a map value.
#[repr(C)]
pub(crate) struct ArenaValue {
    pub(crate) words: [u64; limits::ARENA_WORDS as usize],
}

macro_rules! maps {
    ($($(#[$doc:meta])* $name:ident: $ty:ty;)*) => {
        $(
            $(#[$doc])*
            // SAFETY: the loader finds the map by section and symbol name; nothing else links to it.
            #[unsafe(link_section = ".maps")]
            #[unsafe(no_mangle)]
            pub(crate) static $name: $ty = <$ty>::new();
        )*
    };
}

maps! {
    /// The live generation's arena, in slot 0. Replacing it is the flip.
    ARENAS: Outer<Map<ARRAY, u32, ArenaValue, 1, 0>, 1>;
    /// What an arena is: the loader makes more maps like this one.
    TEMPLATE: Map<ARRAY, u32, ArenaValue, 1, 0>;
    /// Words the daemon writes for the programs.
    CONTROL: Map<ARRAY, u32, Control, 1, 0>;
    /// Governed cgroups, nested ones included, by id.
    CGROUPS: Map<HASH, u64, CgroupEntry, { limits::CGROUPS as usize }, 0>;
    /// Programs that prepare a service inside its cgroup, by inode.
    LAUNCHERS: Map<HASH, InodeKey, u32, { limits::LAUNCHERS as usize }, 0>;
    /// The label of a task.
    LABELS: Map<TASK_STORAGE, i32, Label, 0, NO_PREALLOC>;
    /// Where processes of several threads were moved by a sandbox.
    GROUPS: Map<HASH, GroupKey, u64, { limits::GROUPS as usize }, NO_PREALLOC>;
    /// Room to spell a path, one for each task: a per-CPU buffer lets a preempting task overwrite it.
    SCRATCH: Map<TASK_STORAGE, i32, Scratch, 0, NO_PREALLOC>;
    /// Directories whose walk a task remembers, where it has no berth.
    NEAR: Map<TASK_STORAGE, i32, Near, 0, NO_PREALLOC>;
    /// The same, ready made, for as many tasks as find theirs free, with the directories whose walk they remember: see
    /// `storage`.
    BERTHS: Map<ARRAY, u32, Berth, { limits::BERTHS as usize }, 0>;
    /// An exec that waits for its argv, one for each task that needs it.
    EXECS: Map<TASK_STORAGE, i32, Pending, 0, NO_PREALLOC>;
    /// What stands in for the two above where they can be busy: see `storage`.
    SPARE_SCRATCH: Map<HASH, u64, Scratch, { limits::SPARES as usize }, 0>;
    SPARE_EXECS: Map<HASH, u64, Pending, { limits::SPARES as usize }, 0>;
    /// Never written: what a spare begins with.
    BLANK_SCRATCH: Map<ARRAY, u32, Scratch, 1, 0>;
    BLANK_EXEC: Map<ARRAY, u32, Pending, 1, 0>;
    /// What was agreed to for a socket; copied to the sockets that a listener accepts.
    APPROVALS: Map<SK_STORAGE, i32, Approval, 0, { NO_PREALLOC | CLONE }>;
    /// guard's own socket for agents, marked by the daemon, and the sockets that were connected to it: whose they are.
    WHY: Map<SK_STORAGE, i32, u64, 0, NO_PREALLOC>;
    /// What each session has sent. A table of its own making, because a look-up in the kernel's takes a hundred
    /// instructions, and each packet makes one.
    ACCOUNTS: Map<ARRAY, u32, Spent, { limits::ACCOUNTS as usize }, MMAPABLE>;
    /// Gateways that are down, by the words of their keys: until when, in nanoseconds of CLOCK_BOOTTIME.
    GATEWAYS: Map<HASH, [u64; 3], u64, { limits::GATEWAYS as usize }, 0>;
    /// Allows already recorded, for `allows: first`.
    SEEN: Map<LRU_HASH, u64, u64, { limits::SEEN as usize }, 0>;
    /// Threads that are held.
    HELD: Map<HASH, u32, Held, { limits::HELD as usize }, NO_PREALLOC>;
    /// Answers to held calls. Most of them are for one call, which takes them away.
    RULINGS: Map<HASH, RulingKey, Ruling, { limits::RULINGS as usize }, NO_PREALLOC>;
    /// What is spent of the budgets of throttles.
    BUDGETS: Map<HASH, BudgetKey, BudgetWord, { limits::BUDGETS as usize }, NO_PREALLOC>;
    /// Files that were paid for, for what follows from having them open.
    PASSED: Map<LRU_HASH, Passed, u64, { limits::PASSED as usize }, 0>;
    /// System V objects by address: the session that made one.
    MADE: Map<LRU_HASH, u64, u64, { limits::MADE as usize }, 0>;
    /// Events to the daemon.
    EVENTS: Map<RINGBUF, (), (), { limits::RING_BYTES as usize }, 0>;
    /// Sequence numbers of events, one for each CPU.
    SEQUENCE: Map<PERCPU_ARRAY, u32, u64, 1, 0>;
    /// What the parity test asks.
    ASK: Map<ARRAY, u32, Ask, 1, 0>;
}

/// Words in a section of data. Such a section is an array map of one value whose address the programs know, so that
/// nothing is looked up: there are dozens of places that count in each program, and every outsider asks the filter.
#[repr(transparent)]
pub(crate) struct Data<const WORDS: usize>(UnsafeCell<[u64; WORDS]>);

// SAFETY: the words are read whole, and changed atomically.
unsafe impl<const WORDS: usize> Sync for Data<WORDS> {}

impl<const WORDS: usize> Data<WORDS> {
    const fn zeroed() -> Self {
        Self(UnsafeCell::new([0; WORDS]))
    }

    /// The verifier wants to see that `index` is below the number of words.
    #[inline(always)]
    pub(crate) fn word(&self, index: u64) -> *mut u64 {
        self.at_byte(index * 8)
    }

    /// The same by the place in bytes, a multiple of eight.
    #[inline(always)]
    pub(crate) fn at_byte(&self, place: u64) -> *mut u64 {
        self.0.get().cast::<u8>().wrapping_add(place as usize).cast()
    }
}

impl Data<1> {
    #[inline(always)]
    pub(crate) fn happened(&self) -> bool {
        get(self.word(0)) != 0
    }

    #[inline(always)]
    pub(crate) fn happens(&self) {
        put(self.word(0), 1);
    }
}

macro_rules! data {
    ($($(#[$doc:meta])* $name:ident: $words:expr, $section:literal;)*) => {
        $(
            $(#[$doc])*
            // SAFETY: the loader finds the map by its section; nothing else links to the symbol.
            #[unsafe(link_section = $section)]
            #[unsafe(no_mangle)]
            pub(crate) static $name: Data<{ $words }> = Data::zeroed();
        )*
    };
}

data! {
    /// Counters by [`Site`].
    SITES: Site::COUNT, ".data.sites";
    /// One bit for each governed cgroup id's low bits: spares outsiders the look-up in `CGROUPS`.
    CGROUP_FILTER: limits::CGROUP_FILTER_BITS as usize / 64, ".data.filter";
    /// 1 once there was a process of several threads that a sandbox moved: from then on threads look where theirs is.
    MOVED: 1, ".data.moved";
    /// 1 once a session had nothing left to send: from then on calls that send look at theirs.
    CLOSED: 1, ".data.closed";
    /// 1 once a gateway was down, which the daemon says: from then on calls look for theirs.
    DOWN: 1, ".data.down";
    /// 1 once something was agreed to for a socket in another name than its cgroup's: from then on packets of ungoverned
    /// cgroups are looked at too, and each looks what was agreed to for its socket.
    FOREIGN: 1, ".data.foreign";
    /// Which words about cgroups and their domains hold, see `whose`; 0 while the daemon changes what they are made of.
    EPOCH: 1, ".data.epoch";
    /// The live generation's number, for what was agreed to under it; 0 while the daemon changes what is live.
    GENERATION: 1, ".data.generation";
    /// How often the daemon has changed what applies to cgroups, in 16 bits, see `rejoin`.
    CHANGES: 1, ".data.changes";
    /// Cgroups that were looked up, see `whose`.
    WHOSE: whose::SLOTS as usize * whose::SLOT_BYTES as usize / 8, ".data.whose";
}
