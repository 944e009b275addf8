//! `guard drill` itself: it finds no gap, and it finds one as soon as any hook is taken away.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use guard_userspace::drill::catalogue;
use guard_userspace::kernel::hooks::{HOOKS, Kind};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::Test;
use super::sys::{c, call, call_fd, words};

pub(super) const TESTS: &[Test] = &[
    Test::new("no drill finds a gap", no_gap).within(420),
    Test::new("a drill turns red for each hook that is taken away", red_without_each_hook).within(540),
];

/// What these guests lack: modules, devices, attributes of the root's file system. Any other skip fails.
const LACKING: &[&str] = &[
    "block-device",
    "dev-mem",
    "file-setattr",
    "fchmodat2",
    "fsetxattr",
    "ioctl-set-flags",
    "ioctl-set-flags-32-bit",
    "kexec-unload",
    "loginuid",
    "mount-overlay",
    "netlink-connector",
    "netlink-netfilter",
    "netlink-sock-diag",
    "netlink-xfrm",
    "open-tun",
    "proc-kcore",
    "remove-acl",
    "remove-xattr",
    "request-key-dns",
    "sctp-connectx-inherited",
    "send-inherited-udp-lite",
    "set-acl",
    "set-file-capability",
    "set-trusted-xattr",
    "set-xattr",
    "splice-inherited-connection",
    "sysfs-uevent-helper",
    "tun-create-inherited",
    "udp-lite-connected",
    "udp-lite-sendto",
    "uring-setxattr",
    "uring-socket-udp-lite",
];

/// Hooks without a drill that turns red for them, and why.
const EXCUSED: &[(&str, &str)] = &[
    ("cgroup_rmdir", "forgets a cgroup that is gone; nothing is decided by it"),
    ("mptcp_add_subflow", "needs two hosts with two paths"),
    ("quota_on", "needs a file system with quotas"),
    ("sctp_bind_connect", "the guests have no SCTP"),
    ("tun_dev_create", "the guests have no tunnel devices"),
    ("file_ioctl_compat", "the guests' root has no flags on every kernel"),
    ("inode_set_acl", "the guests' root has no access control lists"),
    ("inode_remove_acl", "the guests' root has no access control lists"),
    ("inode_setxattr", "the guests' root has no attributes on every kernel"),
    ("inode_removexattr", "the guests' root has no attributes on every kernel"),
    ("task_movememory", "the guests have one memory node"),
];

