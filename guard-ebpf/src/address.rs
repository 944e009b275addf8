//! Whom a socket talks to: addresses as the kernel holds them, spelt as the keys that rules match
//! (`guard_common::key`), at the end of the scratch space like a path.

use guard_common::key;
use guard_common::limits::PATH_MAX;

use crate::kernel::{self, At, Ptr, at, follow, get, load, member, off, put, word};
use crate::object::{HEAD, Scratch};
use crate::walk;

const AF_UNSPEC: u16 = 0;
pub(crate) const AF_UNIX: u16 = 1;
pub(crate) const AF_INET: u16 = 2;
pub(crate) const AF_INET6: u16 = 10;
const AF_NETLINK: u16 = 16;

pub(crate) const SOCK_STREAM: u16 = 1;
pub(crate) const SOCK_DGRAM: u16 = 2;
const TCP: u16 = 6;
const UDP: u16 = 17;

/// `TCP_ESTABLISHED`, also the state of a connected datagram socket.
pub(crate) const ESTABLISHED: u8 = 1;

/// What kind of socket this is, to guard.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// TCP over IPv4 or IPv6.
    Tcp,
    /// UDP over IPv4 or IPv6.
    Udp,
    /// Unix and netlink sockets, which have hooks of their own.
    Local,
    /// The kernel's own: a network file system at work for the task.
    Kernel,
    /// Anything else.
    Odd,
}

impl Kind {
    /// What the socket is, whatever the task says it is: sockets can be inherited.
    #[inline(always)]
    pub(crate) fn of(sk: Ptr) -> Self {
        let family: u16 = load(sk, at!(SOCK_FAMILY));
        let (kind, protocol): (u16, u16) = (load(sk, at!(SOCK_TYPE)), load(sk, at!(SOCK_PROTOCOL)));
        if family == AF_UNIX || family == AF_NETLINK {
            return Self::Local;
        }
        if is_kernels(sk) {
            return Self::Kernel;
        }
        if family != AF_INET && family != AF_INET6 {
            return Self::Odd;
        }
        match (kind, protocol) {
            (SOCK_STREAM, TCP) => Self::Tcp,
            (SOCK_DGRAM, UDP) => Self::Udp,
            _ => Self::Odd,
        }
    }

    /// The protocol's number as keys spell it.
    #[inline(always)]
    pub(crate) fn protocol(self) -> u8 {
        if matches!(self, Self::Tcp) { TCP as u8 } else { UDP as u8 }
    }
}

/// Is it the kernel's own? Not if it lies behind a descriptor: of SMC's sockets the inner one can (`smc_switch_to_fallback`).
#[inline(always)]
fn is_kernels(sk: Ptr) -> bool {
    if u64::from(load::<u8, _, _>(sk, at!(SOCK_KERNEL_BYTE))) & off!(SOCK_KERNEL_MASK) == 0 {
        return false;
    }
    let [socket] = kernel::peek(sk as u64 + off!(SOCK_SOCKET));
    let [file] = if socket == 0 { [0] } else { kernel::peek(socket + off!(SOCKET_FILE)) };
    file == 0
}

/// A key as the three words that end the scratch space: zeroes, then the key. All zeroes is no key.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Key(pub(crate) [u64; 3]);

impl Key {
    #[inline(always)]
    pub(crate) fn v4(address: u32, protocol: u8, port: u16) -> Self {
        Self([0, 0, key::v4_word(address, protocol, port)])
    }

    /// Of an IPv6 address, which may be a mapped one.
    #[inline(always)]
    pub(crate) fn v6(halves: [u64; 2], protocol: u8, port: u16) -> Self {
        let [high, low] = halves;
        if high == 0 && low as u32 == key::MAPPED_PREFIX {
            return Self::v4((low >> 32) as u32, protocol, port);
        }
        let (first, second, third) = key::v6_words(high, low, protocol, port);
        Self([u64::from(first) << 32, second, third])
    }

    /// The protocol in the key of an IPv4 address.
    #[inline(always)]
    pub(crate) fn protocol(self) -> u8 {
        (self.0[2] >> 40) as u8
    }

    #[inline(always)]
    pub(crate) fn is_v4(self) -> bool {
        // An IPv6 key's family is in the first word; the second is all address, and may be zero.
        self.0[0] == 0
    }

