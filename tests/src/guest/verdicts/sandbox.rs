//! Sandboxes: one way in, every thread and child along, nobody else.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, IoSlice, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;

use anyhow::{Result, ensure};
use nix::sys::ptrace;
use nix::sys::uio::{RemoteIoVec, process_vm_writev};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::super::agent::{End, Who, inside, outside};
use super::super::exec::execute;
use super::super::net::world;
use super::super::sys::{self, call, call_fd};
use super::{Stage, files};

/// Where the agents may talk before their sandbox.
const THERE: &str = "127.0.0.1:7004";

fn fail(what: &str) -> io::Error {
    eprintln!("{what}");
    io::Error::from_raw_os_error(libc::EBADMSG)
}

/// Whether a call was refused as guard refuses.
fn refused<T>(what: &str, outcome: io::Result<T>) -> io::Result<()> {
    match outcome {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(()),
        Err(error) => Err(fail(&format!("{what} failed with {error}"))),
        Ok(_) => Err(fail(&format!("{what} went through"))),
    }
}

fn works<T>(what: &str, outcome: io::Result<T>) -> io::Result<T> {
    outcome.map_err(|error| fail(&format!("{what} failed with {error}")))
}

fn connect() -> io::Result<TcpStream> {
    TcpStream::connect(THERE)
}

fn write() -> io::Result<()> {
    fs::write(format!("/t/open/work/made-{}", std::process::id()), "x")
}

fn in_child(act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    match waitpid(sys::spawn(|| i32::from(act().is_err()))?, None)? {
        WaitStatus::Exited(_, 0) => Ok(()),
        other => Err(fail(&format!("a child ended with {other:?}"))),
    }
}

fn stage() -> Result<(Stage, PathBuf, TcpListener)> {
    let (stage, v) = (Stage::set()?, files()?);
    fs::create_dir_all("/t/open/work")?;
    Ok((stage, v, TcpListener::bind(THERE)?))
}

/// `send`, `write`, `sendfile` and `splice` through a socket.
fn every_send(socket: &OwnedFd, file: &File) -> io::Result<()> {
    refused("a send", world::send(socket, None, 0))?;
    refused("a write", File::from(socket.try_clone()?).write_all(b"x"))?;
    let by_sendfile =
        call(libc::SYS_sendfile, &mut [socket.into(), file.as_raw_fd().into(), 0.into(), 5.into()]);
    refused("a sendfile", by_sendfile)?;
    let (from, to) = nix::unistd::pipe()?;
    File::from(to).write_all(b"secret")?;
    let by_splice =
        call(libc::SYS_splice, &mut [(&from).into(), 0.into(), socket.into(), 0.into(), 6.into(), 0.into()]);
    refused("a splice", by_splice)
}

pub(super) fn reading() -> Result<()> {
    let (stage, v, listener) = stage()?;
    let cgroup = stage.cgroup("verdicts")?;
    let unix = UnixListener::bind(v.join("socket"))?;
    let control = outside(Who::Root, || {
        works("reading outside", fs::read(v.join("prod/data")))?;
        works("connecting outside", connect()).map(drop)
    })?;
    ensure!(control == End::Did, "the control outside ended with {control:?}");
    let end = inside(cgroup.path(), Who::Root, || {
        let harmless = works("opening a file", File::open(v.join("deep").with_file_name("counted")))?;
        let before: OwnedFd = works("connecting before", connect())?.into();
        let local: OwnedFd = works("a unix socket before", UnixStream::connect(v.join("socket")))?.into();
        works("a send before", world::send(&before, None, 0))?;
        works("a unix send before", world::send(&local, None, 0))?;
        works("reading the data", fs::read(v.join("prod/data")))?;
        refused("connecting after", connect())?;
        every_send(&before, &harmless)?;
        every_send(&local, &harmless)?;
        refused("a unix socket after", UnixStream::connect(v.join("socket")))?;
        in_child(|| refused("a child's connecting", connect()))?;
        in_child(|| {
            let shell = ["sh", "-c", "exec 3<>/dev/tcp/x || nc -w 1 127.0.0.1 7004 </dev/null"];
            let status = std::process::Command::new("/usr/bin/busybox").args(shell).status()?;
            if status.success() { Err(fail("a program connected")) } else { Ok(()) }
        })?;
        works("writing after", write())?;
        works("reading the data again", fs::read(v.join("prod/data"))).map(drop)
    })?;
    ensure!(end == End::Did, "the agent ended with {end:?}");
    // Another process of the very same session.
    let other = inside(cgroup.path(), Who::Root, || works("a neighbour's connecting", connect()).map(drop))?;
    ensure!(other == End::Did, "the neighbour ended with {other:?}");
    // Whatever arrived came before.
    listener.set_nonblocking(true)?;
    let mut heard = Vec::new();
    while let Ok((mut stream, _)) = listener.accept() {
        stream.set_nonblocking(true)?;
        let _ = io::copy(&mut stream, &mut heard);
    }
    ensure!(heard == world::SECRET, "there arrived {:?}", String::from_utf8_lossy(&heard));
    drop(unix);
    Ok(())
}

