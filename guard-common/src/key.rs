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

/// The key of an IPv4 peer as the word it is in memory. `address` and `port` are as the kernel holds them:
/// network order, loaded by a little-endian machine.
#[inline(always)]
pub const fn v4_word(address: u32, protocol: u8, port: u16) -> u64 {
    V4 as u64 | (address as u64) << 8 | (protocol as u64) << 40 | (port as u64) << 48
}

/// The key of an IPv6 peer the same way: four bytes, then two words. `high` and `low` are the address's halves.
#[inline(always)]
pub const fn v6_words(high: u64, low: u64, protocol: u8, port: u16) -> (u32, u64, u64) {
    (
        V6 as u32 | (high as u32) << 8,
        high >> 24 | low << 40,
        low >> 24 | (protocol as u64) << 40 | (port as u64) << 48,
    )
}

/// `::ffff:0:0/96` in front of a mapped address, as the lower half of an address word holds it.
pub const MAPPED_PREFIX: u32 = 0xffff_0000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_bytes_spell_the_same_keys() {
        let port = u16::from_le_bytes(18080u16.to_be_bytes());
        let word = v4_word(u32::from_le_bytes([127, 0, 0, 1]), 6, port);
        assert_eq!(word.to_le_bytes(), v4([127, 0, 0, 1], 6, 18080));
        let address: [u8; 16] = core::array::from_fn(|i| i as u8 * 3 + 1);
        let half = |at: usize| u64::from_le_bytes(core::array::from_fn(|i| address[at + i]));
        let (first, second, third) = v6_words(half(0), half(8), 17, port);
        let mut key = [0; V6_LEN];
        key[..4].copy_from_slice(&first.to_le_bytes());
        key[4..12].copy_from_slice(&second.to_le_bytes());
        key[12..].copy_from_slice(&third.to_le_bytes());
        assert_eq!(key, v6(address, 17, 18080));
    }

    #[test]
    fn the_prefix_of_mapped_addresses_is_the_one_of_the_bytes() {
        let address = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1];
        assert_eq!(mapped(address), Some([10, 0, 0, 1]));
        assert_eq!(u32::from_le_bytes([address[8], address[9], address[10], address[11]]), MAPPED_PREFIX);
    }
}
