use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Words the daemon writes and the programs read on their way, one array element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Control {
    /// The daemon's process: never labelled, never signalled from inside a domain.
    pub daemon: u32,
    /// 1 once every promised hook is attached; the programs decide from the first instant all the same.
    pub complete: u32,
    /// The daemon's last sign of life, CLOCK_BOOTTIME in nanoseconds; 0 when it is known to be gone. Without one
    /// nobody answers, so nothing is held.
    pub beat: u64,
}

const _: () = assert!(size_of::<Control>() == 16);

/// An inode by its file system's device number and its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct InodeKey {
    pub ino: u64,
    /// The kernel's own encoding (major << 20 | minor).
    pub dev: u32,
    pub _pad: u32,
}

impl InodeKey {
    /// No device: the key stands for copies in memory of a file, by its size in place of its number.
    pub const COPY: u32 = u32::MAX;
}

const _: () = assert!(size_of::<InodeKey>() == 16);

/// A process, whichever of its threads leads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GroupKey {
    /// The leader's start, CLOCK_BOOTTIME in nanoseconds: a thread that takes the leader's place by exec takes it over.
    pub start: u64,
    pub tgid: u32,
    pub _pad: u32,
}

const _: () = assert!(size_of::<GroupKey>() == 16);

/// Whose budget, and which rule's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BudgetKey {
    /// [`super::Label::session`].
    pub session: u64,
    /// [`crate::budget::Budget::rule`].
    pub rule: u64,
}

const _: () = assert!(size_of::<BudgetKey>() == 16);

/// How much of a budget is spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BudgetWord {
    /// See [`crate::budget`]; the one word that calls compete for.
    pub word: u64,
    /// When the first call came, CLOCK_BOOTTIME in nanoseconds.
    pub since: u64,
}

const _: () = assert!(size_of::<BudgetWord>() == 16);

/// Which held call is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RulingKey {
    /// Of all that makes the call what it is, but for the task that makes it.
    pub digest: u64,
    /// The process's start, CLOCK_BOOTTIME in nanoseconds. 0 with thread 0: whichever of the session.
    pub start: u64,
    pub tid: u32,
    pub _pad: u32,
}

const _: () = assert!(size_of::<RulingKey>() == 24);

/// The answer to a held call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ruling {
    /// CLOCK_BOOTTIME in nanoseconds; later it is worth nothing.
    pub until: u64,
    /// [`super::Reason`]: approved, or why not.
    pub reason: u32,
    pub _pad: u32,
}

const _: () = assert!(size_of::<Ruling>() == 16);

/// A thread that is held in a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Held {
    /// As in [`RulingKey`].
    pub digest: u64,
    /// The process's start.
    pub start: u64,
    /// Since when, CLOCK_BOOTTIME in nanoseconds.
    pub since: u64,
}

const _: () = assert!(size_of::<Held>() == 24);
