//! A scope for a process, asked of systemd over its private socket: one message of the D-Bus protocol there, one
//! back. (<https://dbus.freedesktop.org/doc/dbus-specification.html>, `org.freedesktop.systemd1(5)`.)

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::limits::Limits;

const SOCKET: &str = "/run/systemd/private";
const PATIENCE: Duration = Duration::from_secs(10);
/// No answer to our one question is longer.
const LONGEST: usize = 64 * 1024;

/// Whether systemd runs this system.
pub(super) fn is_there() -> bool {
    Path::new("/run/systemd/system").is_dir() && Path::new(SOCKET).exists()
}

/// Asks for a scope of this name in `slice` with the process in it. When this returns it is on its way.
pub(super) fn make(name: &str, slice: &str, pid: u32, purpose: &str, limits: &Limits) -> io::Result<()> {
    let mut stream = UnixStream::connect(SOCKET)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // The uid in hexadecimal digits of its decimal ones; only root gets here.
    stream.write_all(b"\0AUTH EXTERNAL 30\r\n")?;
    let answer = line(&mut stream)?;
    if !answer.starts_with("OK ") {
        return Err(io::Error::other(format!("systemd does not let us in: {answer}")));
    }
    stream.write_all(b"BEGIN\r\n")?;
    stream.write_all(&call(&body(name, slice, pid, purpose, limits)))?;
    // Signals may come before the answer.
    loop {
        let (kind, text) = message(&mut stream)?;
        match kind {
            2 => return Ok(()),
            3 => return Err(io::Error::other(format!("systemd refuses the scope: {text}"))),
            _ => {}
        }
    }
}

fn line(stream: &mut UnixStream) -> io::Result<String> {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(b"\r\n") {
        stream.read_exact(&mut byte)?;
        text.push(byte[0]);
        if text.len() > 512 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
}

/// The kind of the next message, and for an error what it says.
fn message(stream: &mut UnixStream) -> io::Result<(u8, String)> {
    let mut head = [0; 16];
    stream.read_exact(&mut head)?;
    let number =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
    let (body, fields) = (number(4), number(12));
    if head[0] != b'l' || body > LONGEST || fields > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut rest = vec![0; fields.next_multiple_of(8) + body];
    stream.read_exact(&mut rest)?;
    let text = rest.get(fields.next_multiple_of(8) + 4..).unwrap_or_default();
    Ok((head[1], String::from_utf8_lossy(text).trim_end_matches('\0').to_owned()))
}

/// A body in the making: little-endian, everything aligned to its size from the start.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number(&mut self, number: u32) {
        self.align(4);
        self.0.extend(number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u32);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, signature: &str) {
        self.0.push(signature.len() as u8);
        self.0.extend(signature.as_bytes());
        self.0.push(0);
    }

    /// An array: its length in bytes counts from the first element on, after the padding before it.
    fn array(&mut self, align: usize, fill: impl FnOnce(&mut Self)) {
        self.number(0);
        let length_at = self.0.len() - 4;
        self.align(align);
        let start = self.0.len();
        fill(self);
        let length = (self.0.len() - start) as u32;
        self.0[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn property(&mut self, name: &str, signature: &str, value: impl FnOnce(&mut Self)) {
        self.align(8);
        self.text(name);
        self.signature(signature);
        value(self);
    }

    fn wide(&mut self, number: u64) {
        self.align(8);
        self.0.extend(number.to_le_bytes());
    }
}

/// The arguments of `StartTransientUnit(ssa(sv)a(sa(sv)))`.
fn body(name: &str, slice: &str, pid: u32, purpose: &str, limits: &Limits) -> Vec<u8> {
    let mut body = Body::default();
    body.text(name);
    body.text("fail");
    body.array(8, |body| {
        body.property("Description", "s", |body| body.text(purpose));
        body.property("Slice", "s", |body| body.text(slice));
        body.property("CollectMode", "s", |body| body.text("inactive-or-failed"));
        body.property("PIDs", "au", |body| body.array(4, |body| body.number(pid)));
        if let Some(tasks) = limits.tasks {
            body.property("TasksMax", "t", |body| body.wide(tasks));
        }
        if let Some(memory) = limits.memory {
            body.property("MemoryMax", "t", |body| body.wide(memory));
        }
    });
    body.array(8, |_| {});
    body.0
}

/// The whole message.
fn call(body: &[u8]) -> Vec<u8> {
    let mut message = Body(vec![b'l', 1, 0, 1]);
    message.number(body.len() as u32);
    message.number(1);
    message.array(8, |message| {
        let fields = [
            (1, "o", "/org/freedesktop/systemd1"),
            (2, "s", "org.freedesktop.systemd1.Manager"),
            (3, "s", "StartTransientUnit"),
            (6, "s", "org.freedesktop.systemd1"),
        ];
        for (code, signature, value) in fields {
            message.align(8);
            message.0.push(code);
            message.signature(signature);
            message.text(value);
        }
        message.align(8);
        message.0.push(8);
        message.signature("g");
        message.signature("ssa(sv)a(sa(sv))");
    });
    message.align(8);
    message.0.extend(body);
    message.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_laid_out_as_the_protocol_says() {
        let limits = Limits { runtime: None, tasks: Some(7), memory: None };
        let body = body("a.scope", "guard.slice", 42, "why", &limits);
        assert_eq!(&body[..12], b"\x07\0\0\0a.scope\0");
        let message = call(&body);
        assert_eq!(&message[..4], b"l\x01\0\x01");
        assert_eq!(u32::from_le_bytes(message[4..8].try_into().unwrap()) as usize, body.len());
        let fields = u32::from_le_bytes(message[12..16].try_into().unwrap()) as usize;
        assert_eq!(message.len(), (16 + fields).next_multiple_of(8) + body.len());
        assert!(message.ends_with(&body));
        // The last array is empty: a length of 0, and padding to the alignment of what is not there.
        assert!(body.len().is_multiple_of(8) && body.ends_with(&[0; 4]));
    }
}