    /// The peer that a socket is connected to.
    #[inline(always)]
    pub(crate) fn of_peer(sk: Ptr, kind: Kind) -> Self {
        let port: u16 = load(sk, at!(SOCK_PEER_PORT));
        if load::<u16, _, _>(sk, at!(SOCK_FAMILY)) == AF_INET {
            Self::v4(load(sk, at!(SOCK_PEER_V4)), kind.protocol(), port)
        } else {
            Self::v6(halves(sk, at!(SOCK_PEER_V6)), kind.protocol(), port)
        }
    }

    /// The address that a socket is bound to.
    #[inline(always)]
    pub(crate) fn of_local(sk: Ptr, kind: Kind) -> Self {
        // The one port that the kernel holds in host order.
        let port = load::<u16, _, _>(sk, at!(SOCK_LOCAL_PORT)).swap_bytes();
        if load::<u16, _, _>(sk, at!(SOCK_FAMILY)) == AF_INET {
            Self::v4(load(sk, at!(SOCK_LOCAL_V4)), kind.protocol(), port)
        } else {
            Self::v6(halves(sk, at!(SOCK_LOCAL_V6)), kind.protocol(), port)
        }
    }

    /// Where the bytes go that a datagram socket has pending: whatever address comes with more of them is not looked at.
    #[inline(always)]
    pub(crate) fn of_pending(sk: Ptr, family: u16) -> Self {
        let flow = sk as u64 + off!(INET_CORK) + off!(CORK_FLOW);
        if family == AF_INET {
            let [to] = kernel::peek(flow + off!(FLOW_V4_TO));
            let [ports] = kernel::peek(flow + off!(FLOW_V4_PORTS));
            Self::v4(to as u32, UDP as u8, ports as u16)
        } else {
            let [ports] = kernel::peek(flow + off!(FLOW_V6_PORTS));
            Self::v6(kernel::peek(flow + off!(FLOW_V6_TO)), UDP as u8, ports as u16)
        }
    }

    /// Makes it the object in the scratch space.
    #[inline(always)]
    pub(crate) fn keep(self, scratch: *mut Scratch) {
        let length = if self.is_v4() { key::V4_LEN } else { key::V6_LEN };
        walk::overwritten(scratch);
        // SAFETY: `scratch` is a map value, and the place is the last three words before the slack.
        unsafe {
            put(end(scratch, 24).cast::<[u64; 3]>(), self.0);
            put(&raw mut (*scratch).start, (PATH_MAX - length) as u64);
        }
    }

    /// The one that lies in the scratch space. What is in front of it belongs to the record's header by now.
    #[inline(always)]
    pub(crate) fn kept(scratch: *mut Scratch) -> Self {
        // SAFETY: as above.
        let ([first, second, third], start) =
            unsafe { (get(end(scratch, 24).cast::<[u64; 3]>()), get(&raw const (*scratch).start)) };
        if start == (PATH_MAX - key::V4_LEN) as u64 {
            Self([0, 0, third])
        } else {
            Self([first >> 32 << 32, second, third])
        }
    }

    /// Tells keys apart for `allows: first`.
    #[inline(always)]
    pub(crate) fn digest(self, session: u64) -> u64 {
        let [first, second, third] = self.0;
        let mixed = (third ^ word!(DIGEST_KEY)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ^ second.wrapping_mul(0xff51_afd7_ed55_8ccd)
            ^ first.wrapping_mul(0xc4ce_b9fe_1a85_ec53)
            ^ session.wrapping_mul(0x2545_f491_4f6c_dd1d);
        mixed >> 32
    }
}

/// What became of an address.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Spelt {
    /// Its key lies in the scratch space.
    Key = 0,
    /// No address: a connection is dissolved, or a datagram goes to the connected peer.
    Unspecified = 1,
    /// A family or length that guard does not know.
    Unknown = 2,
}

impl Spelt {
    #[inline(always)]
    pub(crate) fn from_code(code: u64) -> Self {
        match code {
            0 => Self::Key,
            1 => Self::Unspecified,
            _ => Self::Unknown,
        }
    }
}

