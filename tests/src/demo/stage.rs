//! Everything around the agent: files, the cgroup, the daemon.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::attempts::{CRONTAB, CUSTOMERS, DOWNLOADED, GATEWAY, KEY, NOTES, RELEASE, SEARCH, WORKSPACE};

/// Where the domain is; the shipped policy governs what is below `/agents.slice`.
const DOMAIN: &str = "agents.slice/demo";

/// What the daemon says, for when it fails.
const DAEMON_LOG: &str = "/run/guard-demo.log";

/// Emulated kernels need a while to load every program.
const PATIENCE: Duration = Duration::from_secs(240);

/// The set stage: guard enforces, the cgroup is empty.
#[derive(Debug)]
pub(super) struct Stage {
    daemon: Child,
    cgroup: PathBuf,
    /// Somebody who listens, where the agent may go.
    _services: [TcpListener; 2],
}

impl Stage {
    pub(super) fn set() -> Result<Self> {
        props()?;
        let services = [listen(GATEWAY)?, listen(SEARCH)?];
        let cgroup = cgroup_root()?.join(DOMAIN);
        fs::create_dir_all(&cgroup).with_context(|| format!("create {}", cgroup.display()))?;
        let log = fs::File::create(DAEMON_LOG).with_context(|| format!("create {DAEMON_LOG}"))?;
        // The show's end is the end of the enforcement, too; a service would be started without --detach.
        let daemon = Command::new("guard")
            .args(["daemon", "--detach"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("start guard daemon")?;
        let mut stage = Self { daemon, cgroup, _services: services };
        stage.wait_until_enforcing()?;
        Ok(stage)
    }

    pub(super) fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    pub(super) fn daemon_pid(&self) -> u32 {
        self.daemon.id()
    }

    pub(super) fn domain(&self) -> String {
        format!("/{DOMAIN}")
    }

    /// Approves the first call that waits, as somebody at the command line would.
    pub(super) fn approve_one(&self) -> JoinHandle<Result<()>> {
        thread::spawn(|| {
            let deadline = Instant::now() + PATIENCE;
            while Instant::now() < deadline {
                let list = Command::new("guard").args(["approvals", "list", "--json"]).output()?;
                let waiting: Value = serde_json::from_slice(&list.stdout).unwrap_or_default();
                if let Some(id) = waiting[0]["id"].as_u64() {
                    let id = id.to_string();
                    let words = ["approvals", "approve", &id, "--note", "looked at it"];
                    let status = Command::new("guard").args(words).stdout(Stdio::null()).status()?;
                    return if status.success() {
                        Ok(())
                    } else {
                        bail!("guard approvals approve: {status}")
                    };
                }
                thread::sleep(Duration::from_millis(100));
            }
            bail!("no call waited to be approved")
        })
    }

    pub(super) fn kernel(&self) -> String {
        fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
    }

    /// Asks guard itself, which asks the kernel: a daemon that runs is not yet one that enforces.
    fn wait_until_enforcing(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.daemon.try_wait().context("look after guard daemon")? {
                let said = fs::read_to_string(DAEMON_LOG).unwrap_or_default();
                bail!(
                    "guard daemon ended with {status} before it enforced anything; it said: {}",
                    said.trim()
                );
            }
            let asked = Command::new("guard").args(["status", "--json"]).stderr(Stdio::null()).output();
            let answer = asked.context("run guard status")?;
            let status: Value = serde_json::from_slice(&answer.stdout).unwrap_or_default();
            if status["enforcing"] == Value::Bool(true) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("guard does not enforce after {} s; its status: {status}", PATIENCE.as_secs());
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Ends the daemon and removes the cgroup. The guest's end would do as well; a host is left clean.
    pub(super) fn clear(mut self) -> Result<()> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.daemon.id())?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).context("ask guard daemon to end")?;
        self.daemon.wait().context("wait for guard daemon")?;
        fs::remove_dir(&self.cgroup).with_context(|| format!("remove {}", self.cgroup.display()))
    }
}

fn listen(address: &str) -> Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("listen on {address}"))
}

/// The files the agent tries its hands on.
fn props() -> Result<()> {
    let release = Path::new(RELEASE).parent().unwrap_or(Path::new(WORKSPACE));
    fs::create_dir_all(release).with_context(|| format!("create {}", release.display()))?;
    for (path, content) in
        [(KEY, "not a real key\n"), (NOTES, "buy milk\n"), (CRONTAB, ""), (CUSTOMERS, "nobody real\n")]
    {
        if let Some(parent) = Path::new(path).parent() {
            fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        }
        match fs::File::create_new(path) {
            Ok(mut file) => std::io::Write::write_all(&mut file, content.as_bytes())?,
            // A host's own file stays as it is.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("create {path}")),
        }
    }
    fs::create_dir_all(WORKSPACE).with_context(|| format!("create {WORKSPACE}"))?;
    fs::copy("/bin/true", DOWNLOADED).with_context(|| format!("copy a program to {DOWNLOADED}"))?;
    fs::set_permissions(DOWNLOADED, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("make {DOWNLOADED} executable"))
}

/// Whether what the agent may not run still runs for everybody else.
pub(super) fn runs_outside() -> Result<bool> {
    let outcome = Command::new(DOWNLOADED).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match outcome {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(false),
        Err(error) => Err(error).with_context(|| format!("run {DOWNLOADED} outside the domain")),
    }
}

/// Where cgroup v2 is mounted.
fn cgroup_root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read the list of mounts")?;
    let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let found = mounts.find(|fields| fields.get(2) == Some(&"cgroup2")).context("no cgroup v2 is mounted")?;
    Ok(PathBuf::from(found[1]))
}
