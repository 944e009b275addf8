//! By which of a process's tasks an attempt is made, and how its end is told.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::ExitCode;
use std::thread;

use nix::sys::wait::{WaitStatus, waitpid};

use super::scene::Scene;
use super::table::Attempt;
use super::{sys, tier};

/// How the two sides talk.
pub(crate) struct Line {
    hear: OwnedFd,
    say: OwnedFd,
}

impl Line {
    /// Takes standard input and output away from what the attempt may become.
    pub(crate) fn open() -> io::Result<Self> {
        let line = Self { hear: sys::move_away(0)?, say: sys::move_away(1)? };
        Ok(line)
    }

    /// What was handed over an exec.
    fn inherited(scene: &Scene) -> io::Result<Self> {
        Ok(Self { hear: sys::adopt(scene.need("hear")?)?, say: sys::adopt(scene.need("say")?)? })
    }

    pub(crate) fn say(&self, text: &str) {
        if let Ok(say) = self.say.try_clone() {
            let _ = File::from(say).write_all(format!("{text}\n").as_bytes());
        }
    }

    /// One line, or the other side's end.
    pub(crate) fn wait(&self) {
        let Ok(hear) = self.hear.try_clone() else { return };
        let mut byte = [0];
        while matches!(File::from_read(&hear, &mut byte), Ok(1)) && byte != *b"\n" {}
    }

    fn end(&self, outcome: io::Result<()>) {
        self.say(&format!("end {} {}", errno_of(&outcome), std::process::id()));
    }
}

/// Reading from a borrowed descriptor.
trait FromRead {
    fn from_read(fd: &OwnedFd, bytes: &mut [u8]) -> io::Result<usize>;
}

impl FromRead for File {
    fn from_read(fd: &OwnedFd, bytes: &mut [u8]) -> io::Result<usize> {
        File::from(fd.try_clone()?).read(bytes)
    }
}

/// The error number of an outcome; -1 for an error that has none.
pub(crate) fn errno_of(outcome: &io::Result<()>) -> i32 {
    match outcome {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or_else(|| {
            eprintln!("an error without a number: {error}");
            -1
        }),
    }
}

/// What a process exits with when it could not even begin.
pub(crate) const NOT_READY: u8 = 99;

pub(crate) fn run(attempt: &Attempt, words: &[&str]) -> ExitCode {
    let scene = Scene::parse(words);
    let way = scene.text("way").unwrap_or("direct").to_owned();
    match begin(attempt, &scene, &way) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(NOT_READY)
        }
    }
}

fn begin(attempt: &Attempt, scene: &Scene, way: &str) -> io::Result<()> {
    if way == "resumed" {
        let line = Line::inherited(scene)?;
        line.end((attempt.act)(scene, &[]));
        return Ok(());
    }
    let line = Line::open()?;
    if way == "cloned" {
        // A process that is born in the cgroup; this one stays outside.
        let cgroup = File::open(scene.path("cgroup")?)?;
        let child = sys::spawn_into(cgroup.as_fd(), || match prepared(attempt, scene, &line) {
            Ok(fds) => {
                line.end((attempt.act)(scene, &fds));
                0
            }
            Err(error) => {
                eprintln!("{error}");
                i32::from(NOT_READY)
            }
        })?;
        return match waitpid(child, None)? {
            WaitStatus::Exited(_, 0) => Ok(()),
            other => Err(io::Error::other(format!("the clone ended with {other:?}"))),
        };
    }
    let fds = prepared(attempt, scene, &line)?;
    try_it(attempt, scene, way, &line, fds)
}

/// Becomes the tier, prepares, and waits to be let go.
fn prepared(attempt: &Attempt, scene: &Scene, line: &Line) -> io::Result<Vec<OwnedFd>> {
    tier::become_it(scene.text("tier").unwrap_or("root"))?;
    let fds = (attempt.before)(scene)?;
    line.say(&format!("ready {}", std::process::id()));
    line.wait();
    Ok(fds)
}

fn try_it(attempt: &Attempt, scene: &Scene, way: &str, line: &Line, fds: Vec<OwnedFd>) -> io::Result<()> {
    match way {
        "direct" => line.end((attempt.act)(scene, &fds)),
        "thread" => thread::scope(|scope| {
            let thread = scope.spawn(|| (attempt.act)(scene, &fds));
            line.end(thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked"))));
        }),
        "forked" => {
            let child = sys::spawn(|| {
                line.end((attempt.act)(scene, &fds));
                0
            })?;
            // What it became, or what killed it, is this process's end too.
            match waitpid(child, None)? {
                WaitStatus::Exited(_, code) => sys::leave(code),
                WaitStatus::Signaled(_, signal, _) => {
                    line.say(&format!("killed {} {child}", signal as i32));
                }
                other => return Err(io::Error::other(format!("the child ended with {other:?}"))),
            }
        }
        "executed" => {
            let mut words: Vec<String> = scene.words().filter(|word| !word.starts_with("way=")).collect();
            words.push("way=resumed".to_owned());
            words.push(format!("hear={}", line.hear.as_raw_fd()));
            words.push(format!("say={}", line.say.as_raw_fd()));
            sys::keep_across_exec(line.hear.as_fd())?;
            sys::keep_across_exec(line.say.as_fd())?;
            let path = scene.path("self")?;
            let failed = std::os::unix::process::CommandExt::exec(
                std::process::Command::new(path).arg(attempt.name).args(words),
            );
            line.end(Err(failed));
        }
        other => return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("way={other}"))),
    }
    Ok(())
}
