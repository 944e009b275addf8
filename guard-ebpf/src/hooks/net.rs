//! Sockets of the network: making them, connecting them, sending through them.

use aya_ebpf::helpers::generated as helpers;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use guard_common::abi::{Action, BoundaryItem, Op};

use super::peer::{self, decide};
use super::{EPERM, boundary, net_control, net_quick, unix};
use crate::address::{self, Key, Kind, Spelt};
use crate::approval::How;
use crate::kernel::{self, Ptr, at, follow, load, off};
use crate::object;
use crate::subject::{self, Subject};

/// `int socket_create(int family, int type, int protocol, int kern)`: also for socketpair(2), and before the
/// kernel loads a module for the family.
///
/// TCP and UDP only, because only they pass every hook below: UDP-Lite, SCTP, MPTCP, ping and raw sockets
/// each skip one, and packet sockets skip them all. Unix sockets are decided by their peer. Of netlink only
/// the routing family, without which getifaddrs(3) and name resolution fail; `netlink_send` keeps it to
/// questions.
#[lsm(hook = "socket_create")]
pub(crate) fn socket_create(ctx: LsmContext) -> i32 {
    let (family, kind, protocol): (u32, u32, u32) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    if is_usual(family, kind, protocol) || ctx.arg::<u32>(3) != 0 {
        return 0;
    }
    unusual(family, kind, protocol)
}

#[inline(never)]
fn unusual(family: u32, kind: u32, protocol: u32) -> i32 {
    let Some(subject) = subject::inside_seldom() else { return 0 };
    boundary(subject, BoundaryItem::SocketFamilies, Op::Socket, detail(family, kind, protocol))
}

#[inline(always)]
pub(super) fn is_usual(family: u32, kind: u32, protocol: u32) -> bool {
    if family == 2 || family == 10 {
        // Most ask for the usual protocol by none.
        return kind == 1 && (protocol == 0 || protocol == 6)
            || kind == 2 && (protocol == 0 || protocol == 17);
    }
    family == 1 || family == 16 && protocol == 0
}

/// What a record says of a socket that is none of these.
#[inline(always)]
pub(super) fn detail(family: u32, kind: u32, protocol: u32) -> u32 {
    family & 0xff | (kind & 0xff) << 8 | protocol << 16
}

/// A socket that is there but should not be: it was made before the label, inherited or received.
#[inline(always)]
pub(super) fn odd(subject: Subject, op: Op, sk: Ptr) -> i32 {
    let family: u16 = load(sk, at!(SOCK_FAMILY));
    let (kind, protocol): (u16, u16) = (load(sk, at!(SOCK_TYPE)), load(sk, at!(SOCK_PROTOCOL)));
    let detail = detail(family.into(), kind.into(), protocol.into());
    boundary(subject, BoundaryItem::SocketFamilies, op, detail)
}

/// `int socket_connect(struct socket *sock, struct sockaddr *address, int addrlen)`
#[lsm(hook = "socket_connect")]
pub(crate) fn socket_connect(ctx: LsmContext) -> i32 {
    if subject::outside() {
        return 0;
    }
    connects(ctx.arg(0), ctx.arg(1), ctx.arg(2))
}

#[inline(never)]
fn connects(socket: Ptr, address: *const u8, length: u32) -> i32 {
    let Some(subject) = subject::within() else { return 0 };
    let sk = follow(socket, at!(SOCKET_SK));
    if sk.is_null() {
        return -EPERM;
    }
    if net_quick::connects(subject, sk, address, length) {
        return 0;
    }
    let kind = Kind::of(sk);
    match kind {
        Kind::Local | Kind::Kernel => 0,
        Kind::Odd => odd(subject, Op::Connect, sk),
        Kind::Tcp | Kind::Udp => {
            let scratch = object::scratch(subject.task);
            let about = address::about(length, kind, false);
            let spelt = address::spell(scratch, sk, address as u64, about);
            if Spelt::from_code(spelt) == Spelt::Unspecified {
                // The connection is dissolved.
                return 0;
            }
            let answer = decide(subject, Action::Connect, Op::Connect, scratch, spelt);
            if answer != 0 {
                return answer;
            }
            // In place of whatever was agreed to before: the socket may have listened, or had another peer.
            peer::approve(subject, sk, How::Sends, Op::Connect, kind, scratch)
        }
    }
}

/// `int socket_sendmsg(struct socket *sock, struct msghdr *msg, int size)`
///
/// A stream ignores the message's address unless it opens with it (TCP fast open, which passes no connect
/// hook); a datagram prefers it to the connected peer. An opening address is decided on even where there is a
/// peer already: another thread may dissolve the connection before the call comes to it.
#[lsm(hook = "socket_sendmsg")]
pub(crate) fn socket_sendmsg(ctx: LsmContext) -> i32 {
    let Some(subject) = subject::inside() else { return 0 };
    let sk = follow(ctx.arg(0), at!(SOCKET_SK));
    let message: Ptr = ctx.arg(1);
    if sk.is_null() {
        return -EPERM;
    }
    if net_quick::sends(subject, sk, message) {
        return 0;
    }
    sent(subject, sk, message)
}

