//! Hashes and signatures: what a line of the chain is bound to.

use std::fmt;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

/// SHA-256 of a line without its newline.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What a chain names that knows of nothing before it, because what it should go on from is lost.
    pub const NOTHING: Self = Self([0; 32]);

    /// Reads 64 lower-case hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        unhex(text).map(Self)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

/// The hash of a line without its newline.
pub fn hash(line: &[u8]) -> Hash {
    Hash(Sha256::digest(line).into())
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    push_hex(&mut out, bytes);
    String::from_utf8_lossy(&out).into_owned()
}

/// Appends lower-case hexadecimal digits.
pub(super) fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut digits = [0; 64];
    for some in bytes.chunks(digits.len() / 2) {
        for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(some) {
            *pair = HEX[usize::from(*byte)];
        }
        out.extend_from_slice(&digits[..some.len() * 2]);
    }
}

/// `00` to `ff`.
const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut n = 0;
    while n < 256 {
        pairs[n] = [digits[n >> 4], digits[n & 15]];
        n += 1;
    }
    pairs
};

/// Exactly `N` bytes of lower-case hexadecimal digits.
pub(super) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

/// What a signature's member looks like in a signed line, and always at its end.
const MEMBER: &str = ",\"sig\":\"";

/// Adds a signature to a line that is an object: the signed bytes are the line without the member.
pub(super) fn sign(line: &mut Vec<u8>, key: &SigningKey) {
    let signature = key.sign(line);
    line.pop();
    line.extend_from_slice(MEMBER.as_bytes());
    push_hex(line, &signature.to_bytes());
    line.extend_from_slice(b"\"}");
}

/// Whether a signed line is the key's.
pub(super) fn is_signed(line: &[u8], key: &VerifyingKey) -> bool {
    let Some((body, digits)) = split(line) else { return false };
    let Some(signature) = unhex::<64>(digits) else { return false };
    key.verify_strict(&body, &Signature::from_bytes(&signature)).is_ok()
}

/// The signed bytes and the signature's digits.
fn split(line: &[u8]) -> Option<(Vec<u8>, &str)> {
    let body = line.len().checked_sub(MEMBER.len() + 128 + 2)?;
    let (body, member) = line.split_at(body);
    let digits = member.strip_prefix(MEMBER.as_bytes())?.strip_suffix(b"\"}")?;
    let mut signed = body.to_vec();
    signed.push(b'}');
    Some((signed, std::str::from_utf8(digits).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_the_whole_line_by_that_key() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let mut line = b"{\"kind\":\"checkpoint\",\"records\":3}".to_vec();
        sign(&mut line, &key);
        assert!(is_signed(&line, &key.verifying_key()));
        assert!(!is_signed(&line, &SigningKey::from_bytes(&[8; 32]).verifying_key()));
        for at in 0..line.len() {
            let mut forged = line.clone();
            forged[at] ^= 1;
            assert!(!is_signed(&forged, &key.verifying_key()), "byte {at}");
        }
    }

    #[test]
    fn hexadecimal_is_lower_case_and_whole() {
        assert_eq!(unhex::<2>("0aff"), Some([0x0a, 0xff]));
        assert_eq!(unhex::<2>("0AFF"), None);
        assert_eq!(unhex::<2>("0af"), None);
        assert_eq!(Hash::from_hex(&hash(b"x").to_string()), Some(hash(b"x")));
    }
}