pub(super) fn threads() -> Result<()> {
    let (stage, v, _listener) = stage()?;
    let cgroup = stage.cgroup("verdicts")?;
    for reader_leads in [true, false] {
        let v = v.clone();
        let end = inside(cgroup.path(), Who::Root, move || {
            // One thread waits with its label from before, another reads.
            let (go, ready) = mpsc::channel::<()>();
            let waiting = |ready: mpsc::Receiver<()>| {
                works("a thread's connecting before", connect())?;
                let _ = ready.recv();
                refused("another thread's connecting", connect())?;
                // And what that thread starts, and becomes.
                in_child(|| refused("its child's connecting", connect()))
            };
            let reading = |go: mpsc::Sender<()>| {
                thread::sleep(std::time::Duration::from_millis(100));
                works("reading the data", fs::read(v.join("prod/data")))?;
                refused("the reader's connecting", connect())?;
                drop(go);
                Ok(())
            };
            thread::scope(|scope| {
                let panicked = |_| fail("a thread panicked");
                if reader_leads {
                    let other = scope.spawn(move || waiting(ready));
                    reading(go)?;
                    other.join().map_err(panicked)?
                } else {
                    let other = scope.spawn(move || reading(go));
                    waiting(ready)?;
                    other.join().map_err(panicked)?
                }
            })
        })?;
        ensure!(end == End::Did, "the agent ended with {end:?} (the reader leads: {reader_leads})");
    }
    // A thread that was not the reader becomes another program.
    let end =
        inside(cgroup.path(), Who::Root, move || {
            let reader = thread::spawn(move || fs::read(v.join("prod/data")).map(drop));
            works("reading the data", reader.join().map_err(|_| fail("the reader panicked"))?)?;
            Err(std::os::unix::process::CommandExt::exec(
                std::process::Command::new("/usr/bin/busybox").args(["nc", "-w", "1", "127.0.0.1", "7004"]),
            ))
        })?;
    ensure!(matches!(end, End::Became(code) if code != 0), "the program ended with {end:?}");
    Ok(())
}

/// Runs busybox's shell from where it is boxed.
fn boxed_shell(v: &Path, script: &str) -> io::Result<bool> {
    let mut shell = std::process::Command::new(v.join("fresh/busybox"));
    shell.args(["sh", "-c", script]);
    Ok(shell.stderr(std::process::Stdio::null()).status()?.success())
}

pub(super) fn born() -> Result<()> {
    let (stage, v, _listener) = stage()?;
    let cgroup = stage.cgroup("verdicts")?;
    let script = "echo x > /t/open/work/by-shell";
    ensure!(boxed_shell(&v, script)?, "the control outside did not write");
    let end = inside(cgroup.path(), Who::Root, || {
        works("writing before", write())?;
        if boxed_shell(&v, script)? {
            return Err(fail("the boxed program wrote"));
        }
        if !boxed_shell(&v, "true")? {
            return Err(fail("the boxed program did not run"));
        }
        works("its parent's writing", write())?;
        match execute(&v.join("fresh/nonsense")) {
            Err(error) if error.raw_os_error() == Some(libc::ENOEXEC) => {}
            other => return Err(fail(&format!("nonsense ended with {other:?}"))),
        }
        works("writing after an exec that failed", write())
    })?;
    ensure!(end == End::Did, "the agent ended with {end:?}");
    Ok(())
}

