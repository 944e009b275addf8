//! The child of `guard run`: it waits until it is in the session's cgroup, gives up what an agent must not have, and
//! becomes the command. As `guard` is a launcher, the label counts from that exec on.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::SigSet;
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};

use super::run::{CANNOT_RUN, NOT_FOUND, NOT_STARTED};

/// How long the way into the cgroup may take; systemd may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The end of the cgroup's path
    #[arg(long)]
    session: String,
    #[arg(long)]
    user: Option<String>,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl Args {
    pub(crate) fn run(self) -> ExitCode {
        if let Err(error) = self.prepare() {
            eprintln!("guard run: {error:#}");
            return NOT_STARTED.into();
        }
        let [program, args @ ..] = self.command.as_slice() else { return NOT_STARTED.into() };
        let mut command = Command::new(program);
        command.args(args).env("GUARD_SESSION", &self.session);
        let error = command.exec();
        eprintln!("guard run: start {}: {error}", program.display());
        let missing = error.kind() == io::ErrorKind::NotFound;
        (if missing { NOT_FOUND } else { CANNOT_RUN }).into()
    }

    fn prepare(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !is_in("self", &self.session).context("read which cgroup this is")? {
            if Instant::now() >= deadline {
                bail!("the session's cgroup did not come within {} s", PATIENCE.as_secs());
            }
            thread::sleep(Duration::from_millis(2));
        }
        close_files()?;
        if let Some(user) = &self.user {
            become_user(user)?;
        }
        // A mask is inherited, and the parent's blocks what it passes on.
        SigSet::empty().thread_set_mask().context("let signals through")?;
        nix::sys::prctl::set_no_new_privs().context("give up new privileges")
    }
}

/// Whether a process is in the session's cgroup.
pub(super) fn is_in(process: &str, session: &str) -> io::Result<bool> {
    let cgroups = fs::read_to_string(format!("/proc/{process}/cgroup"))?;
    let end = format!(":{session}.scope");
    Ok(cgroups.lines().filter_map(|line| line.strip_prefix("0::")).any(|path| path.ends_with(&end)))
}

/// Closes every file but the three standard ones.
fn close_files() -> anyhow::Result<()> {
    let open: Vec<RawFd> = fs::read_dir("/proc/self/fd")
        .context("list the open files")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2)
        .collect();
    for fd in open {
        // The directory just read is among them, and closed already.
        let _ = nix::unistd::close(fd);
    }
    Ok(())
}

/// Takes on a user's ids and groups.
fn become_user(user: &str) -> anyhow::Result<()> {
    let list = fs::read_to_string("/etc/passwd").context("read the users")?;
    let found = list.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, ..] = fields.as_slice() else { return None };
        (*name == user || *uid == user).then(|| Some((*name, uid.parse().ok()?, gid.parse().ok()?)))?
    });
    let (name, uid, gid): (&str, u32, u32) = found.with_context(|| format!("there is no user {user}"))?;
    let list = fs::read_to_string("/etc/group").unwrap_or_default();
    let member = |line: &str| -> Option<Gid> {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, id, members] = fields.as_slice() else { return None };
        members.split(',').any(|member| member == name).then(|| id.parse().ok().map(Gid::from_raw))?
    };
    let groups: Vec<Gid> = list.lines().filter_map(member).chain([Gid::from_raw(gid)]).collect();
    setgroups(&groups).context("take on the user's groups")?;
    setgid(Gid::from_raw(gid)).context("take on the user's group")?;
    setuid(Uid::from_raw(uid)).context("become the user")
}
