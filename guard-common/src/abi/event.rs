use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::names;

names! {
    /// What an event tells.
    pub enum EventKind: u8 {
        /// A decision.
        Decision = 1, "decision";
        /// A process of a domain runs a new image: lineage, whatever the audit settings. The object is the
        /// image's path, and behind a NUL its argv; `detail` is argc.
        Exec = 2, "exec";
        /// A process entered a domain, or was forked in one (`Op::Fork`).
        Enter = 3, "enter";
        /// A process of a domain has gone; `detail` is its status as `wait` gives it.
        Exit = 4, "exit";
        /// A governed cgroup was made.
        CgroupMade = 5, "cgroup-made";
        /// A governed cgroup was removed.
        CgroupGone = 6, "cgroup-gone";
    }
}

/// One event as it lies in the ring, before the object's bytes.
///
/// Numbers that stand for an enum are parsed with `from_repr`; an unknown one is a corrupt event, which is
/// counted and recorded as such.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Event {
    /// Counts every event of this CPU, lost ones included, from 0 at load.
    pub seq: u64,
    /// CLOCK_BOOTTIME in nanoseconds.
    pub time: u64,
    /// The start of the task's process, CLOCK_BOOTTIME in nanoseconds: with `pid`, a process for ever.
    pub start_time: u64,
    /// The cgroup the task is in now.
    pub cgroup: u64,
    /// [`super::Label::session`].
    pub session: u64,
    /// The policy generation that decided.
    pub generation: u64,
    /// Whatever the object needs beside its bytes: device of a file, protocol and port of a peer, the
    /// boundary item, the capability, the target's process.
    pub detail: u64,
    pub cpu: u32,
    pub pid: u32,
    pub tid: u32,
    pub ppid: u32,
    pub uid: u32,
    pub loginuid: u32,
    /// [`super::Label::domain`].
    pub domain: u32,
    /// The winning answer's word.
    pub answer: u32,
    /// What the shadow rules and policies would have said, the same way; 0 for nothing stricter.
    pub shadow: u32,
    /// What the call returned: 0 or a negative errno.
    pub errno: i32,
    /// [`super::Reason`].
    pub reason: u16,
    /// Length of the object's bytes, which end the event.
    pub object_len: u16,
    /// Offset of the object's bytes from the event's start.
    pub object_at: u16,
    /// Which of the joined policies won (high byte: which shadow policy).
    pub policy: u16,
    /// [`EventKind`].
    pub kind: u8,
    /// [`super::Action`].
    pub action: u8,
    /// [`super::Op`].
    pub op: u8,
    /// [`super::Verdict`]: what was done.
    pub verdict: u8,
    /// [`EventFlags`].
    pub flags: u32,
    pub comm: [u8; 16],
}

const _: () = assert!(size_of::<Event>() == 128 && align_of::<Event>() == 8);

/// What lies right behind the header of an event whose reason is [`super::Reason::Held`], before the object's bytes: the
/// file that is to be run, as the kernel has it. What lies under its name by the time that somebody looks may be another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Asked {
    /// Its inode; 0 if none is to be run.
    pub ino: u64,
    pub size: u64,
    /// Its change time.
    pub seconds: u64,
    pub nanoseconds: u32,
    /// Its file system, as the kernel writes it: the major number above 20 bits of minor.
    pub dev: u32,
}

const _: () = assert!(size_of::<Asked>() == 32);

/// Flags of an [`Event`].
#[derive(Clone, Copy, Debug)]
pub struct EventFlags;

impl EventFlags {
    /// A stricter verdict was let through by shadow mode.
    pub const SHADOWED: u32 = 1;
    /// The task is a kernel worker of the agent's own (io_uring).
    pub const IO_WORKER: u32 = 2;
    /// The object is a directory.
    pub const DIRECTORY: u32 = 4;
    /// The object's bytes are an encoded address (`guard_common::key`), not a path.
    pub const ADDRESS: u32 = 8;
    /// argv was longer than what is kept; the object is cut.
    pub const CUT: u32 = 16;
}
