//! What was agreed to for a socket, so that neither each send nor each packet walks the automata again.
//!
//! An approval holds for one policy generation, one domain and one peer: whatever changes one of them makes
//! it worthless. It lies in the socket's own storage and goes with it. A listener's is copied to the sockets
//! it accepts (`BPF_F_CLONE`), which is how those are known.

use core::ptr;

use aya_ebpf::helpers::generated as helpers;
use guard_common::abi::Site;

use crate::address::Key;
use crate::kernel::{self, Ptr, at, count, get, load, put};
use crate::maps::{APPROVALS, GENERATION};

/// How a socket came to have a peer.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum How {
    /// The task chose it: the approval is for this peer.
    Sends = 1,
    /// The peer came to a port that the policy opens.
    Accepts = 2,
    /// It may listen, and what it accepts has a copy of this. In place of a key stands the socket's own address: one that
    /// has this itself, and does not listen, has chosen its peer, whatever was called on it since.
    Listens = 3,
}

/// A socket's approval.
#[repr(C)]
pub(crate) struct Approval {
    generation: u64,
    session: u64,
    domain: u32,
    how: u32,
    key: Key,
}

/// The approval of a socket, null if it has none. `sk` is a typed socket, or a packet's.
#[inline(always)]
pub(crate) fn find(sk: Ptr) -> *mut Approval {
    // SAFETY: `sk` is a socket that the verifier knows; no creation, so no value is read.
    unsafe {
        helpers::bpf_sk_storage_get(APPROVALS.as_ptr(), sk.cast_mut().cast(), ptr::null_mut(), 0).cast()
    }
}

/// Is this socket known to have been accepted, or does it accept?
#[inline(always)]
pub(crate) fn accepts(approval: *const Approval, sk: Ptr, listens: bool) -> bool {
    if approval.is_null() {
        return false;
    }
    // SAFETY: not null, an approval in socket storage.
    let (how, Key([granted_to, second, third])) =
        unsafe { (get(&raw const (*approval).how), get(&raw const (*approval).key)) };
    if how == How::Listens as u32 {
        // Two threads that write at once may leave one's word beside the other's key, whose first word has an empty lower half.
        second | third == 0 && granted_to as u32 != 0 && {
            listens || kernel::differ(0, granted_to, sk as u64) != 0
        }
    } else {
        how == How::Accepts as u32
    }
}

/// Was it made under this generation?
#[inline(always)]
pub(crate) fn is_of(approval: *const Approval, generation: u64) -> bool {
    // SAFETY: checked for null, an approval in socket storage.
    !approval.is_null() && unsafe { get(&raw const (*approval).generation) } == generation
}

/// Was it made under the generation that is live? No false yes, and a no while the daemon changes it.
#[inline(always)]
pub(crate) fn holds(approval: *const Approval) -> bool {
    let generation = get(GENERATION.word(0));
    generation != 0 && is_of(approval, generation)
}

/// Does the socket wait for others?
#[inline(always)]
fn listens(sk: Ptr) -> bool {
    const LISTEN: u8 = 10;
    load::<u8, _, _>(sk, at!(SOCK_STATE)) == LISTEN
}

/// Has nothing been agreed to for the socket?
#[inline(always)]
pub(crate) fn is_none(sk: Ptr) -> bool {
    !has_storage(sk) || find(sk).is_null()
}

/// Could anything have been agreed to for the socket? Most have no storage at all.
#[inline(always)]
pub(crate) fn has_storage(sk: Ptr) -> bool {
    load::<u64, _, _>(sk, at!(SOCK_BPF_STORAGE)) != 0
}

/// The domain and the session that it was made for.
#[inline(always)]
pub(crate) fn made_for(approval: *const Approval) -> Option<(u32, u64)> {
    if approval.is_null() {
        return None;
    }
    // SAFETY: not null, an approval in socket storage.
    unsafe { Some((get(&raw const (*approval).domain), get(&raw const (*approval).session))) }
}

/// Does it say that the socket may send to `peer`, under whatever generation and domain?
#[inline(always)]
pub(crate) fn names(approval: *const Approval, peer: Key) -> bool {
    // SAFETY: checked for null, an approval in socket storage.
    !approval.is_null() && same(unsafe { get(&raw const (*approval).key) }, peer)
}

#[inline(always)]
fn same(one: Key, other: Key) -> bool {
    one.0[2] == other.0[2] && one.0[1] == other.0[1] && one.0[0] == other.0[0]
}

/// Does it cover a send of the socket to `peer` now, of all that `holds`?
#[inline(always)]
pub(crate) fn covers(approval: *const Approval, sk: Ptr, domain: u32, peer: Key) -> bool {
    if approval.is_null() {
        return false;
    }
    // SAFETY: not null, an approval in socket storage.
    let (of, key) = unsafe { (get(&raw const (*approval).domain), get(&raw const (*approval).key)) };
    of == domain && (same(key, peer) || accepts(approval, sk, listens(sk)))
}

/// Was it made for the same domain and peer, under whatever generation? What was paid for once is paid for.
#[inline(always)]
pub(crate) fn knew(approval: *const Approval, domain: u32, peer: Key) -> bool {
    if approval.is_null() {
        return false;
    }
    // SAFETY: not null, an approval in socket storage.
    let (of, key) = unsafe { (get(&raw const (*approval).domain), get(&raw const (*approval).key)) };
    of == domain && key.0[2] == peer.0[2] && key.0[1] == peer.0[1] && key.0[0] == peer.0[0]
}

/// Is a typed socket known to have been accepted, or does it accept?
#[inline(always)]
pub(crate) fn has_accepted(approval: *const Approval, sk: Ptr) -> bool {
    accepts(approval, sk, listens(sk))
}

/// Remembers an approval, if there is memory for it. Without it the next send is decided anew, and a packet is judged by its
/// socket's cgroup alone.
#[inline(always)]
pub(crate) fn grant(sk: Ptr, generation: u64, (domain, session): (u32, u64), how: How, key: Key) -> bool {
    // SAFETY: as in `find`; no initial value; 1 is BPF_LOCAL_STORAGE_GET_F_CREATE.
    let approval: *mut Approval = unsafe {
        helpers::bpf_sk_storage_get(APPROVALS.as_ptr(), sk.cast_mut().cast(), ptr::null_mut(), 1).cast()
    };
    if approval.is_null() {
        count(Site::ApprovalFailed);
        return false;
    }
    // Another thread may send on the socket now: it must not take the new words for the old key's, so the
    // generation, which is never 0, comes last, and the key before what it stands for.
    let key = match how {
        How::Sends => key,
        How::Accepts => Key([0, 0, 0]),
        How::Listens => Key([sk as u64, 0, 0]),
    };
    // SAFETY: not null, an approval in socket storage.
    unsafe {
        put(&raw mut (*approval).generation, 0);
        put(&raw mut (*approval).session, session);
        put(&raw mut (*approval).domain, domain);
        put(&raw mut (*approval).how, How::Sends as u32);
        put(&raw mut (*approval).key, key);
        put(&raw mut (*approval).how, how as u32);
        put(&raw mut (*approval).generation, generation);
    }
    true
}
