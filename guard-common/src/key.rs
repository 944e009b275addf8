//! How things that are not paths are spelt for the automata.
//!
//! An address is a family byte, the address, the protocol, the port in network order. No path starts with
//! these bytes, and an abstract socket name starts with `@`, so one automaton takes them all.

/// First byte of an IPv4 key.
pub const V4: u8 = 4;
/// First byte of an IPv6 key.
pub const V6: u8 = 6;
/// First byte of an abstract unix socket name.
pub const ABSTRACT: u8 = b'@';
/// Length of an IPv4 key.
pub const V4_LEN: usize = 8;
/// Length of an IPv6 key, the longest.
pub const V6_LEN: usize = 20;

/// The key of an IPv4 peer.
#[inline(always)]
pub const fn v4(address: [u8; 4], protocol: u8, port: u16) -> [u8; V4_LEN] {
    let [a, b, c, d] = address;
    let [high, low] = port.to_be_bytes();
    [V4, a, b, c, d, protocol, high, low]
}

/// The key of an IPv6 peer that is not a mapped IPv4 one.
#[inline(always)]
pub const fn v6(address: [u8; 16], protocol: u8, port: u16) -> [u8; V6_LEN] {
    let mut key = [0; V6_LEN];
    key[0] = V6;
    let mut i = 0;
    while i < 16 {
        key[1 + i] = address[i];
        i += 1;
    }
    let [high, low] = port.to_be_bytes();
    key[17] = protocol;
    key[18] = high;
    key[19] = low;
    key
}

/// The IPv4 address behind `::ffff:a.b.c.d`.
#[inline(always)]
pub const fn mapped(address: [u8; 16]) -> Option<[u8; 4]> {
    match address {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => Some([a, b, c, d]),
        _ => None,
    }
}
