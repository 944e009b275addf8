//! What a packet on its way out says of itself, and what its socket says of it.

use aya_ebpf::bindings::{__sk_buff, bpf_sock};

use guard_common::abi::BoundaryItem;
use guard_common::key;

use crate::address::{AF_INET, Key};
use crate::kernel::get;

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
/// `LOOPBACK_IFINDEX`, the same in every network namespace.
const LOOPBACK: u32 = 1;
pub(crate) const CLOSE: u32 = 7;
pub(crate) const LISTEN: u32 = 10;

/// The facts of one packet.
#[derive(Clone, Copy)]
pub(crate) struct Packet {
    /// TCP or UDP, 0 for anything else.
    pub(crate) protocol: u8,
    /// The number in the header.
    pub(crate) next: u8,
    /// No options, no extension headers.
    pub(crate) plain: bool,
    /// It goes to a loopback address through another interface, as IPv6 to an IPv4 address, or has headers that could
    /// lead it elsewhere.
    pub(crate) strays: bool,
    /// It goes no further than this host or one link, so that a socket to there is bound to an interface.
    pub(crate) near: bool,
    pub(crate) interface: u32,
    /// In bytes, from the network header on, and as often with headers as it will have them.
    pub(crate) length: u32,
    /// Where it goes.
    pub(crate) to: Key,
}

impl Packet {
    /// What of the boundary a packet touches that is not plain TCP or UDP.
    #[inline(always)]
    pub(crate) fn item(&self) -> BoundaryItem {
        if self.protocol == 0 && self.plain {
            BoundaryItem::SocketFamilies
        } else {
            BoundaryItem::SocketOptions
        }
    }
}

/// Where a packet goes, if it is what most are: IPv4 without options, and not to a loopback address
/// through another interface.
#[inline(always)]
pub(crate) fn plain(skb: *const __sk_buff) -> Option<Key> {
    // SAFETY: members of the context; the verifier knows the first two for the packet's bounds, which are looked at
    // before anything is read.
    unsafe {
        let data = get(&raw const (*skb).data) as usize as *const u8;
        let end = get(&raw const (*skb).data_end) as usize as *const u8;
        if data.add(24) > end || get(data) != 0x45 {
            return None;
        }
        let address = get(data.add(16).cast::<u32>());
        if address as u8 == 127 && get(&raw const (*skb).ifindex) != LOOPBACK {
            return None;
        }
        let (protocol, port) = (get(data.add(9)), get(data.add(22).cast::<u16>()));
        Some(Key::v4(address, protocol, port))
    }
}

/// Bytes of an IP header without options.
pub(crate) const V4_HEADER: u32 = 20;
const V6_HEADER: u32 = 40;

/// In bytes, from the network header on: a packet that is cut up later has headers for each piece.
#[inline(always)]
pub(crate) fn counted(skb: *const __sk_buff, protocol: impl FnOnce() -> u8, header: u32) -> u32 {
    // SAFETY: members of the context.
    let (length, pieces) = unsafe { (get(&raw const (*skb).len), get(&raw const (*skb).gso_segs)) };
    if pieces > 1 {
        length + (pieces - 1) * (header + if protocol() == UDP { 8 } else { 20 })
    } else {
        length
    }
}

