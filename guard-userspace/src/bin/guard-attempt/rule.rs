//! A rule of an operator's policy, tried by a request that it decides, in a world of its own ([`world`]).
//!
//! `guard-attempt rule ACTION root=DIR program=FILE WORD=VALUE…` makes the world outside every domain; a child is
//! moved inside and tries; this process, which stays outside, is the far end and looks at what came of it.

mod far;
mod world;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::sys::wait::{WaitStatus, waitpid};

use super::net::{bind, connect, listen, send, socket};
use super::scene::Scene;
use super::sys;
use super::way::{Line, NOT_READY, errno_of};
use far::Far;

/// What is asked.
enum Asked {
    Exec(PathBuf, Vec<Vec<u8>>),
    Load(OwnedFd),
    Write(PathBuf),
    Read(PathBuf),
    Connect(Vec<u8>, i32),
    Unix(Vec<u8>),
    Listen(Vec<u8>, i32),
}

pub(crate) fn run(action: &str, words: &[&str]) -> ExitCode {
    // The line outlives the complaint: when it is closed the other side listens no more.
    let line = Line::open();
    let outcome = match &line {
        Ok(line) => play(action, &Scene::parse(words), line),
        Err(error) => Err(io::Error::other(error.to_string())),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(NOT_READY)
        }
    }
}

fn play(action: &str, scene: &Scene, line: &Line) -> io::Result<ExitCode> {
    let program = fs::read(scene.path("program")?)?;
    world::enter(&scene.path("root")?)?;
    let asked = furnish(action, scene, &program)?;
    let mut far = Far::of(&asked)?;
    let (hear, say) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let child = sys::spawn(|| {
        line.say(&format!("ready {}", std::process::id()));
        line.wait();
        let errno = errno_of(&attempt(&asked));
        let _ = File::from(say).write_all(&errno.to_ne_bytes());
        0
    })?;
    let mut said = Vec::new();
    File::from(hear).read_to_end(&mut said)?;
    let status = waitpid(child, None)?;
    line.say(&format!("effect {} {child}", i32::from(far.effect())));
    match (status, <[u8; 4]>::try_from(said)) {
        (WaitStatus::Exited(..), Ok(errno)) => {
            line.say(&format!("end {} {child}", i32::from_ne_bytes(errno)));
            Ok(ExitCode::SUCCESS)
        }
        // What it became, or what killed it, is this process's end too.
        (WaitStatus::Exited(_, code), Err(_)) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(255))),
        (WaitStatus::Signaled(_, signal, _), _) => {
            line.say(&format!("killed {} {child}", signal as i32));
            Ok(ExitCode::SUCCESS)
        }
        (other, _) => Err(io::Error::other(format!("the attempt's process ended with {other:?}"))),
    }
}

/// Bytes that were written as digits, for paths are not always text.
fn bytes(scene: &Scene, word: &str) -> io::Result<Vec<u8>> {
    let digits: String = scene.need(word)?;
    let pair = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let all: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(pair).collect();
    all.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("{word}={digits}")))
}

fn path(scene: &Scene) -> io::Result<PathBuf> {
    Ok(PathBuf::from(std::ffi::OsString::from_vec(bytes(scene, "path")?)))
}

/// The protocol's kind of socket.
fn kind(scene: &Scene) -> i32 {
    if scene.text("proto") == Some("udp") { libc::SOCK_DGRAM } else { libc::SOCK_STREAM }
}

/// Puts into the world what the request is about.
fn furnish(action: &str, scene: &Scene, program: &[u8]) -> io::Result<Asked> {
    Ok(match action {
        "exec" => {
            let path = path(scene)?;
            make(&path, program)?;
            let count: usize = scene.need("args")?;
            let args = (0..count).map(|n| bytes(scene, &format!("arg{n}"))).collect::<io::Result<_>>()?;
            Asked::Exec(path, args)
        }
        "load" => {
            let path = path(scene)?;
            make(&path, program)?;
            // Opened outside, so that no rule on reading has a say.
            Asked::Load(File::open(path)?.into())
        }
        "write" | "read" => {
            let path = path(scene)?;
            make(&path, far::BEFORE)?;
            if action == "write" { Asked::Write(path) } else { Asked::Read(path) }
        }
        "connect" => Asked::Connect(scene.address("to")?, kind(scene)),
        "unix" => {
            let name = bytes(scene, "path")?;
            if let [b'/', ..] = name.as_slice() {
                parents(&PathBuf::from(std::ffi::OsString::from_vec(name.clone())))?;
            }
            let spelt = match name.split_first() {
                Some((b'@', rest)) => [b"\0", rest].concat(),
                _ => name,
            };
            Asked::Unix(crate::unix::address(&spelt))
        }
        "listen" => Asked::Listen(sys::v4([0; 4], scene.need("port")?), kind(scene)),
        other => return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no action is {other}"))),
    })
}

fn parents(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

fn make(path: &Path, content: &[u8]) -> io::Result<()> {
    parents(path)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(path)?;
    file.write_all(content)?;
    fs::set_permissions(path, PermissionsExt::from_mode(0o755))
}

fn attempt(asked: &Asked) -> io::Result<()> {
    match asked {
        Asked::Exec(path, args) => crate::exec::execute_bytes(path, args),
        Asked::Load(file) => {
            sys::map(file.as_fd(), libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE, |_| Ok(()))
        }
        Asked::Write(path) => OpenOptions::new().write(true).open(path)?.write_all(b"after"),
        Asked::Read(path) => File::open(path)?.read(&mut [0; 8]).map(drop),
        Asked::Connect(to, kind) => {
            let socket = socket(family(to), *kind, 0)?;
            if *kind == libc::SOCK_STREAM {
                connect(&socket, to)?;
                send(&socket, None, 0)
            } else {
                send(&socket, Some(to), 0)
            }
        }
        Asked::Unix(name) => connect(&socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?, name),
        Asked::Listen(at, kind) => {
            let socket = socket(libc::AF_INET, *kind, 0)?;
            bind(&socket, at)?;
            if *kind == libc::SOCK_STREAM { listen(&socket) } else { Ok(()) }
        }
    }
}

/// The family that a `struct sockaddr` begins with.
fn family(address: &[u8]) -> i32 {
    address.first_chunk().map_or(libc::AF_UNSPEC, |first: &[u8; 2]| i32::from(u16::from_ne_bytes(*first)))
}
