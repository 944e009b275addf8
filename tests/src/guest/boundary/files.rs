//! Files that are more than files: knobs, devices, guard's own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, SFlag, mknod};

use super::super::agent::End;
use super::super::stage::{ALIASES, PINS};
use super::{Fence, Scene};

/// Opens it for writing and writes what is there already, or `text` if it cannot be read.
fn rewrite(path: impl AsRef<Path>, text: &str) -> io::Result<()> {
    let now = fs::read(&path).ok().filter(|now| !now.is_empty()).unwrap_or_else(|| text.as_bytes().to_vec());
    OpenOptions::new().write(true).open(path)?.write_all(&now)
}

fn alias(path: &str) -> String {
    format!("{ALIASES}/{path}")
}

pub(super) const KNOBS: &[Fence] = &[
    Fence::root("kernel.ftrace_enabled", |_| rewrite("/proc/sys/kernel/ftrace_enabled", "1")),
    Fence::root("kernel.ftrace_enabled, elsewhere", |_| {
        rewrite(alias("proc/sys/kernel/ftrace_enabled"), "1")
    }),
    Fence::root("kernel.core_pattern", |_| rewrite("/proc/sys/kernel/core_pattern", "core")),
    Fence::root("kernel.modprobe, elsewhere", |_| rewrite(alias("proc/sys/kernel/modprobe"), "x")),
    Fence::root("kernel.hostname", |_| rewrite("/proc/sys/kernel/hostname", "guest")),
    Fence::root("vm.overcommit_memory", |_| rewrite("/proc/sys/vm/overcommit_memory", "0")),
    Fence::root("sysrq", |_| fs::write("/proc/sysrq-trigger", "h")),
    Fence::root("sysrq, elsewhere", |_| fs::write(alias("proc/sysrq-trigger"), "h")),
    Fence::root("an interrupt's processors", |_| rewrite("/proc/irq/default_smp_affinity", "3")),
    Fence::root("sysfs", |_| rewrite("/sys/kernel/mm/transparent_hugepage/khugepaged/pages_to_scan", "4096")),
    Fence::root("sysfs, elsewhere", |_| {
        rewrite(alias("sys/kernel/mm/transparent_hugepage/khugepaged/pages_to_scan"), "4096")
    }),
    Fence::root("the helper for devices", |_| rewrite("/sys/kernel/uevent_seqnum", "1"))
        .control(&[End::Errno(libc::EACCES)])
        .ends(&[End::Errno(libc::EPERM), End::Errno(libc::EACCES)]),
    Fence::root("tracefs", |_| fs::write("/sys/kernel/tracing/tracing_on", "1")),
    Fence::root("tracefs, elsewhere", |_| fs::write(alias("tracing/tracing_on"), "1")),
    Fence::root("debugfs", |_| {
        OpenOptions::new().write(true).open("/sys/kernel/debug/fault_around_bytes").map(drop)
    }),
    Fence::root("its cgroup", |_| fs::write("/sys/fs/cgroup/cgroup.procs", std::process::id().to_string())),
    Fence::root("its cgroup, elsewhere", |_| {
        fs::write(alias("cgroup/cgroup.procs"), std::process::id().to_string())
    }),
    Fence::root("an outsider's cgroup", |scene| {
        fs::write("/sys/fs/cgroup/cgroup.procs", scene.outsider.to_string())
    }),
    Fence::root("a limit of the cgroup above", |_| rewrite("/sys/fs/cgroup/kt/pids.max", "max")),
    Fence::root("a new cgroup, elsewhere", |_| {
        fs::create_dir(alias("cgroup/agent-made"))?;
        fs::remove_dir(alias("cgroup/agent-made"))
    }),
    Fence::root("the mode of a cgroup's file", |_| {
        fs::set_permissions(alias("cgroup/cgroup.procs"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
    }),
    Fence::root("the mode of a knob", |_| {
        fs::set_permissions(
            alias("sys/kernel/uevent_seqnum"),
            std::os::unix::fs::PermissionsExt::from_mode(0o444),
        )
    }),
    Fence::root("the owner of a knob", |_| {
        std::os::unix::fs::chown(alias("sys/kernel/uevent_seqnum"), Some(0), None)
    }),
];

const LOOP: u64 = 7 << 8;

fn node(scene: &Scene, kind: SFlag, device: u64) -> io::Result<()> {
    let path = scene.at.on("node");
    mknod(&path, kind, Mode::from_bits_truncate(0o600), device)?;
    fs::remove_file(path)
}

pub(super) const DEVICES: &[Fence] = &[
    Fence::root("open a block device", |_| File::open("/dev/loop0").map(drop)),
    Fence::root("open a block device under another name", |_| File::open(alias("loop")).map(drop)),
    Fence::root("open a block device for writing", |_| {
        OpenOptions::new().write(true).open(alias("loop")).map(drop)
    }),
    Fence::root("make a block device", |scene| node(scene, SFlag::S_IFBLK, LOOP)),
    Fence::root("make a character device", |scene| node(scene, SFlag::S_IFCHR, 1 << 8 | 1)),
    Fence::root("open the kernel's log", |_| File::open("/dev/kmsg").map(drop)),
    Fence::root("open the kernel's log under another name", |_| File::open(alias("kmsg")).map(drop)),
    Fence::anybody("the null device is allowed", |_| fs::write("/dev/null", "x")).ends(&[End::Did]),
    Fence::anybody("random numbers are allowed", |_| File::open("/dev/urandom").map(drop)).ends(&[End::Did]),
    Fence::anybody("a terminal of its own is allowed", |_| {
        OpenOptions::new().read(true).write(true).open("/dev/ptmx").map(drop)
    })
    .ends(&[End::Did]),
];

/// Moves a directory away and back.
fn away_and_back(path: &str) -> io::Result<()> {
    let other = format!("{path}-moved");
    fs::rename(path, &other)?;
    fs::rename(other, path)
}

/// A move that would change which rules apply to what is below; a program copies instead.
const STAYS: &[End] = &[End::Errno(libc::EPERM), End::Errno(libc::EXDEV)];

pub(super) const GUARDS: &[Fence] = &[
    Fence::root("write a policy", |_| {
        fs::write("/etc/guard/agent.yaml", "x")?;
        fs::remove_file("/etc/guard/agent.yaml")
    }),
    Fence::root("move the policies away", |_| away_and_back("/etc/guard")),
    Fence::root("move what holds the policies away", |_| away_and_back("/etc")).ends(STAYS),
    Fence::root("move what holds the sockets away", |_| away_and_back("/run")).ends(STAYS),
    Fence::root("move what holds the log away", |_| away_and_back("/var/lib")).ends(STAYS),
    Fence::root("read the log", |_| fs::read_dir("/var/lib/guard").map(drop)),
    Fence::root("write over the binary", |_| {
        OpenOptions::new().append(true).open("/usr/local/bin/guard").map(drop)
    })
    // Nobody writes a program that runs.
    .control(&[End::Errno(libc::ETXTBSY)])
    .ends(&[End::Errno(libc::EPERM), End::Errno(libc::ETXTBSY)]),
    Fence::root("move the binary away", |_| away_and_back("/usr/local/bin/guard")),
    Fence::root("move what holds the binary away", |_| away_and_back("/usr/local")).ends(STAYS),
    Fence::root("change the binary's mode", |_| {
        fs::set_permissions("/usr/local/bin/guard", std::os::unix::fs::PermissionsExt::from_mode(0o755))
    }),
    Fence::root("link the binary", |scene| fs::hard_link("/usr/local/bin/guard", scene.at.on("guard")))
        // Another file system outside, and no right to inside.
        .control(&[End::Errno(libc::EXDEV)])
        .ends(&[End::Errno(libc::EPERM), End::Errno(libc::EXDEV)]),
    Fence::root("list the pins", |_| fs::read_dir(PINS).map(drop)),
    Fence::root("move a pin", |_| away_and_back(&format!("{PINS}/maps/CONTROL"))),
    Fence::root("ask whether guard lives", |scene| Ok(kill(scene.guard, None)?)),
    Fence::root("have guard read its policies again", |scene| Ok(kill(scene.guard, Signal::SIGHUP)?)),
    Fence::root("open guard's memory", |scene| File::open(format!("/proc/{}/mem", scene.guard)).map(drop))
        .ends(&[End::Errno(libc::EPERM), End::Errno(libc::EACCES)]),
    Fence::root("open guard's descriptors", |scene| {
        fs::read_link(format!("/proc/{}/fd/0", scene.guard)).map(drop)
    })
    .ends(&[End::Errno(libc::EPERM), End::Errno(libc::EACCES)]),
    Fence::root("move guard into its own cgroup", |scene| {
        fs::write(alias("cgroup/cgroup.procs"), scene.guard.to_string())
    }),
    Fence::root("trace guard", |scene| {
        nix::sys::ptrace::seize(scene.guard, nix::sys::ptrace::Options::empty()).map_err(Into::into)
    }),
    Fence::root("make a directory among the pins, elsewhere", |_| {
        fs::create_dir(alias("bpf/agent"))?;
        fs::remove_dir(alias("bpf/agent"))
    }),
    Fence::root("make guard the first to go when memory is short", |scene| {
        rewrite(format!("/proc/{}/oom_score_adj", scene.guard), "0")
    }),
    Fence::root("move the pins, elsewhere", |_| away_and_back(&alias("bpf/kt"))),
];