/// What `spell` must know besides: the length, the protocol, whether an unspecified family is IPv4.
#[inline(always)]
pub(crate) fn about(length: u32, kind: Kind, unspecified_is_v4: bool) -> u64 {
    u64::from(length)
        | u64::from(kind.protocol()) << 32
        | if unspecified_is_v4 { UNSPECIFIED_IS_V4 } else { 0 }
}

const UNSPECIFIED_IS_V4: u64 = 1 << 40;
/// The address is to be bound to, and the wildcard stands for itself.
pub(crate) const LOCAL: u64 = 1 << 41;
/// The wildcard is no address. What it means to a datagram, a control message chooses, or another thread that
/// connects the socket before the call comes to it.
pub(crate) const EXACT: u64 = 1 << 42;

/// Spells the `struct sockaddr` at a kernel address. Its fields are the kernel's copy, so what is decided here
/// is what the call acts on.
#[inline(never)]
pub(crate) fn spell(scratch: *mut Scratch, sk: Ptr, address: u64, about: u64) -> u64 {
    if scratch.is_null() || sk.is_null() {
        return Spelt::Unknown as u64;
    }
    let (length, protocol) = (about as u32 as i32, (about >> 32) as u8);
    if length < 2 {
        return Spelt::Unknown as u64;
    }
    // Family, port and IPv4 address. The kernel's buffer has room for every address, however short this is.
    let Some(front) = kernel::read::<u64>(address) else { return Spelt::Unknown as u64 };
    let port = (front >> 16) as u16;
    let family = match front as u16 {
        AF_UNSPEC if about & UNSPECIFIED_IS_V4 != 0 => AF_INET,
        family => family,
    };
    if family == AF_UNSPEC {
        return Spelt::Unspecified as u64;
    }
    let (peer, exact) = (about & LOCAL == 0, about & EXACT != 0);
    if family == AF_INET && length >= 16 {
        let address = (front >> 32) as u32;
        if exact && address == 0 {
            return Spelt::Unknown as u64;
        }
        let address = if peer { v4_peer(sk, address) } else { address };
        Key::v4(address, protocol, port).keep(scratch);
        return Spelt::Key as u64;
    }
    if family == AF_INET6 && length >= 24 {
        let Some(halves) = kernel::read::<[u64; 2]>(address + 8) else { return Spelt::Unknown as u64 };
        if exact && is_wildcard(halves) {
            return Spelt::Unknown as u64;
        }
        let halves = if peer { v6_peer(sk, halves) } else { halves };
        Key::v6(halves, protocol, port).keep(scratch);
        return Spelt::Key as u64;
    }
    Spelt::Unknown as u64
}

#[inline(always)]
fn halves<const N: u32>(sk: Ptr, at: At<N, 0>) -> [u64; 2] {
    let words: [u32; 4] =
        [load(sk, at), load(sk, at.plus::<4>()), load(sk, at.plus::<8>()), load(sk, at.plus::<12>())];
    [u64::from(words[0]) | u64::from(words[1]) << 32, u64::from(words[2]) | u64::from(words[3]) << 32]
}

const LOOPBACK_V4: u32 = u32::from_le_bytes([127, 0, 0, 1]);
const LOOPBACK_V6: u64 = 1 << 56;

/// The IPv6 wildcard, or the IPv4 one mapped.
#[inline(always)]
pub(crate) fn is_wildcard([high, low]: [u64; 2]) -> bool {
    high == 0 && (low == 0 || low == u64::from(key::MAPPED_PREFIX))
}

#[inline(always)]
fn v4_peer(sk: Ptr, address: u32) -> u32 {
    if address == 0 { v4_meant(0, source_v4(sk)) } else { address }
}

#[inline(always)]
fn v6_peer(sk: Ptr, halves_of: [u64; 2]) -> [u64; 2] {
    let [_, bound] = halves(sk, at!(SOCK_LOCAL_V6));
    if !is_wildcard(halves_of) {
        return halves_of;
    }
    v6_meant(halves_of, source_v4(sk), bound as u32 == key::MAPPED_PREFIX)
}

/// The IPv4 address that a socket sends from, 0 if that is open. One bound to a group or to a broadcast address receives
/// there and sends from another.
#[inline(always)]
fn source_v4(sk: Ptr) -> u32 {
    kernel::peek::<1>(sk as u64 + off!(INET_SOURCE))[0] as u32
}

