//! Ways to stop being inside.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use nix::sys::wait::{WaitStatus, waitpid};

use crate::scene::Scene;
use crate::sys;
use crate::table::{Attempt, handed, plain};

/// What only an outsider can do.
fn mark(at: &Scene) -> io::Result<()> {
    File::create(at.on("new")).map(drop)
}

/// The error's number, for a child to end with.
pub(crate) fn code(outcome: &io::Result<()>) -> i32 {
    match outcome {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(255),
    }
}

/// What such a child has said.
pub(crate) fn ended(status: WaitStatus) -> io::Result<()> {
    match status {
        WaitStatus::Exited(_, 0) => Ok(()),
        WaitStatus::Exited(_, errno) => Err(io::Error::from_raw_os_error(errno)),
        other => Err(io::Error::other(format!("{other:?}"))),
    }
}

pub(crate) const TRIES: &[Attempt] = &[
    plain("mark", |at, _| mark(at)),
    plain("mark-nested", |at, _| mark(at)),
    plain("mark-left", |at, _| mark(at)),
    plain("mark-cloned", |at, _| mark(at)),
    plain("mark-cloned-left", |at, _| mark(at)),
    plain("mark-launched", |at, _| mark(at)),
    plain("clone-into-cgroup", |at, _| {
        let away = crate::files::open::open(&at.path("away")?, libc::O_PATH | libc::O_DIRECTORY)?;
        let child = sys::spawn_into(away.as_fd(), || code(&mark(at)))?;
        ended(waitpid(child, None)?)
    }),
    handed(
        "setuid",
        |at| {
            // Anybody may write there: what refuses is not the file system.
            std::fs::set_permissions(&at.d, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
            Ok(Vec::new())
        },
        |at, _| {
            crate::tier::become_it("user")?;
            mark(at)
        },
    ),
    plain("setsid", |at, _| {
        let child = sys::spawn(|| {
            let outcome = nix::unistd::setsid().map(drop).map_err(io::Error::from).and_then(|()| mark(at));
            code(&outcome)
        })?;
        ended(waitpid(child, None)?)
    }),
    plain("double-fork", |at, _| {
        // The middle one dies first: the grandchild belongs to init, or whoever reaps.
        let (read, write) = nix::unistd::pipe()?;
        let middle = sys::spawn(|| {
            let parent = nix::unistd::getpid();
            let orphan = sys::spawn(|| {
                while nix::unistd::getppid() == parent {
                    std::thread::yield_now();
                }
                let _ = nix::unistd::write(&write, &code(&mark(at)).to_ne_bytes());
                0
            });
            i32::from(orphan.is_err())
        })?;
        waitpid(middle, None)?;
        drop(write);
        let mut said = [0u8; 4];
        nix::unistd::read(&read, &mut said)?;
        match i32::from_ne_bytes(said) {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }),
    plain("vfork-and-exec", |at, _| {
        // A program started by posix_spawn: cloned with shared memory, then exec.
        let words = at.words().filter(|word| !word.starts_with("way=")).collect::<Vec<_>>();
        let status = std::process::Command::new(at.path("self")?)
            .arg("mark")
            .args(words)
            .arg("way=direct")
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .output()?;
        let said = String::from_utf8_lossy(&status.stdout).into_owned();
        let errno = said
            .lines()
            .find_map(|line| line.strip_prefix("end "))
            .and_then(|line| line.split(' ').next()?.parse::<i32>().ok());
        match errno {
            Some(0) => Ok(()),
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Err(io::Error::other("it said nothing")),
        }
    }),
];
