//! What every test of the enforcement stands on: one daemon for all of them, started by the first that needs it,
//! with policies and directories of its own.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, SFlag, mknod};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde_json::Value;

use super::ground::GROUND;
use super::{policies, written};

const CGROUPS: &str = "/sys/fs/cgroup/kt";
pub(super) const RUN: &str = "/run/kt";
pub(super) const POLICIES: &str = "/run/kt/policies";
pub(super) const PINS: &str = "/sys/fs/bpf/kt";
pub(super) const ALIASES: &str = "/t/open/alias";
/// A launcher by its name; a shell in truth.
pub(super) const LAUNCHER: &str = "/usr/bin/runc";
pub(super) const STATE: &str = "/var/lib/kt";
pub(super) const DAEMON: &str = "/run/kt/daemon.pid";
pub(super) const LOG: &str = "/run/kt/daemon.log";
/// The configuration of the daemon that runs.
const CONFIG: &str = "/run/kt/guard.yaml";
/// What all of them say. A daemon that starts reads the last segment whole, and tests start many under emulation.
const SEGMENTS: &str = "log: { segment: 2MiB }\n";

/// Emulated kernels need a while to load every program, and longer beside another one and a process that never rests.
const PATIENCE: Duration = Duration::from_secs(400);

/// guard enforces.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) daemon: Pid,
}

impl Stage {
    /// Starts what does not run yet.
    pub(super) fn set() -> Result<Self> {
        Self::set_with("")
    }

    /// As [`Self::set`], with this beside the usual configuration.
    pub(super) fn set_with(more: &str) -> Result<Self> {
        written::begin();
        let config = format!("{SEGMENTS}{more}");
        if let Some(daemon) = running() {
            if fs::read_to_string(CONFIG).unwrap_or_default() == config {
                return Ok(Self { daemon });
            }
            end_daemon(daemon, Signal::SIGTERM)?;
        }
        Self::prepare()?;
        fs::write(CONFIG, config)?;
        Self::start()
    }

    /// guard enforces the network alone, on a kernel that calls no LSM program.
    pub(super) fn set_partial() -> Result<Self> {
        written::begin();
        if let Some(daemon) = running() {
            return Ok(Self { daemon });
        }
        Self::prepare()?;
        let partial = |status: &Value| status["degraded"] == Value::Bool(true);
        Self::start_with(&["--allow-partial"], partial)
    }

