//! The guest's first and only root: PID 1, busybox, a few modules, and what the caller lays over them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::Guest;
use super::cpio::{Cpio, MERGED};
use crate::debian::{modules, qemu};
use crate::{build_host, run};

/// What the job of a guest with systemd is: the last thing started, and the guest ends with it.
const TARGET: &str = "[Unit]\nDescription=The guest's job\nRequires=multi-user.target\nAfter=multi-user.target\n\
     Wants=guest-job.service\nAllowIsolate=yes\n";
const SERVICE: &str = "[Unit]\nDescription=The guest's command\nAfter=multi-user.target\n\n[Service]\nType=exec\n\
     ExecStart=/.guest/init job\nTasksMax=infinity\nKillMode=process\n";

/// Where the root from the disk will find what the caller lays over it.
const OVER: &str = ".guest/over";

/// Loaded where the root is on a disk.
const DISK_MODULES: &[&str] = &["virtio_pci", "virtio_blk"];

/// Loaded in every guest whose kernel has them as modules.
const USUAL_MODULES: &[&str] = &["overlay", "dummy", "veth", "loop"];

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Writes the image for one run.
pub(super) fn write(guest: &Guest, argv: &[String], to: &Path) -> Result<()> {
    let mut bytes = base(guest)?;
    bytes.extend(overlay(guest, argv)?);
    fs::write(to, bytes).with_context(|| format!("write the guest's image {}", to.display()))
}

fn base(guest: &Guest) -> Result<Vec<u8>> {
    let mut cpio = Cpio::default();
    for dir in ["dev", "etc", "home", "mnt", "opt", "proc", "root", "run", "srv", "sys", "usr"] {
        cpio.dir(dir, 0o755)?;
    }
    for name in MERGED {
        cpio.dir(&format!("usr/{name}"), 0o755)?;
        cpio.link(name, &Path::new("usr").join(name))?;
    }
    for dir in ["usr/lib/modules", "usr/local", "usr/local/bin", "var", "var/lib", "var/log"] {
        cpio.dir(dir, 0o755)?;
    }
    cpio.dir("tmp", 0o1777)?;
    cpio.char_device("dev/console", 5, 1)?;
    cpio.char_device("dev/null", 1, 3)?;
    cpio.char_device("dev/ttyS1", 4, 65)?;
    cpio.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
    )?;
    cpio.file("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n")?;
    cpio.file("etc/hosts", 0o644, b"127.0.0.1 localhost guest\n::1 localhost\n")?;
    cpio.file("init", 0o755, &read(&build_host::guest_init()?)?)?;
    busybox(&mut cpio)?;
    kernel_modules(&mut cpio, guest)?;
    cpio.finish()
}

fn busybox(cpio: &mut Cpio) -> Result<()> {
    let host = qemu::busybox()?;
    cpio.file("usr/bin/busybox", 0o755, &read(&host)?)?;
    let applets = run::quiet("list busybox's programs", Command::new(&host).arg("--list-full"))?;
    for applet in applets.lines().filter(|applet| !matches!(*applet, "bin/busybox" | "sbin/init" | "linuxrc"))
    {
        cpio.link(applet, Path::new("/usr/bin/busybox"))?;
    }
    Ok(())
}

fn kernel_modules(cpio: &mut Cpio, guest: &Guest) -> Result<()> {
    let must: Vec<&str> = guest.modules.iter().map(String::as_str).collect();
    let disk = if guest.root.is_some() { DISK_MODULES } else { &[] };
    let wanted: Vec<&str> = disk.iter().chain(USUAL_MODULES).chain(&guest.modules_if_any).copied().collect();
    let closure = modules::closure(&guest.kernel, &wanted, &must)?;
    let dir = format!("usr/lib/modules/{}", guest.kernel.release);
    cpio.dir(&dir, 0o755)?;
    let (mut load, mut dep) = (String::new(), String::new());
    for module in &closure {
        let path = format!("{dir}/{}.ko", module.name);
        cpio.file(&path, 0o644, &read(&module.file)?)?;
        load.push_str(&format!("/{path}\n"));
        let needs: Vec<_> = module.needs.iter().map(|need| format!(" {need}.ko")).collect();
        dep.push_str(&format!("{}.ko:{}\n", module.name, needs.concat()));
    }
    cpio.file(&format!("{dir}/modules.dep"), 0o644, dep.as_bytes())?;
    cpio.dir(".guest", 0o755)?;
    cpio.file(".guest/modules", 0o644, load.as_bytes())
}

fn overlay(guest: &Guest, argv: &[String]) -> Result<Vec<u8>> {
    let mut cpio = Cpio::default();
    let at = |inside: &str| match &guest.root {
        Some(_) => format!("{OVER}{inside}"),
        None => inside.to_owned(),
    };
    for (host, inside) in &guest.overlays {
        cpio.parents(&at(&format!("{inside}/")))?;
        cpio.tree(host, &at(inside))?;
    }
    for (host, inside, mode) in &guest.files {
        cpio.parents(&at(inside))?;
        cpio.file(&at(inside), *mode, &stripped(host)?)?;
    }
    if guest.root.is_some() {
        let units = at("/etc/systemd/system/");
        cpio.parents(&units)?;
        cpio.file(&format!("{units}guest.target"), 0o644, TARGET.as_bytes())?;
        cpio.file(&format!("{units}guest-job.service"), 0o644, SERVICE.as_bytes())?;
        cpio.file(".guest/disk", 0o644, b"/dev/vda")?;
    }
    cpio.file(".guest/argv", 0o644, terminated(argv).as_bytes())?;
    let mut env = vec![
        format!("PATH={PATH}"),
        "HOME=/root".to_owned(),
        "TERM=dumb".to_owned(),
        "USER=root".to_owned(),
        format!("GUARD_GUEST_SERIES={}", guest.kernel.series),
        format!("GUARD_GUEST_RELEASE={}", guest.kernel.release),
        format!("GUARD_GUEST_ROOT={}", if guest.root.is_some() { "debian" } else { "busybox" }),
    ];
    env.extend(guest.env.iter().map(|(key, value)| format!("{key}={value}")));
    cpio.file(".guest/env", 0o644, terminated(&env).as_bytes())?;
    cpio.file(".guest/fetch", 0o644, terminated(&guest.fetch).as_bytes())?;
    if !guest.icount && guest.root.is_none() {
        cpio.file(".guest/tripwire", 0o644, b"")?;
    }
    cpio.finish()
}

fn terminated(entries: &[String]) -> String {
    entries.iter().map(|entry| format!("{entry}\0")).collect()
}

/// The file's content; a program's without its debug information, which would fill the guest's memory.
fn stripped(host: &Path) -> Result<Vec<u8>> {
    let bytes = read(host)?;
    if !bytes.starts_with(b"\x7fELF") || bytes.len() < 1024 * 1024 {
        return Ok(bytes);
    }
    let copy: PathBuf = crate::paths::beside(&crate::paths::target().join("stripped"));
    let made = run::quiet(
        &format!("strip {}", host.display()),
        Command::new("strip").args(["--strip-debug", "-o"]).arg(&copy).arg(host),
    );
    let bytes = if made.is_ok() { read(&copy) } else { Ok(bytes) };
    let _ = fs::remove_file(&copy);
    bytes
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}