/// Reads a packet from its network header on. What cannot be read strays.
#[inline(always)]
pub(crate) fn read(skb: *const __sk_buff) -> Packet {
    // SAFETY: members of the context; the verifier knows the first two for the packet's bounds.
    let (data, end, interface) = unsafe {
        (
            get(&raw const (*skb).data) as usize as *const u8,
            get(&raw const (*skb).data_end) as usize as *const u8,
            get(&raw const (*skb).ifindex),
        )
    };
    let (to, length) = (Key([0, 0, 0]), counted(skb, || 0, V6_HEADER));
    let unread =
        Packet { protocol: 0, next: 0, plain: false, strays: true, near: false, interface, length, to };
    // SAFETY: only compared.
    if unsafe { data.add(24) } > end {
        return unread;
    }
    let version = get(data);
    if version == 0x45 {
        // SAFETY: the bound above.
        let (next, address, port) =
            unsafe { (get(data.add(9)), get(data.add(16).cast::<u32>()), get(data.add(22).cast::<u16>())) };
        let near = address as u8 == 127;
        let (protocol, to) = (usual(next), Key::v4(address, next, port));
        let (strays, length) = (near && interface != LOOPBACK, counted(skb, || next, V4_HEADER));
        return Packet { protocol, next, plain: true, strays, near, interface, length, to };
    }
    if version >> 4 == 4 {
        return unread;
    }
    // SAFETY: only compared.
    if unsafe { data.add(44) } > end {
        return unread;
    }
    // SAFETY: the bound above.
    let (next, words, port) = unsafe {
        let at = data.add(24).cast::<u32>();
        let words = [get(at), get(at.add(1)), get(at.add(2)), get(at.add(3))];
        (get(data.add(6)), words, get(data.add(42).cast::<u16>()))
    };
    let halves = joined(words);
    let own = halves == [0, 1 << 56];
    let strays = own && interface != LOOPBACK || halves[0] == 0 && halves[1] as u32 == key::MAPPED_PREFIX;
    // Hop-by-hop, routing, fragment, destination options, mobility: all can carry a way of their own.
    let plain = !matches!(next, 0 | 43 | 44 | 60 | 135);
    let to = Key::v6(halves, next, port);
    let (near, length) = (own || is_of_link(halves), counted(skb, || next, V6_HEADER));
    Packet { protocol: usual(next), next, plain, strays: strays || !plain, near, interface, length, to }
}

/// `fe80::/10`, and groups of one link or interface.
#[inline(always)]
fn is_of_link([high, _]: [u64; 2]) -> bool {
    high & 0xc0ff == 0x80fe || matches!(high & 0x0fff, 0x01ff | 0x02ff)
}

#[inline(always)]
fn usual(next: u8) -> u8 {
    if next == TCP || next == UDP { next } else { 0 }
}

#[inline(always)]
pub(crate) fn joined(words: [u32; 4]) -> [u64; 2] {
    [u64::from(words[0]) | u64::from(words[1]) << 32, u64::from(words[2]) | u64::from(words[3]) << 32]
}

/// Does the socket wait for others? Its packets answer them.
#[inline(always)]
pub(crate) fn listens(sk: *const bpf_sock) -> bool {
    state(sk) == LISTEN
}

/// A socket's state, as TCP numbers them.
#[inline(always)]
pub(crate) fn state(sk: *const bpf_sock) -> u32 {
    // SAFETY: a member that the verifier lets be read of any socket.
    unsafe { get(&raw const (*sk).state) }
}

#[inline(always)]
fn is_v4(sk: *const bpf_sock) -> bool {
    // SAFETY: as above.
    unsafe { get(&raw const (*sk).family) == u32::from(AF_INET) }
}

/// The interface that a socket is bound to, 0 for none: by an option, or by a peer or an address of one link.
#[inline(always)]
pub(crate) fn device(sk: *const bpf_sock) -> u32 {
    // SAFETY: as above.
    unsafe { get(&raw const (*sk).bound_dev_if) }
}

/// The peer of a socket.
#[inline(always)]
pub(crate) fn peer(sk: *const bpf_sock, protocol: u8) -> Key {
    // SAFETY: as above.
    unsafe {
        let port = get(&raw const (*sk).dst_port);
        if is_v4(sk) {
            return Key::v4(get(&raw const (*sk).dst_ip4), protocol, port);
        }
        let at = (&raw const (*sk).dst_ip6).cast::<u32>();
        Key::v6(joined([get(at), get(at.add(1)), get(at.add(2)), get(at.add(3))]), protocol, port)
    }
}

/// The IPv4 address that a socket is bound to, 0 for none, and whether it is bound to a mapped one.
#[inline(always)]
pub(crate) fn bound(sk: *const bpf_sock) -> (u32, bool) {
    // SAFETY: as above.
    unsafe {
        let third = get((&raw const (*sk).src_ip6).cast::<u32>().add(2));
        (get(&raw const (*sk).src_ip4), !is_v4(sk) && third == key::MAPPED_PREFIX)
    }
}

/// The address a socket is bound to.
#[inline(always)]
pub(crate) fn local(sk: *const bpf_sock, protocol: u8) -> Key {
    // SAFETY: as above.
    unsafe {
        let port = (get(&raw const (*sk).src_port) as u16).swap_bytes();
        if is_v4(sk) {
            return Key::v4(get(&raw const (*sk).src_ip4), protocol, port);
        }
        let at = (&raw const (*sk).src_ip6).cast::<u32>();
        Key::v6(joined([get(at), get(at.add(1)), get(at.add(2)), get(at.add(3))]), protocol, port)
    }
}