    fn prepare() -> Result<()> {
        if !Path::new(GROUND).exists() {
            fs::create_dir(GROUND)?;
            mount(Some("kt"), GROUND, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))?;
            for directory in ["open", "shut", "blind"] {
                fs::create_dir(Path::new(GROUND).join(directory))?;
            }
            other_names()?;
        }
        fs::copy("/usr/bin/busybox", LAUNCHER).context("put a launcher in place")?;
        fs::create_dir_all(POLICIES)?;
        fs::create_dir_all(CGROUPS)?;
        fs::set_permissions(RUN, fs::Permissions::from_mode(0o755))?;
        for (name, text) in policies::all() {
            fs::write(Path::new(POLICIES).join(format!("{name}.yaml")), text)?;
        }
        Ok(())
    }

    /// Starts the daemon on what is there.
    pub(super) fn start() -> Result<Self> {
        Self::start_with(&["--config", CONFIG], |status| status["enforcing"] == Value::Bool(true))
    }

    pub(super) fn start_with(more: &[&str], ready: fn(&Value) -> bool) -> Result<Self> {
        let before = generation();
        let log = File::options().create(true).append(true).open(LOG)?;
        let mut child = Command::new("guard")
            .args(["daemon", "--policies", POLICIES, "--run", RUN, "--state", STATE, "--pins", PINS])
            .args(more)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Outlives the test that starts it.
            .process_group(0)
            .spawn()
            .context("start guard daemon")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait()? {
                bail!("guard daemon ended with {status}: {}", log_end());
            }
            let status = status();
            if ready(&status) && generation_of(&status) > before {
                break;
            }
            if Instant::now() >= deadline {
                let at = stands(child.id());
                // The next test is not to find it half started.
                let _ = child.kill().and_then(|()| child.wait());
                bail!("guard does not enforce after {} s: {at}; {status}; {}", PATIENCE.as_secs(), log_end());
            }
            thread::sleep(Duration::from_millis(250));
        }
        fs::write(DAEMON, child.id().to_string())?;
        Ok(Self { daemon: Pid::from_raw(i32::try_from(child.id())?) })
    }

    /// A new cgroup below the one that a policy of this name governs.
    pub(super) fn cgroup(&self, policy: &str) -> Result<Cgroup> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Cgroup::make(&Path::new(CGROUPS).join(policy).join(name))
    }

    /// Reads the policies again and waits until the new generation is live and its cgroups are governed.
    pub(super) fn reload(&self) -> Result<()> {
        let before = generation();
        kill(self.daemon, Signal::SIGHUP).context("tell the daemon to reload")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = status();
            let files = fs::read_dir(POLICIES)?.count();
            let policies = status["policies"].as_array().map_or(0, Vec::len);
            // The daemon looks at the directory by itself too: what counts is that it has seen this state of it.
            if generation_of(&status) > before
                && status["enforcing"] == Value::Bool(true)
                && policies == files
            {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "no new generation: {status}; {}", log_end());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Gives what the boundary protects names that no rule forbids, and makes the directories that guard has where it
/// is installed.
fn other_names() -> Result<()> {
    let aliases = Path::new(ALIASES);
    for (name, of) in [
        ("proc", "/proc"),
        ("sys", "/sys"),
        ("tracing", "/sys/kernel/tracing"),
        ("cgroup", "/sys/fs/cgroup"),
        ("bpf", "/sys/fs/bpf"),
    ] {
        let at = aliases.join(name);
        fs::create_dir_all(&at)?;
        mount(Some(of), &at, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .with_context(|| format!("bind {of}"))?;
    }
    for (name, kind, device) in [("loop", SFlag::S_IFBLK, 7 << 8), ("kmsg", SFlag::S_IFCHR, 1 << 8 | 11)] {
        mknod(&aliases.join(name), kind, Mode::from_bits_truncate(0o666), device)?;
    }
    for directory in ["/etc/guard", "/run/guard", "/var/lib/guard"] {
        fs::create_dir_all(directory)?;
    }
    Ok(())
}

/// A cgroup that goes when its owner does.
#[derive(Debug)]
pub(super) struct Cgroup(PathBuf);

impl Cgroup {
    pub(super) fn make(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("make cgroup {}", path.display()))?;
        Ok(Self(path.to_owned()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// As `/proc/PID/cgroup` spells it, and so the audit log.
    pub(super) fn name(&self) -> String {
        let below = self.0.strip_prefix("/sys/fs/cgroup").unwrap_or(&self.0);
        format!("/{}", below.display())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        // Its tasks die in their own time.
        for _ in 0..200 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What `guard status` says.
pub(super) fn status() -> Value {
    let asked = Command::new("guard")
        .args(["status", "--json", "--run", RUN, "--pins", PINS])
        .stderr(Stdio::null())
        .output();
    asked.ok().and_then(|answer| serde_json::from_slice(&answer.stdout).ok()).unwrap_or_default()
}

fn generation_of(status: &Value) -> u64 {
    status["generation"].as_u64().unwrap_or(0)
}

/// The generation the kernel holds.
pub(super) fn generation() -> u64 {
    generation_of(&status())
}

/// Ends the daemon and waits until it is gone.
pub(super) fn end_daemon(daemon: Pid, signal: Signal) -> Result<()> {
    kill(daemon, signal)?;
    let deadline = Instant::now() + Duration::from_secs(60);
    // It is a child of this test or of the guest's init.
    while Path::new(&format!("/proc/{daemon}/exe")).read_link().is_ok() {
        let _ = waitpid(daemon, Some(WaitPidFlag::WNOHANG));
        ensure!(Instant::now() < deadline, "the daemon does not end: {}", log_end());
        thread::sleep(Duration::from_millis(20));
    }
    fs::remove_file(DAEMON)?;
    Ok(())
}

fn running() -> Option<Pid> {
    let pid = Pid::from_raw(fs::read_to_string(DAEMON).ok()?.parse().ok()?);
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (name.trim() == "guard").then_some(pid)
}

/// Where each thread of a process is in the kernel.
fn stands(process: u32) -> String {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let told = threads.map(|thread| {
        let read = |name: &str| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
        let stack = read("stack").lines().take(12).collect::<Vec<_>>().join(" ");
        format!("{} {} {stack}", thread.file_name().display(), read("syscall").trim())
    });
    told.collect::<Vec<_>>().join(" | ")
}

/// The end of what the daemon said.
pub(super) fn log_end() -> String {
    let text = fs::read_to_string(LOG).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}

/// Whether the running kernel is this one or newer.
pub(super) fn kernel_is_at_least(wanted: (u32, u32)) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= wanted
}
