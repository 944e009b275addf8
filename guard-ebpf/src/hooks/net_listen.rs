//! Letting somebody in.
//!
//! Bytes come in through a stream socket that listens, or a datagram socket with a port that others know.
//! Binding to port 0 is neither: clients do it to choose a source address, nobody knows the port, and a stream
//! must still listen, which is decided with the port it then has. An address of one link binds the socket to an interface
//! for all that it sends, also where the call then fails.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use guard_common::abi::{Action, BoundaryItem, Op};

use super::net::odd;
use super::peer::{approve, decide};
use super::{EPERM, boundary, unix};
use crate::address::{self, Key, Kind, Spelt};
use crate::approval::How;
use crate::kernel::{self, Ptr, at, follow, load};
use crate::object;
use crate::subject;

/// `int socket_bind(struct socket *sock, struct sockaddr *address, int addrlen)`
///
/// A port is decided here already, so that nobody squats the gateway's while it restarts.
#[lsm(hook = "socket_bind")]
pub(crate) fn socket_bind(ctx: LsmContext) -> i32 {
    let Some(subject) = subject::inside_seldom() else { return 0 };
    let sk = follow(ctx.arg(0), at!(SOCKET_SK));
    let (address, length): (*const u8, u32) = (ctx.arg(1), ctx.arg(2));
    if sk.is_null() {
        return -EPERM;
    }
    let kind = Kind::of(sk);
    match kind {
        Kind::Local | Kind::Kernel => return 0,
        Kind::Odd => return odd(subject, Op::Bind, sk),
        Kind::Tcp | Kind::Udp => {}
    }
    if binds_interface(sk, address as u64, length) {
        return boundary(subject, BoundaryItem::SocketOptions, Op::Bind, 0);
    }
    if kernel::read::<u16>(address as u64 + 2) == Some(0) {
        return 0;
    }
    let scratch = object::scratch(subject.task);
    // `__inet_bind` takes an unspecified family for IPv4, if the address is the wildcard.
    let v4 = load::<u16, _, _>(sk, at!(SOCK_FAMILY)) == address::AF_INET;
    let about = address::about(length, kind, v4) | address::LOCAL;
    let spelt = address::spell(scratch, sk, address as u64, about);
    decide(subject, Action::Listen, Op::Bind, scratch, spelt)
}

/// Is this an address with a scope?
#[inline(always)]
fn binds_interface(sk: Ptr, address: u64, length: u32) -> bool {
    /// `struct sockaddr_in6`, the last member of which is the scope.
    const WHOLE: u32 = 28;
    load::<u16, _, _>(sk, at!(SOCK_FAMILY)) == address::AF_INET6
        && length >= WHOLE
        && kernel::read::<u32>(address + 24) != Some(0)
}

/// `int socket_listen(struct socket *sock, int backlog)`: a socket without a port gets one from the kernel,
/// which is port 0 to the rules.
#[lsm(hook = "socket_listen")]
pub(crate) fn socket_listen(ctx: LsmContext) -> i32 {
    local(ctx.arg(0), Op::Listen)
}

/// `int socket_accept(struct socket *sock, struct socket *newsock)`: the listener may have been inherited.
#[lsm(hook = "socket_accept")]
pub(crate) fn socket_accept(ctx: LsmContext) -> i32 {
    local(ctx.arg(0), Op::Accept)
}

#[inline(always)]
fn local(socket: Ptr, op: Op) -> i32 {
    // At the start, where the verifier comes by once.
    let sk = follow(socket, at!(SOCKET_SK));
    let Some(subject) = subject::inside_seldom() else { return 0 };
    if sk.is_null() {
        return -EPERM;
    }
    let kind = Kind::of(sk);
    match kind {
        Kind::Local => unix::lets_in(subject, op, sk),
        Kind::Kernel => 0,
        Kind::Odd => odd(subject, op, sk),
        Kind::Tcp | Kind::Udp => {
            let scratch = object::scratch(subject.task);
            if scratch.is_null() {
                return -EPERM;
            }
            Key::of_local(sk, kind).keep(scratch);
            let answer = decide(subject, Action::Listen, op, scratch, Spelt::Key as u64);
            // Who comes to a datagram socket is not known by its port.
            // Nor is a socket with a peer one that listens, whatever is called on it.
            if answer != 0 || kind != Kind::Tcp {
                return answer;
            }
            approve(subject, sk, How::Listens, op, kind, scratch)
        }
    }
}
