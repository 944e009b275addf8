//! Names of the agent's choice, as text that cannot be mistaken for anything else.
//!
//! Two layers, one after the other: first bytes → text, where everything that is not printable UTF-8 is `\xNN` and a
//! backslash is `\\`; then text → JSON string. So a name can be given back byte for byte, and no newline, control
//! code, escape sequence or text direction mark of a name ever reaches a terminal or ends a line.

/// Appends `bytes` as text.
pub(super) fn push(out: &mut Vec<u8>, bytes: &[u8]) {
    if is_all_plain(bytes) {
        out.extend_from_slice(bytes);
        return;
    }
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let mut room = [0; 4];
            let encoded = c.encode_utf8(&mut room).as_bytes();
            match c {
                '\\' => out.extend_from_slice(b"\\\\"),
                _ if is_safe(c) => out.extend_from_slice(encoded),
                _ => encoded.iter().for_each(|byte| push_hex(out, *byte)),
            }
        }
        chunk.invalid().iter().for_each(|byte| push_hex(out, *byte));
    }
}

/// `bytes` as text.
pub fn escape(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    push(&mut out, bytes);
    // What `push` writes is UTF-8: it copies valid parts and writes the rest in ASCII.
    String::from_utf8_lossy(&out).into_owned()
}

/// Text that is escaped already, or should hold nothing to escape: what controls or hides is escaped all the same.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_safe(c) {
            out.push(c);
        } else {
            out.push_str(&escape(c.encode_utf8(&mut [0; 4]).as_bytes()));
        }
    }
    out
}

/// The bytes that [`escape`] was given; `None` for text that it does not write.
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first != b'\\' {
            out.push(*first);
            rest = tail;
            continue;
        }
        match tail {
            [b'\\', tail @ ..] => {
                out.push(b'\\');
                rest = tail;
            }
            [b'x', high, low, tail @ ..] => {
                let digit = |c: u8| match c {
                    b'0'..=b'9' => Some(c - b'0'),
                    b'a'..=b'f' => Some(c - b'a' + 10),
                    _ => None,
                };
                out.push(digit(*high)? << 4 | digit(*low)?);
                rest = tail;
            }
            _ => return None,
        }
    }
    Some(out)
}

/// Without leaving early, so that the processor looks at many bytes at once: almost all names are plain.
fn is_all_plain(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<16>();
    let special = |some: &[u8]| some.iter().fold(false, |found, byte| found | !is_plain(*byte));
    !chunks.iter().fold(false, |found, chunk| found | special(chunk)) && !special(rest)
}

/// Needs no look at its neighbours, and no escape in JSON either.
const fn is_plain(byte: u8) -> bool {
    byte >= b' ' && byte < 0x7f && byte != b'\\' && byte != b'"'
}

/// Neither a control nor one of the marks that change how the text around them is shown.
fn is_safe(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn push_hex(out: &mut Vec<u8>, byte: u8) {
    out.extend_from_slice(&[b'\\', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

/// Appends text as the inside of a JSON string.
pub(super) fn push_json(out: &mut Vec<u8>, text: &[u8]) {
    if is_all_plain(text) {
        out.extend_from_slice(text);
        return;
    }
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 | 0x7f => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => out.push(byte),
        }
    }
}

/// Appends bytes through both layers.
pub(super) fn push_name(out: &mut Vec<u8>, bytes: &[u8]) {
    if is_all_plain(bytes) {
        out.extend_from_slice(bytes);
        return;
    }
    let mut text = Vec::with_capacity(bytes.len() + 16);
    push(&mut text, bytes);
    push_json(out, &text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_byte_for_byte() {
        let all: Vec<u8> = (0..=255).collect();
        let names: [&[u8]; 9] = [
            b"/etc/passwd",
            b"/tmp/a\nb",
            b"/tmp/\x1b[2J\x07",
            b"/tmp/\xff\xfe\x80",
            "/tmp/\u{202e}gpj.exe".as_bytes(),
            "/tmp/grün/日本".as_bytes(),
            br"/tmp/\x41\\",
            b"/tmp/\"},{\"verdict\":\"allow",
            &all,
        ];
        for name in names {
            let text = escape(name);
            assert_eq!(unescape(&text).as_deref(), Some(name), "{text}");
            assert!(text.chars().all(is_safe), "{text:?}");
            let mut json = b"\"".to_vec();
            push_name(&mut json, name);
            json.push(b'"');
            assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text);
            assert!(!json.contains(&b'\n'));
        }
    }

    #[test]
    fn different_names_are_different_texts() {
        assert_ne!(escape(b"\n"), escape(br"\x0a"));
        assert_eq!(escape(b"\n"), r"\x0a");
        assert_eq!(escape(br"\x0a"), r"\\x0a");
        assert_eq!(escape("grün".as_bytes()), "grün");
        assert_eq!(unescape(r"\x0"), None);
        assert_eq!(unescape(r"\n"), None);
    }
}
