//! Unix sockets, decided by the peer: the path or the abstract name that it is bound to, never the name that
//! the task used for it.

use core::ptr;

use aya_ebpf::helpers::generated as helpers;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use guard_common::abi::{Action, BoundaryItem, Op, Reason, Site};

use super::{ADDRESS, EPERM, boundary, pack, place, refuse, returned, settle};
use crate::address::{self, Key, Spelt};
use crate::judge::{Arena, weigh};
use crate::kernel::{self, Ptr, at, count, follow, get, load, member, off, put};
use crate::maps::{CGROUPS, WHY};
use crate::object::{self, Place, Scratch};
use crate::subject::{self, Subject};
use crate::{cgroups, emit, passed};

/// `int unix_stream_connect(struct sock *sock, struct sock *other, struct sock *newsk)`: stream and seqpacket.
/// Called with the peer's lock held.
#[lsm(hook = "unix_stream_connect")]
pub(crate) fn unix_stream_connect(ctx: LsmContext) -> i32 {
    let Some(subject) = subject::inside_seldom() else { return 0 };
    let asked = asks_why(subject, ctx.arg(1), ctx.arg(2));
    if asked != OTHERS {
        return asked;
    }
    peer(subject, Op::Connect, ctx.arg(1))
}

/// Not guard's socket; no return code.
const OTHERS: i32 = 1;

/// An agent that asks for its own refusals. It is the socket itself that is known, by the daemon's mark on it, and not
/// its path: the daemon's mount namespace is another. The socket that the daemon will accept is told whose it is, so
/// that nobody has to look for whoever connected.
#[inline(always)]
fn asks_why(subject: Subject, listener: Ptr, accepted: Ptr) -> i32 {
    // SAFETY: typed sockets; no creation, so no value is read.
    let mark: *const u64 = unsafe {
        helpers::bpf_sk_storage_get(WHY.as_ptr(), listener.cast_mut().cast(), ptr::null_mut(), 0).cast()
    };
    if mark.is_null() {
        return OTHERS;
    }
    // SAFETY: as above; 1 is BPF_LOCAL_STORAGE_GET_F_CREATE.
    let session: *mut u64 = unsafe {
        helpers::bpf_sk_storage_get(WHY.as_ptr(), accepted.cast_mut().cast(), ptr::null_mut(), 1).cast()
    };
    if session.is_null() {
        count(Site::ApprovalFailed);
        return -EPERM;
    }
    put(session, subject.session);
    0
}

/// `int unix_may_send(struct socket *sock, struct socket *other)`: datagrams, at connect and at each send.
#[lsm(hook = "unix_may_send")]
pub(crate) fn unix_may_send(ctx: LsmContext) -> i32 {
    let Some(subject) = subject::inside_seldom() else { return 0 };
    peer(subject, Op::Send, follow(ctx.arg(1), at!(SOCKET_SK)))
}

/// Decides on the peer that a unix stream is connected to.
#[inline(always)]
pub(super) fn through(subject: Subject, sk: Ptr) -> i32 {
    if load::<u16, _, _>(sk, at!(SOCK_FAMILY)) != address::AF_UNIX {
        return 0;
    }
    // SAFETY: `sk` is a typed socket; the helper checks that it is a unix one.
    let unix: Ptr = unsafe { helpers::bpf_skc_to_unix_sock(sk.cast_mut().cast()).cast_const().cast() };
    if unix.is_null() {
        return 0;
    }
    let other = follow(unix, at!(UNIX_PEER));
    // The other end was made by whoever connected, so its cgroup does not say whose it is.
    if other.is_null() { 0 } else { named(subject, Op::Send, other) }
}

/// Decides on a peer. One of the same session is nobody else's business, and it is the cgroup it was made in
/// that says whose it is. Not of a task that a sandbox has moved: the session's others are outside of it.
///
/// A peer without a name is the other end of a pair, or a client that came to us: nobody can address it, so
/// whoever made the connection handed it over.
#[inline(always)]
fn peer(subject: Subject, op: Op, other: Ptr) -> i32 {
    if other.is_null() || !subject.boxed && same_session(subject, other) {
        return 0;
    }
    named(subject, op, other)
}