/// Is an IPv6 socket connected to an IPv4 address? To name no address beside it means it as an IPv6 one to `udpv6_sendmsg`.
#[inline(always)]
pub(crate) fn is_mapped(sk: Ptr, peer: Key) -> bool {
    peer.is_v4() && load::<u16, _, _>(sk, at!(SOCK_FAMILY)) == AF_INET6
}

/// The wildcard as a peer is the address the socket is bound to, else this host's loopback
/// (`ip_route_output_key_hash_rcu`, net/ipv4/route.c).
#[inline(always)]
pub(crate) fn v4_meant(address: u32, bound: u32) -> u32 {
    match (address, bound) {
        (0, 0) => LOOPBACK_V4,
        (0, bound) => bound,
        (address, _) => address,
    }
}

/// `tcp_v6_connect` and `__ip6_datagram_connect`: the wildcard as a peer is the loopback, the IPv4 one if the
/// socket is bound to a mapped address, whichever that is.
#[inline(always)]
pub(crate) fn v6_meant([high, low]: [u64; 2], bound: u32, to_mapped: bool) -> [u64; 2] {
    let mapped = |address: u32| [0, u64::from(key::MAPPED_PREFIX) | u64::from(address) << 32];
    if high == 0 && low as u32 == key::MAPPED_PREFIX {
        return mapped(v4_meant((low >> 32) as u32, bound));
    }
    if high != 0 || low != 0 {
        return [high, low];
    }
    if to_mapped { mapped(LOOPBACK_V4) } else { [0, LOOPBACK_V6] }
}

/// The place so many bytes before the object's end.
///
/// # Safety
///
/// `scratch` is a map value, and the bytes before the end are at least that many.
#[inline(always)]
unsafe fn end(scratch: *mut Scratch, back: usize) -> *mut u8 {
    // SAFETY: as the caller promises.
    unsafe { (&raw mut (*scratch).bytes).cast::<u8>().add(HEAD + PATH_MAX - back) }
}

/// The family of the address to which a datagram socket has bytes pending (MSG_MORE, UDP_CORK), 0 if it has none.
#[inline(always)]
pub(crate) fn pending(sk: Ptr) -> u16 {
    kernel::peek::<1>(sk as u64 + off!(UDP_PENDING))[0] as u16
}

/// The cgroup that a socket was made in. By a socket that is cast, see [`kernel::loose`]; on the quick way it is not.
#[inline(always)]
pub(crate) fn cgroup(sk: Ptr) -> Ptr {
    follow(kernel::cast(sk as u64, off!(SOCKET_TYPE)), at!(SOCK_CGROUP))
}

/// The abstract name of a unix socket, spelt with `@` for the NUL; false if it has none.
#[inline(never)]
pub(crate) fn spell_abstract(scratch: *mut Scratch, unix: Ptr) -> u64 {
    /// `sun_path` and its length.
    const SUN_PATH: u64 = 2;
    const NAMES: u64 = 128;
    if scratch.is_null() || unix.is_null() {
        return Spelt::Unknown as u64;
    }
    let address = follow(unix, at!(UNIX_ADDRESS));
    if address.is_null() {
        return Spelt::Unspecified as u64;
    }
    let length = load::<u32, _, _>(address, at!(UNIX_ADDRESS_LENGTH));
    if length as u64 <= SUN_PATH || length as u64 >= NAMES {
        return Spelt::Unknown as u64;
    }
    let length = kernel::masked(u64::from(length) - SUN_PATH, NAMES - 1);
    let from = member(address, off!(UNIX_ADDRESS_NAME) + SUN_PATH) as u64;
    walk::overwritten(scratch);
    // SAFETY: `length` is below `NAMES`, so the bytes lie before the slack.
    unsafe {
        let to = end(scratch, NAMES as usize).add(kernel::masked(NAMES - length, NAMES - 1) as usize);
        if !kernel::copy(to, length as u32, from) || get(to) != 0 {
            return Spelt::Unknown as u64;
        }
        put(to, key::ABSTRACT);
        put(&raw mut (*scratch).start, PATH_MAX as u64 - length);
    }
    Spelt::Key as u64
}