const POLICY: &str = "version: 1
policy: agents
applies_to: [{ cgroup: /agents.slice/** }]
mode: enforce
gateway: [\"127.0.0.1:18080\"]
exec: { default: allow }
connect: { default: block }
write: { default: allow }
";

/// A daemon where guard is installed: its baseline protects those paths and no others.
struct Installed(Child);

impl Installed {
    fn start() -> Result<Self> {
        for directory in ["/etc/guard/policies", "/etc/systemd/system", "/etc/cron.d", "/var/lib", "/run"] {
            fs::create_dir_all(directory)?;
        }
        fs::write("/etc/guard/policies/agents.yaml", POLICY)?;
        fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")?;
        // Moving a task waits for every processor otherwise, and a drill moves hundreds.
        fs::write("/sys/kernel/rcu_expedited", "1").context("shorten grace periods")?;
        let log = File::create("/run/drill-daemon.log")?;
        let child = Command::new("guard")
            .args(["daemon", "--detach"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start guard daemon")?;
        let daemon = Self(child);
        let deadline = Instant::now() + Duration::from_secs(150);
        loop {
            let status = Command::new("guard").args(["status", "--json"]).output()?;
            let status: Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
            if status["enforcing"] == Value::Bool(true) && !status["daemon"].is_null() {
                return Ok(daemon);
            }
            if Instant::now() >= deadline {
                let log = fs::read_to_string("/run/drill-daemon.log").unwrap_or_default();
                bail!("guard does not enforce: {status}; {log}");
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
        let _ = self.0.wait();
        let _ = fs::remove_dir_all("/etc/guard");
        let _ = fs::remove_dir_all("/var/lib/guard");
    }
}

fn drill(only: &[&str]) -> Result<(Option<i32>, Value)> {
    let only: Vec<&str> = only.iter().flat_map(|name| ["--only", name]).collect();
    let output =
        Command::new("guard").args(["drill", "--profile", "vm", "--format", "json"]).args(only).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout).with_context(|| format!("the drill said {said}"))?;
    Ok((output.status.code(), report))
}

fn with_status<'r>(report: &'r Value, status: &'r str) -> impl Iterator<Item = (&'r str, String)> {
    let drills = report["drills"].as_array().map(Vec::as_slice).unwrap_or_default();
    drills.iter().filter(move |drill| drill["status"] == status).map(|drill| {
        let why = drill["why"][0].as_str().unwrap_or_default().to_owned();
        (drill["id"].as_str().unwrap_or_default(), why)
    })
}

fn no_gap() -> Result<()> {
    let _daemon = Installed::start()?;
    let (code, report) = drill(&[])?;
    for (id, why) in with_status(&report, "gap") {
        println!("{id}: {why}");
    }
    println!("{}", report["summary"]);
    let gaps = with_status(&report, "gap").count();
    ensure!(gaps == 0 && code == Some(0), "{gaps} gaps, exit code {code:?}");
    let known: BTreeSet<&str> = LACKING.iter().copied().collect();
    let skipped: Vec<(&str, String)> = with_status(&report, "skipped")
        .filter(|(id, _)| !known.contains(id) && !id.starts_with("socket-"))
        .collect();
    ensure!(skipped.is_empty(), "not expected to be skipped: {skipped:?}");
    let green = report["summary"]["green"].as_u64().unwrap_or(0);
    ensure!(green >= 300, "only {green} drills are green");
    // The result is known, and nothing of the drill is left.
    let status: Value =
        serde_json::from_slice(&Command::new("guard").args(["status", "--json"]).output()?.stdout)?;
    ensure!(status["drill"]["state"] == "green", "status says {}", status["drill"]);
    ensure!(!Path::new("/sys/fs/cgroup/guard.drill").exists(), "a cgroup is left");
    let left: Vec<PathBuf> = fs::read_dir("/var/lib")?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains("guard-drill-"))
        .collect();
    ensure!(left.is_empty(), "{left:?} is left");
    ensure!(fs::read_dir("/run/guard/drill")?.next().is_none(), "a policy is left");
    Ok(())
}

fn bpf(command: i32, fields: &[u64]) -> io::Result<OwnedFd> {
    let mut attributes = words(fields);
    attributes.resize(128, 0);
    call_fd(libc::SYS_bpf, &mut [command.into(), attributes.as_mut_slice().into(), 128.into()])
}

fn raw(fd: &OwnedFd) -> u64 {
    std::os::fd::AsRawFd::as_raw_fd(fd) as u64
}

/// A hook's program, taken off its hook until this is dropped.
struct Broken {
    program: OwnedFd,
    pin: PathBuf,
    kind: Kind,
}

impl Broken {
    fn take(name: &str, kind: Kind) -> Result<Option<Self>> {
        let builds = fs::read_dir("/sys/fs/bpf/guard/links")?.flatten().next().context("no links")?;
        let pin = builds.path().join(name);
        if !pin.exists() {
            // This kernel has no such hook.
            return Ok(None);
        }
        let path = c(&pin);
        let link = bpf(7, &[path.as_ptr() as u64]).context("open the link")?;
        let mut information = [0u8; 128];
        let mut attributes = words(&[raw(&link) | 128 << 32, information.as_mut_ptr() as u64]);
        attributes.resize(128, 0);
        call(libc::SYS_bpf, &mut [15.into(), attributes.as_mut_slice().into(), 128.into()])
            .context("ask about the link")?;
        let id = u32::from_ne_bytes([information[8], information[9], information[10], information[11]]);
        let program = bpf(13, &[u64::from(id)]).context("open the program")?;
        fs::remove_file(&pin)?;
        Ok(Some(Self { program, pin, kind }))
    }

    fn mend(&self) -> Result<()> {
        let on_cgroup = |kind: u64| -> io::Result<OwnedFd> {
            let root: OwnedFd = File::open("/sys/fs/cgroup")?.into();
            bpf(28, &[raw(&self.program) | raw(&root) << 32, kind])
        };
        let link = match self.kind {
            Kind::Sysctl => on_cgroup(18),
            Kind::Egress => on_cgroup(1),
            Kind::Lsm | Kind::Tracepoint => bpf(17, &[0, raw(&self.program)]),
        };
        let link = link.context("attach the program again")?;
        let path = c(&self.pin);
        let mut attributes = words(&[path.as_ptr() as u64, raw(&link)]);
        attributes.resize(128, 0);
        call(libc::SYS_bpf, &mut [6.into(), attributes.as_mut_slice().into(), 128.into()])
            .context("pin the link again")?;
        let _ = link.as_fd();
        Ok(())
    }
}

fn red_without_each_hook() -> Result<()> {
    let _daemon = Installed::start()?;
    let mut bad = Vec::new();
    let mut broken = 0;
    for hook in HOOKS {
        if EXCUSED.iter().any(|(name, _)| *name == hook.name) {
            continue;
        }
        let Some(drilled) =
            catalogue::all().map(|(_, drill)| drill).find(|drill| drill.hooks.first() == Some(&hook.name))
        else {
            bad.push(format!("{}: no drill names it first", hook.name));
            continue;
        };
        let Some(taken) =
            Broken::take(hook.name, hook.kind).with_context(|| format!("break {}", hook.name))?
        else {
            continue;
        };
        broken += 1;
        let outcome = drill(&[drilled.name]);
        taken.mend().with_context(|| format!("mend {}", hook.name))?;
        let (_, report) = outcome?;
        if report["summary"]["gap"] != 1 {
            bad.push(format!("{}: {} stays {}", hook.name, drilled.name, report["summary"]));
        }
    }
    println!("{broken} hooks were taken away one by one");
    ensure!(broken > 40, "only {broken} hooks were there to be taken away");
    ensure!(bad.is_empty(), "{} hooks are not missed: {}", bad.len(), bad.join("; "));
    // Everything is back.
    let status = Command::new("guard").arg("status").status()?;
    ensure!(status.success(), "not everything was mended");
    Ok(())
}
