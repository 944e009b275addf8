use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What the kernel remembers of a task. No label, or domain 0: outside every domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Label {
    /// The domain, an index of the arena's descriptors.
    pub domain: u32,
    /// [`LabelFlags`].
    pub flags: u32,
    /// The session: the id of the top cgroup the task's tree entered by.
    pub session: u64,
}

const _: () = assert!(size_of::<Label>() == 16);

/// Flags of a [`Label`].
#[derive(Clone, Copy, Debug)]
pub struct LabelFlags;

impl LabelFlags {
    /// A launcher prepares the service; the label counts from its next exec on.
    pub const PENDING: u32 = 1;
}

/// What a session has sent: packets of its sockets as they leave the network layer, headers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Spent {
    pub bytes: u64,
    /// The limit at which a packet did not fit: under this limit nothing goes any more. 0: not yet.
    pub closed_at: u64,
}

const _: () = assert!(size_of::<Spent>() == 16);

/// What the kernel knows of a governed cgroup, nested ones included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CgroupEntry {
    /// The domain of tasks that enter here.
    pub domain: u32,
    pub _pad: u32,
    /// The session: the id of the topmost governed cgroup above, or of this one.
    pub session: u64,
}

const _: () = assert!(size_of::<CgroupEntry>() == 16);