/// A send that does not pass at first sight. Part of its caller: the kernel counts no more than eight calls.
#[inline(always)]
fn sent(subject: Subject, sk: Ptr, message: Ptr) -> i32 {
    const MSG_FASTOPEN: u32 = 0x2000_0000;
    let kind = Kind::of(sk);
    let (connected, by_name) = match kind {
        // What was connected before a sandbox must not outlive it.
        Kind::Local if subject.boxed => return unix::through(subject, sk),
        Kind::Local | Kind::Kernel => return 0,
        Kind::Odd => return odd(subject, Op::Send, sk),
        Kind::Tcp => {
            let opens = load::<u32, _, _>(message, at!(MESSAGE_FLAGS)) & MSG_FASTOPEN != 0;
            (load::<u16, _, _>(sk, at!(SOCK_PEER_PORT)) != 0, opens)
        }
        Kind::Udp => (load::<u8, _, _>(sk, at!(SOCK_STATE)) == address::ESTABLISHED, true),
    };
    if kind == Kind::Udp {
        let refused = beside_the_address(subject, sk, message);
        if refused != 0 {
            return refused;
        }
    }
    let named = load::<u64, _, _>(message, at!(MESSAGE_NAME));
    let length: u32 = load(message, at!(MESSAGE_NAME_LENGTH));
    if by_name && named != 0 && length != 0 {
        let scratch = object::scratch(subject.task);
        // On an IPv4 datagram socket no family means IPv4 (`udp_sendmsg`), on an IPv6 one no address.
        let v4 = kind == Kind::Udp && load::<u16, _, _>(sk, at!(SOCK_FAMILY)) == address::AF_INET;
        let exact = if kind == Kind::Udp { address::EXACT } else { 0 };
        let about = address::about(length, kind, v4) | exact;
        let spelt = address::spell(scratch, sk, named, about);
        if Spelt::from_code(spelt) != Spelt::Unspecified {
            let answer = decide(subject, Action::Connect, Op::Send, scratch, spelt);
            if answer != 0 {
                return answer;
            }
            if kind == Kind::Udp || !connected {
                // The packet comes by later, and is not asked about again: the answer may have used up a budget. And whose a
                // socket from outside is, nothing else would say.
                return peer::approve(subject, sk, How::Sends, Op::Send, kind, scratch);
            }
        } else if address::is_mapped(sk, Key::of_peer(sk, kind)) {
            return boundary(subject, BoundaryItem::SocketOptions, Op::Send, 0);
        }
    }
    if !connected {
        // Nowhere to go: the call fails by itself.
        return 0;
    }
    peer::send(subject, sk, kind)
}

/// What else than its address says where a datagram goes: bytes that are pending already take the new ones along, a
/// control message can choose the interface, and a flag passes by the routes. Of several messages to one address in one
/// call only the first is asked about, so that the control messages of the others are nobody's: those are sent one by one.
#[inline(always)]
fn beside_the_address(subject: Subject, sk: Ptr, message: Ptr) -> i32 {
    let control = load::<u64, _, _>(message, at!(MESSAGE_CONTROL_LENGTH));
    let named = load::<u64, _, _>(message, at!(MESSAGE_NAME)) != 0;
    // By its number: a function that is verified on its own takes no typed pointer.
    let [messages] = kernel::peek(message as u64 + off!(MESSAGE_CONTROL));
    if net_control::passes_by_routes(message)
        || named && net_control::is_one_of_several(subject.task)
        || control != 0 && net_control::steers(messages, control) != 0
    {
        return boundary(subject, BoundaryItem::SocketOptions, Op::Send, 0);
    }
    begun(subject, sk)
}

/// Decides on the address to which a datagram socket has bytes pending, if it has any.
#[inline(always)]
fn begun(subject: Subject, sk: Ptr) -> i32 {
    let family = address::pending(sk);
    if family == 0 {
        return 0;
    }
    let scratch = object::scratch(subject.task);
    if scratch.is_null() {
        return -EPERM;
    }
    Key::of_pending(sk, family).keep(scratch);
    decide(subject, Action::Connect, Op::Send, scratch, Spelt::Key as u64)
}

/// What is written to a socket, if it is one of the network with a peer. Only for kernels before 6.5, where
/// splice(2) and sendfile(2) hand pages to the protocol (`sendpage` of `struct proto_ops`) past `socket_sendmsg`.
#[inline(always)]
pub(super) fn written(file: Ptr) -> i32 {
    let Some(subject) = subject::inside_seldom() else { return 0 };
    // SAFETY: `file` is a typed file.
    let socket: Ptr = unsafe { helpers::bpf_sock_from_file(file.cast_mut().cast()) }.cast_const().cast();
    if socket.is_null() {
        return 0;
    }
    let sk = follow(socket, at!(SOCKET_SK));
    if sk.is_null() {
        return -EPERM;
    }
    let kind = Kind::of(sk);
    if kind == Kind::Udp {
        let refused = begun(subject, sk);
        if refused != 0 {
            return refused;
        }
    }
    match kind {
        Kind::Local if subject.boxed => unix::through(subject, sk),
        Kind::Local | Kind::Kernel => 0,
        Kind::Odd => odd(subject, Op::Send, sk),
        Kind::Tcp if load::<u16, _, _>(sk, at!(SOCK_PEER_PORT)) == 0 => 0,
        Kind::Udp if load::<u8, _, _>(sk, at!(SOCK_STATE)) != address::ESTABLISHED => 0,
        Kind::Tcp | Kind::Udp => peer::send(subject, sk, kind),
    }
}
