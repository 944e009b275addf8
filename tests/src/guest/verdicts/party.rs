//! The other side of a held call: programs that answer it or hear of it, each a process of its own, outside every
//! domain. What they are told they write down for the test.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use serde_json::Value;

use super::super::sys;

/// A directory that only root writes to.
const PLACE: &str = "/run/kt/decider";
pub(super) const SOCKET: &str = "/run/kt/decider/socket";
pub(super) const SECRET: &str = "/run/kt/decider/secret";
/// What a party was told, a line each.
const TOLD: &str = "/run/kt/decider/told";
/// The secret's bytes.
pub(super) const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";
pub(super) const DECIDER_PORT: u16 = 9191;
pub(super) const WEBHOOK_PORT: u16 = 9192;

/// A process that goes with the test.
#[derive(Debug)]
pub(super) struct Party(pub(super) Pid);

impl Party {
    fn of(body: impl FnOnce() -> io::Result<()>) -> Result<Self> {
        let run = || match body() {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("the other side: {error}");
                1
            }
        };
        Ok(Self(sys::spawn(run).context("start the other side")?))
    }

    /// It is killed where it stands.
    pub(super) fn kill(self) {
        drop(self);
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
        let _ = waitpid(self.0, None);
    }
}

/// Makes the place, with nobody in it and nothing told.
pub(super) fn place() -> Result<()> {
    fs::create_dir_all(PLACE)?;
    fs::set_permissions(PLACE, fs::Permissions::from_mode(0o755))?;
    fs::write(SECRET, KEY)?;
    fs::set_permissions(SECRET, fs::Permissions::from_mode(0o600))?;
    fs::write(TOLD, "")?;
    let _ = fs::remove_file(SOCKET);
    Ok(())
}

