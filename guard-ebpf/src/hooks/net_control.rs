//! What comes with a datagram beside its address: control messages, of which the kernel's own copy is looked at when a
//! send is decided, flags, and other datagrams.

use crate::hold;
use crate::kernel::{self, Ptr, at, load};

/// MSG_DONTROUTE.
pub(super) const DONT_ROUTE: u32 = 4;

/// More than any program sends at once; what has more is not looked through.
const MESSAGES: u32 = 8;

/// `struct cmsghdr`: a length, a level and a type.
const HEADER: u64 = 16;

const IP_RETOPTS: u64 = 7;
const IP_PKTINFO: u64 = 8;
const IPV6_2292PKTINFO: u64 = 2;
const IPV6_PKTINFO: u64 = 50;

/// Does one of them choose the interface, or the way? 1 too if that cannot be told.
// SAFETY: the name is this function's alone in the object.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn steers(messages: u64, length: u64) -> u64 {
    let mut at = 0;
    for _ in 0..MESSAGES {
        if at + HEADER > length {
            return 0;
        }
        let Some([bytes, what]) = kernel::read::<[u64; 2]>(messages + at) else { return 1 };
        if bytes < HEADER {
            // The call fails by itself.
            return 0;
        }
        let (level, kind) = (what & 0xffff_ffff, what >> 32);
        let interface = match (level, kind) {
            (0, IP_PKTINFO) => messages + at + HEADER,
            (41, IPV6_PKTINFO | IPV6_2292PKTINFO) => messages + at + HEADER + 16,
            (0, IP_RETOPTS) => return 1,
            // Headers with options and ways of their own: 2292HOPOPTS, 2292DSTOPTS, 2292RTHDR, HOPOPTS, RTHDRDSTOPTS, RTHDR,
            // DSTOPTS.
            (41, 3 | 4 | 5 | 54 | 55 | 57 | 59) => return 1,
            _ => 0,
        };
        if interface != 0 && kernel::read::<u32>(interface) != Some(0) {
            return 1;
        }
        at += (bytes + 7) & !7;
    }
    1
}

/// Does a message ask for what the option SO_DONTROUTE is refused for?
#[inline(always)]
pub(super) fn passes_by_routes(message: Ptr) -> bool {
    load::<u32, _, _>(message, at!(MESSAGE_FLAGS)) & DONT_ROUTE != 0
}

/// Is the task in a sendmmsg(2) of more than one message? The kernel has no hook called for a message to the address of
/// the one before (`___sys_sendmsg`).
#[inline(always)]
pub(super) fn is_one_of_several(task: Ptr) -> bool {
    /// Of a call of 32-bit programs that has the others' numbers in it.
    const SUBCALL: u32 = 20;
    let registers = hold::registers(task);
    match hold::call_of(registers) {
        // Of each of the three kinds of programs.
        307 | 345 | 538 => load::<u32, _, _>(registers, at!(REGISTERS_THIRD)) > 1,
        102 => load::<u32, _, _>(registers, at!(REGISTERS_SUBCALL)) == SUBCALL,
        _ => false,
    }
}
