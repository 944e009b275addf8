//! The one command of a guest: started, listened to, waited for.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::link::{Ending, Link};
use crate::tripwire::Tripwire;

pub(crate) struct Job {
    argv: Vec<std::ffi::OsString>,
    env: Vec<(String, String)>,
    tripwire: bool,
    fetch: Vec<std::path::PathBuf>,
}

impl Job {
    /// Reads what the host laid into the image: `argv` and `env`, each entry ended by a NUL.
    pub(crate) fn read(dir: &Path) -> io::Result<Self> {
        let entries = |name: &str| -> io::Result<Vec<Vec<u8>>> {
            let bytes = fs::read(dir.join(name))?;
            let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
            Ok(bytes.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect())
        };
        let env = entries("env")?
            .into_iter()
            .filter_map(|entry| {
                String::from_utf8(entry)
                    .ok()?
                    .split_once('=')
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
            })
            .collect();
        let argv = entries("argv")?.into_iter().map(OsStringExt::from_vec).collect();
        let fetch = entries("fetch")?.into_iter().filter(|path| !path.is_empty());
        let fetch = fetch.map(|path| std::ffi::OsString::from_vec(path).into()).collect();
        Ok(Self { argv, env, tripwire: dir.join("tripwire").exists(), fetch })
    }
}

/// Runs the job until its first process ends; what it leaves running dies with the guest.
pub(crate) fn run(job: &Job, link: &mut Link) -> io::Result<Ending> {
    let mut chld = SigSet::empty();
    chld.add(Signal::SIGCHLD);
    chld.thread_block()?;
    let children = SignalFd::with_flags(&chld, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let mut tripwire = if job.tripwire { Some(Tripwire::set()?) } else { None };

    let (program, args) =
        job.argv.split_first().ok_or_else(|| io::Error::other("the job names no command"))?;
    let mut command = Command::new(program);
    command.args(args).env_clear().envs(job.env.iter().map(|(key, value)| (key, value)));
    command.current_dir("/root").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            link.stderr(format!("{}: {error}\n", program.display()).as_bytes())?;
            return Ok(Ending::Exited(if error.kind() == ErrorKind::NotFound { 127 } else { 126 }));
        }
    };
    let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    let mut out = child.stdout.take().map(nonblocking).transpose()?;
    let mut err = child.stderr.take().map(nonblocking).transpose()?;

    loop {
        wait_for_news(&children, tripwire.as_ref(), &[&out, &err])?;
        let ended = reap(&children, pid)?;
        pump(&mut out, |bytes| link.stdout(bytes))?;
        pump(&mut err, |bytes| link.stderr(bytes))?;
        if let Some(who) = tripwire.as_mut().and_then(Tripwire::pulled) {
            return Ok(Ending::Broken(format!("something sent SIGKILL to PID 1: {who}")));
        }
        if let Some(ending) = ended {
            job.fetch.iter().for_each(|path| send(path, link));
            return Ok(ending);
        }
    }
}

fn nonblocking(pipe: impl Into<OwnedFd>) -> io::Result<File> {
    let pipe = pipe.into();
    fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(File::from(pipe))
}

fn wait_for_news(
    children: &SignalFd,
    tripwire: Option<&Tripwire>,
    pipes: &[&Option<File>],
) -> io::Result<()> {
    let mut fds = vec![PollFd::new(children.as_fd(), PollFlags::POLLIN)];
    fds.extend(tripwire.map(|wire| PollFd::new(wire.as_fd(), PollFlags::POLLIN)));
    fds.extend(pipes.iter().copied().flatten().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Reaps every zombie there is; the job's own end is returned.
fn reap(children: &SignalFd, job: Pid) -> io::Result<Option<Ending>> {
    while children.read_signal()?.is_some() {}
    let mut ending = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == job => ending = Some(Ending::Exited(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == job => {
                ending = Some(Ending::Killed(signal as i32))
            }
            Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::ECHILD) => return Ok(ending),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends a file, or the files below a directory. What is not there is not sent: the host knows what it asked for.
fn send(path: &Path, link: &mut Link) {
    match fs::read_dir(path) {
        Ok(entries) => entries.flatten().for_each(|entry| send(&entry.path(), link)),
        Err(_) if path.is_file() => {
            if let Err(error) = link.file(path) {
                eprintln!("guest-init: send {}: {error}", path.display());
            }
        }
        Err(_) => {}
    }
}

/// Passes on what the pipe holds now; at its end the pipe is dropped.
fn pump(pipe: &mut Option<File>, mut pass: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut bytes = [0; 4096];
    while let Some(file) = pipe {
        match file.read(&mut bytes) {
            Ok(0) => *pipe = None,
            Ok(length) => pass(&bytes[..length])?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