/// Decides on a peer by its name.
#[inline(always)]
fn named(subject: Subject, op: Op, other: Ptr) -> i32 {
    // SAFETY: `other` is a typed socket; the helper checks that it is a unix one.
    let unix: Ptr = unsafe { helpers::bpf_skc_to_unix_sock(other.cast_mut().cast()).cast_const().cast() };
    if unix.is_null() {
        return 0;
    }
    let at = Place::of_path(member(unix, off!(UNIX_PATH)));
    if !at.dentry.is_null() && !at.mount.is_null() {
        return place(subject, Action::Connect, op, at);
    }
    let scratch = object::scratch(subject.task);
    let spelt = address::spell_abstract(scratch, unix);
    if Spelt::from_code(spelt) == Spelt::Unspecified {
        return 0;
    }
    let case = pack(subject, Action::Connect, op) | ADDRESS;
    returned(judge_name(scratch, case, subject.session, spelt))
}

/// Decides on a socket that is to let others in: one that was made outside the session has its name from outside, and
/// whoever comes to it means somebody else.
#[inline(always)]
pub(super) fn lets_in(subject: Subject, op: Op, sk: Ptr) -> i32 {
    if load::<u16, _, _>(sk, at!(SOCK_FAMILY)) != address::AF_UNIX || same_session(subject, sk) {
        return 0;
    }
    boundary(subject, BoundaryItem::ForeignFds, op, 0)
}

#[inline(always)]
fn same_session(subject: Subject, other: Ptr) -> bool {
    let cgroup = address::cgroup(other);
    if cgroup.is_null() {
        return false;
    }
    let entry = CGROUPS.get(&cgroups::cgroup_id(cgroup));
    // SAFETY: checked for null, an entry of the map.
    !entry.is_null() && unsafe { (*entry).session == subject.session }
}

/// A socket that arrives over another one, by pidfd_getfd or from a seccomp supervisor: one that was made
/// outside the session is a way out that no connect was asked about. By addresses, as a file's private data
/// has no type.
#[inline(always)]
pub(super) fn received(subject: Subject, file: Ptr) -> i32 {
    let made_in = made_in(load(file, at!(FILE_PRIVATE)));
    let entry = CGROUPS.get(&made_in);
    // SAFETY: checked for null, an entry of the map.
    if !entry.is_null() && unsafe { (*entry).session == subject.session } {
        return 0;
    }
    boundary(subject, BoundaryItem::ForeignFds, Op::Receive, 0)
}

/// The id of the cgroup that the `struct socket` at this address was made in, 0 if it cannot be read.
#[inline(always)]
fn made_in(socket: u64) -> u64 {
    let mut at = socket;
    for member in [off!(SOCKET_SK), off!(SOCK_CGROUP), off!(CGROUP_KN), off!(KERNFS_ID)] {
        if at == 0 {
            return 0;
        }
        [at] = kernel::peek(at + member);
    }
    at
}

/// Decides on the abstract name in the scratch space.
// SAFETY: the name is this function's alone in the object.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_name(scratch: *mut Scratch, case: u64, session: u64, spelt: u64) -> i64 {
    let Some(arena) = Arena::live() else { return -i64::from(EPERM) };
    if scratch.is_null() {
        return refuse(arena, case);
    }
    if Spelt::from_code(spelt) != Spelt::Key {
        emit::no_object(scratch);
        return settle(scratch, case, session, Reason::UnknownAddress as u64);
    }
    passed::about(scratch, 0);
    let reason = weigh(scratch, case as u32, Action::Connect as u32, 0);
    // SAFETY: `scratch` is a map value.
    let length = unsafe { get(&raw const (*scratch).start) };
    settle(scratch, case, session, reason | Key::kept(scratch).digest(session ^ length) << 32)
}
