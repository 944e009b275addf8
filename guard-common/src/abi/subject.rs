use crate::limits::ACCOUNTS;
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
    /// A sandbox has moved the task to where its label says it is.
    pub const SANDBOXED: u32 = 2;
    /// Bits 16 to 31: how often policies had changed when the label was looked at last. A new label has 0 there.
    pub const CHANGES_SHIFT: u32 = 16;
}

/// What a session has sent: packets of its sockets as they leave the network layer, headers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Spent {
    /// Whose this is, 0 for nobody's. The session is looked for from the place that [`first_account`] gives, for
    /// [`ACCOUNT_PROBES`] places.
    pub session: u64,
    pub bytes: u64,
    /// The limit at which a packet did not fit: under this limit nothing goes any more. 0: not yet.
    pub closed_at: u64,
    pub _pad: u64,
}

const _: () = assert!(size_of::<Spent>() == 32);

/// Where the account of a session is looked for first.
#[inline(always)]
pub const fn first_account(session: u64) -> u32 {
    session as u32 & (ACCOUNTS - 1)
}

/// How many places are looked at, each behind the one before.
pub const ACCOUNT_PROBES: u32 = 8;

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
