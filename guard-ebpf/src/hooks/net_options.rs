//! What bends the way of a packet without changing its address, and messages to the kernel itself.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use guard_common::abi::{BoundaryItem, Op};

use super::boundary;
use super::net::odd;
use crate::address::Kind;
use crate::kernel::{self, Ptr, at, follow, load};
use crate::subject;

/// `int socket_setsockopt(struct socket *sock, int level, int optname)`
///
/// The value is not known here, so an option is refused whole.
#[lsm(hook = "socket_setsockopt")]
pub(crate) fn socket_setsockopt(ctx: LsmContext) -> i32 {
    let (level, option): (u32, u32) = (ctx.arg(1), ctx.arg(2));
    if !bends(level, option) {
        return 0;
    }
    set(ctx.arg(0), level, option)
}

#[inline(never)]
fn set(socket: Ptr, level: u32, option: u32) -> i32 {
    let sk = follow(socket, at!(SOCKET_SK));
    let Some(subject) = subject::inside_seldom() else { return 0 };
    if !sk.is_null() && matches!(Kind::of(sk), Kind::Local | Kind::Kernel) {
        return 0;
    }
    boundary(subject, BoundaryItem::SocketOptions, Op::SetOption, level & 0xffff | option << 16)
}

/// Options by which an approved address is reached by another way, an address of others is used, or the
/// kernel sends for the task. Numbers from include/uapi/asm-generic/socket.h, linux/in.h, linux/in6.h,
/// linux/tcp.h, linux/udp.h.
#[inline(always)]
fn bends(level: u32, option: u32) -> bool {
    match level {
        // SOL_SOCKET: DONTROUTE, BINDTODEVICE, MARK, BINDTOIFINDEX
        1 => matches!(option, 5 | 25 | 36 | 62),
        // SOL_IP: HDRINCL, OPTIONS, FREEBIND, IPSEC_POLICY, XFRM_POLICY, TRANSPARENT; MULTICAST_IF, MULTICAST_TTL
        // (with none a datagram stays on this host, where it is not seen), the memberships (a join makes the kernel
        // send) and source filters, UNICAST_IF, LOCAL_PORT_RANGE (by which port 0 is the gateway's)
        0 => matches!(option, 3 | 4 | 15 | 16 | 17 | 19 | 32 | 33 | 35 | 37..=48 | 50 | 51),
        // SOL_IPV6: ADDRFORM, 2292PKTOPTIONS, NEXTHOP, MULTICAST_IF, MULTICAST_HOPS, memberships, ROUTER_ALERT,
        // JOIN_ANYCAST, FLOWLABEL_MGR (a label can bring headers along), IPSEC_POLICY, XFRM_POLICY, HDRINCL, source filters, PKTINFO, HOPOPTS, RTHDRDSTOPTS, RTHDR,
        // DSTOPTS, TRANSPARENT, UNICAST_IF, FREEBIND
        41 => matches!(
            option,
            1 | 6 | 9 | 17 | 18 | 20 | 22 | 27 | 32 | 34..=36 | 42..=48 | 50 | 54 | 55 | 57 | 59 | 75 | 76 | 78
        ),
        // SOL_TCP: REPAIR and its queue, sequence and options
        6 => matches!(option, 19..=22),
        // SOL_UDP: ENCAP
        17 => option == 100,
        _ => false,
    }
}

/// `int netlink_send(struct sock *sk, struct sk_buff *skb)`
///
/// Questions to the routing family only. Of several messages in one buffer this sees the first; whatever
/// changes something needs a capability that no task of a domain keeps.
#[lsm(hook = "netlink_send")]
pub(crate) fn netlink_send(ctx: LsmContext) -> i32 {
    /// RTM_BASE; from there on messages come in fours: new, delete, get, set.
    const FIRST: u16 = 16;
    const GET: u16 = 2;
    let Some(subject) = subject::inside_seldom() else { return 0 };
    let sk: Ptr = ctx.arg(0);
    if load::<u16, _, _>(sk, at!(SOCK_PROTOCOL)) != 0 {
        return odd(subject, Op::Send, sk);
    }
    // `struct nlmsghdr`: a length, then the type.
    let data = load::<u64, _, _>(ctx.arg(1), at!(BUFFER_DATA));
    match kernel::read::<u16>(data + 4) {
        Some(kind) if kind < FIRST || kind & 3 == GET => 0,
        Some(kind) => boundary(subject, BoundaryItem::SocketFamilies, Op::Send, u32::from(kind) << 16 | 16),
        None => odd(subject, Op::Send, sk),
    }
}

/// `int sctp_bind_connect(struct sock *sk, int optname, struct sockaddr *address, int addrlen)`: a socket of
/// before, because none is made inside.
#[lsm(hook = "sctp_bind_connect")]
pub(crate) fn sctp_bind_connect(ctx: LsmContext) -> i32 {
    match subject::inside_seldom() {
        Some(subject) => odd(subject, Op::Connect, ctx.arg(0)),
        None => 0,
    }
}

/// `int mptcp_add_subflow(struct sock *sk, struct sock *ssk)`: the same.
#[lsm(hook = "mptcp_add_subflow")]
pub(crate) fn mptcp_add_subflow(ctx: LsmContext) -> i32 {
    match subject::inside_seldom() {
        Some(subject) => odd(subject, Op::Connect, ctx.arg(0)),
        None => 0,
    }
}