pub(super) fn both() -> Result<()> {
    let (stage, v, _listener) = stage()?;
    let cgroup = stage.cgroup("verdicts")?;
    let end = inside(cgroup.path(), Who::Root, || {
        works("reading", fs::read(v.join("deep")))?;
        works("connecting before", connect())?;
        works("reading the other", fs::read(v.join("other")))?;
        refused("writing in the first", write())?;
        works("connecting in the first", connect())?;
        works("reading what leads on", fs::read(v.join("deep")))?;
        refused("writing in the second", write())?;
        refused("connecting in the second", connect())
    })?;
    ensure!(end == End::Did, "the agent ended with {end:?}");
    Ok(())
}

pub(super) fn at_once() -> Result<()> {
    let (stage, v, _listener) = stage()?;
    let cgroup = stage.cgroup("verdicts")?;
    for round in 0..20 {
        let v = v.clone();
        let end = inside(cgroup.path(), Who::Root, move || {
            let start = Arc::new(Barrier::new(2));
            let (first, theirs) = (v.join("prod/data"), Arc::clone(&start));
            let other = thread::spawn(move || {
                theirs.wait();
                fs::read(first).map(drop)
            });
            start.wait();
            works("reading the other", fs::read(v.join("other")))?;
            works("reading the data", other.join().map_err(|_| fail("a thread panicked"))?)?;
            refused("writing", write())?;
            refused("connecting", connect())
        })?;
        ensure!(end == End::Did, "the agent ended with {end:?} in round {round}");
    }
    Ok(())
}

/// What there is to take over a process by: its execution, its memory, its descriptors.
fn each_reach(other: Pid, fd: &OwnedFd, word: &[u8], judge: Judge) -> io::Result<()> {
    // It ends with whoever traces, and that is a child of its own.
    in_child(|| judge("tracing", ptrace::seize(other, ptrace::Options::empty()).map_err(Into::into)))?;
    let remote = RemoteIoVec { base: word.as_ptr() as usize, len: word.len() };
    let written = process_vm_writev(other, &[IoSlice::new(b"after.")], &[remote]);
    judge("writing to its memory", written.map(drop).map_err(Into::into))?;
    let by_name = File::options().write(true).open(format!("/proc/{other}/fd/{}", fd.as_raw_fd()));
    judge("opening its descriptor", by_name.map(drop))?;
    let process = call_fd(libc::SYS_pidfd_open, &mut [other.as_raw().into(), 0.into()])?;
    let taken = call_fd(libc::SYS_pidfd_getfd, &mut [(&process).into(), fd.as_raw_fd().into(), 0.into()]);
    judge("taking its descriptor", taken.map(drop))
}

type Judge = fn(&str, io::Result<()>) -> io::Result<()>;

fn kept_away(what: &str, outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        // What procfs makes of it.
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => Ok(()),
        outcome => refused(what, outcome),
    }
}

pub(super) fn reaching() -> Result<()> {
    let (stage, v, _listener) = stage()?;
    let cgroup = stage.cgroup("verdicts")?;
    for who in Who::BOTH {
        let end = inside(cgroup.path(), who, || {
            let (_read, pipe) = nix::unistd::pipe()?;
            let word = b"before".to_vec();
            let parent = nix::unistd::getpid();
            in_child(|| each_reach(parent, &pipe, &word, works))?;
            world::check(black_box(&word) == b"after.")?;
            let word = b"before".to_vec();
            in_child(|| {
                works("reading the data", fs::read(v.join("prod/data")))?;
                each_reach(parent, &pipe, &word, kept_away)?;
                // Of those who are in it with it anybody may be reached.
                let (own, boxed) = (b"before".to_vec(), nix::unistd::getpid());
                in_child(|| each_reach(boxed, &pipe, &own, works))
            })?;
            world::check(black_box(&word) == b"before")?;
            // From outside of it too.
            let (wait, go) = nix::unistd::pipe()?;
            let (said, ready) = nix::unistd::pipe()?;
            let boxed = sys::spawn(|| {
                let read = fs::read(v.join("prod/data")).is_ok();
                let _ = nix::unistd::write(&ready, &[u8::from(read)]);
                let _ = nix::unistd::read(&wait, &mut [0]);
                0
            })?;
            let mut answer = [0];
            nix::unistd::read(&said, &mut answer)?;
            let reached = each_reach(boxed, &pipe, &word, works);
            drop(go);
            nix::sys::signal::kill(boxed, nix::sys::signal::Signal::SIGKILL)?;
            waitpid(boxed, None)?;
            world::check(answer == [1])?;
            reached
        })?;
        ensure!(end == End::Did, "as {who:?} the agent ended with {end:?}");
    }
    Ok(())
}
