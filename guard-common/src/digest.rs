//! What an answer is bound to: SipHash-1-3 over words, keyed with a secret of the boot. Nobody who does not
//! know the key can make one call look like another.

/// The state between words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Digest {
    v: [u64; 4],
    words: u64,
}

impl Digest {
    /// Words of the state.
    pub const WORDS: usize = 5;

    /// The state, to be kept.
    #[inline(always)]
    pub const fn words(self) -> [u64; Self::WORDS] {
        let [a, b, c, d] = self.v;
        [a, b, c, d, self.words]
    }

    /// A state that was kept.
    #[inline(always)]
    pub const fn from_words([a, b, c, d, words]: [u64; Self::WORDS]) -> Self {
        Self { v: [a, b, c, d], words }
    }

    /// Before any word.
    #[inline(always)]
    pub const fn new(key: u64) -> Self {
        // One secret word serves as both halves of the key.
        let other = key.rotate_left(32) ^ 0xa076_1d64_78bd_642f;
        Self {
            v: [
                key ^ 0x736f_6d65_7073_6575,
                other ^ 0x646f_7261_6e64_6f6d,
                key ^ 0x6c79_6765_6e65_7261,
                other ^ 0x7465_6462_7974_6573,
            ],
            words: 0,
        }
    }

    #[inline(always)]
    const fn round(mut self) -> Self {
        let [mut a, mut b, mut c, mut d] = self.v;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.v = [a, b, c, d];
        self
    }

    /// After one more word.
    #[inline(always)]
    #[must_use]
    pub const fn word(mut self, word: u64) -> Self {
        self.v[3] ^= word;
        self = self.round();
        self.v[0] ^= word;
        self.words = self.words.wrapping_add(1);
        self
    }

    /// The digest; never 0, which stands for none.
    #[inline(always)]
    #[must_use]
    pub const fn finish(self) -> u64 {
        let mut this = self.word(self.words << 56);
        this.v[2] ^= 0xff;
        let this = this.round().round().round();
        let digest = this.v[0] ^ this.v[1] ^ this.v[2] ^ this.v[3];
        if digest == 0 { 1 } else { digest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: u64, words: &[u64]) -> u64 {
        words.iter().fold(Digest::new(key), |digest, word| digest.word(*word)).finish()
    }

    #[test]
    fn every_word_its_place_and_the_key_matter() {
        let words = [1, 2, 3, 4, 5];
        let digest = of(7, &words);
        assert_eq!(of(7, &words), digest);
        assert_ne!(of(8, &words), digest);
        for at in 0..words.len() {
            for bit in 0..64 {
                let mut other = words;
                other[at] ^= 1 << bit;
                assert_ne!(of(7, &other), digest, "word {at} bit {bit}");
            }
        }
        assert_ne!(of(7, &[2, 1, 3, 4, 5]), digest);
        assert_ne!(of(7, &words[..4]), digest);
        assert_ne!(of(7, &[1, 2, 3, 4, 5, 0]), digest);
    }

    #[test]
    fn a_digest_is_never_none() {
        assert!((0..10_000).all(|key| of(key, &[key]) != 0));
    }
}
