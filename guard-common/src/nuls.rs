//! Words that end in a NUL, eight bytes at a time: where argv ends is looked for in each exec.

const ONES: u64 = 0x0101_0101_0101_0101;
const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;

/// The NULs among eight bytes, the first in the lowest: their highest bit is set, and no other.
#[inline(always)]
pub const fn of(bytes: u64) -> u64 {
    !(((bytes & LOW) + LOW) | bytes | LOW)
}

/// The same of the first `length` bytes; none are behind.
#[inline(always)]
pub const fn among(bytes: u64, length: u64) -> u64 {
    let nuls = of(bytes);
    if length < 8 { nuls & ((1 << (length * 8)) - 1) } else { nuls }
}

/// How many.
#[inline(always)]
pub const fn count(nuls: u64) -> u64 {
    (nuls >> 7).wrapping_mul(ONES) >> 56
}

/// How many bytes there are up to the `n`th NUL, it included. There must be so many.
#[inline(always)]
pub const fn through(nuls: u64, n: u64) -> u64 {
    let mut left = nuls;
    let mut i = 1;
    while i < 8 {
        if i < n {
            left &= left.wrapping_sub(1);
        }
        i += 1;
    }
    // All bits below the lowest one that is left.
    let below = !left & left.wrapping_sub(1);
    (below & ONES).wrapping_mul(ONES) >> 56
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pattern of NULs, with bytes beside them that borrow and carry easily.
    #[test]
    fn agrees_with_a_look_at_each_byte() {
        for other in [1u8, 0x7f, 0x80, 0x81, 0xff] {
            for pattern in 0..=255u8 {
                let bytes: [u8; 8] = core::array::from_fn(|i| if pattern >> i & 1 == 1 { 0 } else { other });
                for length in 0..=9u64 {
                    let nuls = among(u64::from_le_bytes(bytes), length);
                    let mut n = 0;
                    for (i, byte) in bytes.iter().enumerate().take(length.min(8) as usize) {
                        if *byte == 0 {
                            n += 1;
                            assert_eq!(through(nuls, n), i as u64 + 1, "{bytes:?} {length} {n}");
                        }
                    }
                    assert_eq!(count(nuls), n, "{bytes:?} {length}");
                }
            }
        }
    }
}