/// What was told so far.
pub(super) fn told() -> Vec<Value> {
    let text = fs::read_to_string(TOLD).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// What was told about this object, as soon as there are so many.
pub(super) fn told_of(object: &str, wanted: usize) -> Result<Vec<Value>> {
    let deadline = Instant::now() + super::hold::PATIENCE;
    loop {
        let all = told();
        let found: Vec<Value> = all.iter().filter(|told| told["call"]["object"] == object).cloned().collect();
        if found.len() >= wanted {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "{} of {wanted} about {object}: {all:?}", found.len());
        thread::sleep(Duration::from_millis(20));
    }
}

fn note(told: &[u8]) -> io::Result<()> {
    let mut line = told.to_vec();
    line.push(b'\n');
    File::options().append(true).open(TOLD)?.write_all(&line)
}

/// What a decider does about a call, by the last part of its object's name; `before`, how many it was asked about.
fn answer(question: &Value, before: usize) -> Option<String> {
    let object = question["call"]["object"].as_str().unwrap_or_default();
    let digest = question["call"]["digest"].as_str().unwrap_or_default();
    match object.rsplit('/').next().unwrap_or_default() {
        "no" => Some(r#"{"answer":"deny","note":"not this one"}"#.to_owned()),
        "garbage" => Some("}{".to_owned()),
        "stale" => Some(r#"{"answer":"approve","digest":"0000000000000000"}"#.to_owned()),
        "passed" => Some(r#"{"answer":"pass","note":"ask a person"}"#.to_owned()),
        "silent" => None,
        // Thinks for ever about the first.
        "slow" if before == 0 => None,
        "crash" => sys::leave(7),
        _ => Some(format!(r#"{{"answer":"approve","note":"known","digest":"{digest}"}}"#)),
    }
}

/// Answers on the socket.
pub(super) fn decider() -> Result<Party> {
    let _ = fs::remove_file(SOCKET);
    let listener = UnixListener::bind(SOCKET)?;
    Party::of(move || serve(&listener))
}

/// As [`decider`], from inside a domain, with a socket that was made there.
pub(super) fn impostor(cgroup: &Path) -> Result<Party> {
    const INSIDE: &str = "/t/open/v/impostor";
    let _ = fs::remove_file(SOCKET);
    let _ = fs::remove_file(INSIDE);
    // The process that listens is the peer.
    let party = Party::of(|| {
        while !fs::read_to_string("/proc/self/cgroup")?.contains("/kt/") {
            thread::sleep(Duration::from_millis(5));
        }
        serve(&UnixListener::bind(INSIDE)?)
    })?;
    super::super::agent::enter(cgroup, party.0)?;
    let deadline = Instant::now() + super::hold::PATIENCE;
    while !Path::new(INSIDE).exists() {
        ensure!(Instant::now() < deadline, "it does not listen");
        thread::sleep(Duration::from_millis(5));
    }
    std::os::unix::fs::symlink(INSIDE, SOCKET)?;
    Ok(party)
}

fn serve(listener: &UnixListener) -> io::Result<()> {
    let mut kept: Vec<UnixStream> = Vec::new();
    for (before, stream) in listener.incoming().enumerate() {
        let mut stream = stream?;
        let mut line = Vec::new();
        BufReader::new(&stream).read_until(b'\n', &mut line)?;
        note(line.trim_ascii_end())?;
        match answer(&serde_json::from_slice(&line)?, before) {
            // Whoever has given up does not hear it.
            Some(answer) => drop(stream.write_all(format!("{answer}\n").as_bytes())),
            None => kept.push(stream),
        }
    }
    Ok(())
}

/// Answers on the port; an object that ends in `unsigned` without a signature, one in `foreign` with another secret's.
pub(super) fn http_decider() -> Result<Party> {
    let listener = TcpListener::bind(("127.0.0.1", DECIDER_PORT))?;
    Party::of(move || {
        for (before, stream) in listener.incoming().enumerate() {
            let mut stream = stream?;
            let (head, body) = request(&mut stream)?;
            note(&body)?;
            let question: Value = serde_json::from_slice(&body)?;
            let Some(answer) = answer(&question, before) else { continue };
            let object = question["call"]["object"].as_str().unwrap_or_default();
            let key = if object.ends_with("foreign") { b"another secret of the same kind!" } else { KEY };
            let asked = header(&head, "Guard-Signature").unwrap_or_default();
            let mut more = format!(
                "Guard-Signature: v1={}\r\n",
                hmac(key, &[asked.as_bytes(), b".", answer.as_bytes()].concat())?
            );
            if object.ends_with("unsigned") {
                more.clear();
            }
            let length = answer.len();
            let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{more}\r\n{answer}");
            let _ = stream.write_all(reply.as_bytes());
        }
        Ok(())
    })
}

/// Hears of held calls: says 500 to every first try, and takes what is signed rightly.
pub(super) fn webhook() -> Result<Party> {
    let listener = TcpListener::bind(("127.0.0.1", WEBHOOK_PORT))?;
    Party::of(move || {
        let mut last = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream?;
            let (head, body) = request(&mut stream)?;
            let time = header(&head, "Guard-Timestamp").unwrap_or_default();
            let wanted = format!("v1={}", hmac(KEY, &[time.as_bytes(), b".", &body].concat())?);
            let signed = header(&head, "Guard-Signature").as_deref() == Some(wanted.as_str());
            let again = last == body;
            let status = match (signed, again) {
                (false, _) => "400 Bad Request",
                (true, false) => "500 Internal Server Error",
                (true, true) => "204 No Content",
            };
            if signed && again {
                note(&body)?;
            }
            last = body;
            let _ = stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes());
        }
        Ok(())
    })
}

fn request(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let (mut bytes, mut some) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut some)?;
        bytes.extend_from_slice(&some[..read]);
        if let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
            let length = header(&head, "Content-Length").and_then(|length| length.parse().ok()).unwrap_or(0);
            if bytes.len() >= at + 4 + length {
                return Ok((head, bytes[at + 4..at + 4 + length].to_vec()));
            }
        }
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn header(head: &str, name: &str) -> Option<String> {
    let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.map(str::to_owned)
}

/// HMAC-SHA256 (RFC 2104) of a key of 32 bytes, by busybox's sha256sum alone.
fn hmac(key: &[u8], text: &[u8]) -> io::Result<String> {
    let pad = |byte: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).unwrap_or(&0) ^ byte).collect() };
    let inner = sha256(&[pad(0x36).as_slice(), text].concat())?;
    let inner: Vec<u8> = inner
        .as_bytes()
        .chunks(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    sha256(&[pad(0x5c), inner].concat())
}

fn sha256(text: &[u8]) -> io::Result<String> {
    let mut sum = Command::new("/usr/bin/busybox")
        .arg("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    sum.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?.write_all(text)?;
    let said = String::from_utf8_lossy(&sum.wait_with_output()?.stdout).into_owned();
    said.split_whitespace().next().map(str::to_owned).ok_or_else(|| io::Error::other("no digest"))
}
