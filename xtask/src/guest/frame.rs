//! Reads the frames a guest's PID 1 sends (`tests/guest-init/src/link.rs` writes them).

use std::io::{self, Read};

/// One frame: what happened in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// The command is about to start; the kernel's release.
    Ready(String),
    Out(Vec<u8>),
    Err(Vec<u8>),
    Exited(i32),
    Killed(i32),
    /// A file that was asked for begins; its content follows in pieces.
    File(String),
    Piece(Vec<u8>),
    /// PID 1 could not do its work.
    Broken(String),
}

/// No frame is longer: a larger length means that something else wrote to the port.
const LONGEST: usize = 64 * 1024;

/// The next frame, or `None` where the stream ends between two frames.
pub(crate) fn read(from: &mut impl Read) -> io::Result<Option<Frame>> {
    let mut kind = [0];
    if from.read(&mut kind)? == 0 {
        return Ok(None);
    }
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > LONGEST {
        return Err(garbage(kind[0]));
    }
    let mut payload = vec![0; length];
    from.read_exact(&mut payload)?;
    let text = |payload: &[u8]| String::from_utf8_lossy(payload).into_owned();
    let number = |payload: &[u8]| payload.try_into().map(i32::from_le_bytes).map_err(|_| garbage(kind[0]));
    Ok(Some(match kind[0] {
        b'R' => Frame::Ready(text(&payload)),
        b'O' => Frame::Out(payload),
        b'E' => Frame::Err(payload),
        b'F' => Frame::File(text(&payload)),
        b'D' => Frame::Piece(payload),
        b'X' => Frame::Exited(number(&payload)?),
        b'K' => Frame::Killed(number(&payload)?),
        b'B' => Frame::Broken(text(&payload)),
        kind => return Err(garbage(kind)),
    }))
}

fn garbage(kind: u8) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not a frame (kind {kind:#04x})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_were_sent() {
        let mut bytes: &[u8] = b"R\x03\0\0\x006.1O\x02\0\0\0a\nX\x04\0\0\0\x07\0\0\0";
        assert_eq!(read(&mut bytes).unwrap(), Some(Frame::Ready("6.1".into())));
        assert_eq!(read(&mut bytes).unwrap(), Some(Frame::Out(b"a\n".into())));
        assert_eq!(read(&mut bytes).unwrap(), Some(Frame::Exited(7)));
        assert_eq!(read(&mut bytes).unwrap(), None);
    }

    #[test]
    fn a_torn_or_foreign_stream_is_an_error() {
        for bytes in [&b"X\x04\0\0\0\x07"[..], b"[    0.1] panic", b"X\x01\0\0\0\x07", b"O\xff\xff\xff\xff"] {
            assert!(read(&mut &bytes[..]).is_err(), "{bytes:?}");
        }
    }
}
