//! Signatures with a shared secret: HMAC-SHA256 over the time and the body, as hexadecimal.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::config::Secret;

/// The header of the time, in seconds since 1970, and the one of the signature.
pub(crate) const TIME: &str = "Guard-Timestamp";
pub(crate) const SIGNATURE: &str = "Guard-Signature";
/// What the signatures of this kind begin with.
const KIND: &str = "v1=";

fn over(secret: &Secret, first: &[u8], body: &[u8]) -> Option<Hmac<Sha256>> {
    // A key of any length will do.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.bytes()).ok()?;
    mac.update(first);
    mac.update(b".");
    mac.update(body);
    Some(mac)
}

/// The two headers of a message that is sent at `time`.
pub(crate) fn headers(secret: &Secret, time: u64, body: &[u8]) -> [(&'static str, String); 2] {
    let time = time.to_string();
    let signature = over(secret, time.as_bytes(), body).map(|mac| {
        let digits: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{KIND}{digits}")
    });
    [(TIME, time), (SIGNATURE, signature.unwrap_or_default())]
}

/// Whether an answer is by who knows the secret, and to the very question that had this signature.
pub(crate) fn answers(secret: &Secret, question: &str, body: &[u8], signature: &str) -> bool {
    let Some(digits) = signature.strip_prefix(KIND) else { return false };
    let bytes: Option<Vec<u8>> = digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    // Compared in a time that does not depend on where they differ.
    bytes
        .zip(over(secret, question.as_bytes(), body))
        .is_some_and(|(bytes, mac)| mac.verify_slice(&bytes).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENSSL: &str = "d3793e2b4103edfbd98cc19591832f5fad701d413db9fcae0ae7dab8184ed207";

    /// RFC 4231, test case 2, and what openssl makes of a message of ours.
    #[test]
    fn signatures_are_hmac_sha256() {
        let secret = Secret::of(b"Jefe");
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.bytes()).unwrap();
        mac.update(b"what do ya want for nothing?");
        let rfc = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let digits: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digits, rfc);
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac Jefe
        let [time, signature] = headers(&secret, 1_700_000_000, b"{}");
        assert_eq!(time, ("Guard-Timestamp", "1700000000".to_owned()));
        assert_eq!(signature, ("Guard-Signature", format!("v1={OPENSSL}")));
    }

    #[test]
    fn an_answer_is_to_one_question_and_by_who_knows_the_secret() {
        let (secret, other) = (Secret::of(b"one"), Secret::of(b"another"));
        let [_, (_, question)] = headers(&secret, 7, b"question");
        let sign = |secret: &Secret, question: &str, body: &[u8]| {
            let mac = over(secret, question.as_bytes(), body).unwrap();
            let digits: String =
                mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            format!("v1={digits}")
        };
        let body = br#"{"answer":"approve"}"#;
        let right = sign(&secret, &question, body);
        assert!(answers(&secret, &question, body, &right));
        assert!(!answers(&secret, &question, br#"{"answer":"deny"}"#, &right), "another body");
        assert!(!answers(&secret, "v1=00", body, &right), "another question");
        assert!(!answers(&secret, &question, body, &sign(&other, &question, body)), "another secret");
        for wrong in
            ["", "v1=", "v1=zz", "v2=00", &right[3..], &right[..right.len() - 2], &format!("{right}00")]
        {
            assert!(!answers(&secret, &question, body, wrong), "{wrong}");
        }
    }
}
