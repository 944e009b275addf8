use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Words the daemon writes and the programs read on their way, one array element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Control {
    /// The daemon's process: never labelled, never signalled from inside a domain.
    pub daemon: u32,
    /// 1 once every promised hook is attached; the programs decide from the first instant all the same.
    pub complete: u32,
}

const _: () = assert!(size_of::<Control>() == 8);

/// An inode by its file system's device number and its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct InodeKey {
    pub ino: u64,
    /// The kernel's own encoding (major << 20 | minor).
    pub dev: u32,
    pub _pad: u32,
}

const _: () = assert!(size_of::<InodeKey>() == 16);
