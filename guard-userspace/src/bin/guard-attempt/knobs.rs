//! Files that are more than files: the kernel's knobs, devices, guard's own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::table::{Attempt, plain};

/// Opens it for writing and writes what is there already, or `text` if it cannot be read: nothing changes even where
/// the attempt goes through.
fn rewrite(path: impl AsRef<Path>, text: &str) -> io::Result<()> {
    let now = fs::read(&path).ok().filter(|now| !now.is_empty()).unwrap_or_else(|| text.as_bytes().to_vec());
    OpenOptions::new().write(true).open(path)?.write_all(&now)
}

/// Opens it for writing and does not write.
fn open_only(path: impl AsRef<Path>) -> io::Result<()> {
    OpenOptions::new().write(true).open(path).map(drop)
}

fn own() -> String {
    std::process::id().to_string()
}

pub(crate) const TRIES: &[Attempt] = &[
    plain("sysctl-ftrace-enabled", |_, _| open_only("/proc/sys/kernel/ftrace_enabled")),
    plain("sysctl-ftrace-off", |_, _| {
        fs::write("/proc/sys/kernel/ftrace_enabled", "0")?;
        // It went through: back at once, it is the whole host's.
        fs::write("/proc/sys/kernel/ftrace_enabled", "1")
    }),
    plain("sysctl-core-pattern", |_, _| open_only("/proc/sys/kernel/core_pattern")),
    plain("sysctl-modprobe", |_, _| open_only("/proc/sys/kernel/modprobe")),
    plain("sysctl-hostname", |_, _| open_only("/proc/sys/kernel/hostname")),
    plain("sysctl-overcommit", |_, _| open_only("/proc/sys/vm/overcommit_memory")),
    plain("sysctl-through-self-root", |_, _| open_only("/proc/self/root/proc/sys/kernel/core_pattern")),
    plain("sysrq-trigger", |_, _| open_only("/proc/sysrq-trigger")),
    plain("irq-affinity", |_, _| open_only("/proc/irq/default_smp_affinity")),
    plain("sysfs", |_, _| open_only("/sys/kernel/mm/transparent_hugepage/enabled")),
    plain("sysfs-uevent-helper", |_, _| open_only("/sys/kernel/uevent_helper")),
    plain("tracefs", |_, _| open_only("/sys/kernel/tracing/tracing_on")),
    plain("debugfs", |_, _| open_only("/sys/kernel/debug/fault_around_bytes")),
    plain("securityfs", |_, _| open_only("/sys/kernel/security/lockdown")),
    plain("loginuid", |_, _| open_only("/proc/self/loginuid")),
    plain("cgroup-leave", |at, _| fs::write(at.path("cgroups")?.join("cgroup.procs"), own())),
    plain("cgroup-leave-to-sibling", |at, _| fs::write(at.path("away")?.join("cgroup.procs"), own())),
    plain("cgroup-thread-leave", |at, _| {
        fs::write(at.path("away")?.join("cgroup.threads"), nix::unistd::gettid().to_string())
    }),
    plain("cgroup-move-outsider", |at, _| {
        fs::write(at.path("away")?.join("cgroup.procs"), at.need::<String>("outsider")?)
    }),
    plain("cgroup-move-guard", |at, _| {
        let guard = at.need::<String>("guard")?;
        fs::write(at.path("away")?.join("cgroup.procs"), &guard)?;
        // It went through: back to where daemons are.
        fs::write(at.path("cgroups")?.join("cgroup.procs"), guard)
    }),
    plain("cgroup-mkdir", |at, _| {
        let fresh = at.path("away")?.join(format!("new-{}", own()));
        fs::create_dir(&fresh)?;
        fs::remove_dir(fresh)
    }),
    plain("cgroup-limit", |at, _| rewrite(at.path("away")?.join("cgroup.max.descendants"), "max")),
    plain("cgroup-freeze", |at, _| fs::write(at.path("away")?.join("cgroup.freeze"), "0")),
    plain("block-device", |_, _| File::open("/dev/loop0").map(drop)),
    plain("dev-mem", |_, _| File::open("/dev/mem").map(drop)),
    plain("dev-kmsg", |_, _| File::open("/dev/kmsg").map(drop)),
    plain("proc-kcore", |_, _| File::open("/proc/kcore").map(drop)),
    plain("policy-write", |at, _| {
        let path = at.path("policies")?.join("guard-drill-attempt.txt");
        fs::write(&path, "x")?;
        fs::remove_file(path)
    }),
    plain("policy-move", |at, _| away_and_back(&at.path("policies")?)),
    plain("log-read", |at, _| fs::read_dir(at.path("state")?).map(drop)),
    plain("log-write", |at, _| {
        let path = at.path("state")?.join("guard-drill-attempt");
        fs::write(&path, "x")?;
        fs::remove_file(path)
    }),
    plain("socket-directory", |at, _| fs::read_dir(at.path("run")?).map(drop)),
    plain("control-socket", |at, _| {
        std::os::unix::net::UnixStream::connect(at.path("run")?.join("control.sock")).map(drop)
    }),
    plain("binary-chmod", |at, _| {
        let path = at.path("binary")?;
        let mode = fs::metadata(&path)?.permissions();
        fs::set_permissions(path, mode)
    }),
    plain("pins-list", |at, _| fs::read_dir(at.path("pins")?).map(drop)),
    plain("pins-move", |at, _| away_and_back(&at.path("pins")?.join("maps/CONTROL"))),
    plain("etc-systemd", |_, _| touch_and_go("/etc/systemd/system/guard-drill.service")),
    plain("etc-cron", |_, _| touch_and_go("/etc/cron.d/guard-drill")),
    plain("etc-ld-preload", |_, _| touch_and_go("/etc/ld.so.preload")),
];

/// Makes an empty file and takes it away again.
fn touch_and_go(path: &str) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(path)?;
    fs::remove_file(path)
}

/// Moves something away and back.
fn away_and_back(path: &Path) -> io::Result<()> {
    let mut other = path.as_os_str().to_owned();
    other.push("-moved");
    fs::rename(path, &other)?;
    fs::rename(other, path)
}
