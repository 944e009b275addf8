//! QEMU and busybox: a new enough one of the machine's, else Debian's unpacked into `target/tools`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::apt::Apt;
use crate::{paths, run};

/// Multi-threaded emulation of older versions crashes guests at random.
const OLDEST: u32 = 10;

/// How to start QEMU.
#[derive(Debug, Clone)]
pub(crate) struct Qemu {
    program: PathBuf,
    /// Where it was unpacked, if it is not the machine's own.
    unpacked: Option<PathBuf>,
}

impl Qemu {
    pub(crate) fn get() -> Result<Self> {
        if let Some(program) = run::which("qemu-system-x86_64").filter(|program| is_new_enough(program)) {
            return Ok(Self { program, unpacked: None });
        }
        let dir = paths::tools().join("qemu");
        let program = dir.join("usr/bin/qemu-system-x86_64");
        if !program.is_file() {
            fetch(&dir).context("get QEMU")?;
        }
        Ok(Self { program, unpacked: Some(dir) })
    }

    /// QEMU dies with this process, however this process ends: an orphan would burn a core for ever.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program);
        if let Some(dir) = &self.unpacked {
            let lib = dir.join("usr/lib/x86_64-linux-gnu");
            command.env(
                "LD_LIBRARY_PATH",
                format!("{}:{}", lib.display(), dir.join("lib/x86_64-linux-gnu").display()),
            );
            command.arg("-L").arg(dir.join("usr/share/qemu")).arg("-L").arg(dir.join("usr/share/seabios"));
            command.arg("-L").arg(dir.join("usr/lib/ipxe/qemu"));
        }
        command
    }
}

fn is_new_enough(program: &Path) -> bool {
    let Ok(text) = run::quiet("ask QEMU its version", Command::new(program).arg("--version")) else {
        return false;
    };
    let major = text
        .split_whitespace()
        .skip_while(|&word| word != "version")
        .nth(1)
        .and_then(|v| v.split('.').next());
    major.and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major >= OLDEST)
}

/// The machine's own suites, with backports: bookworm's own QEMU is too old.
fn machine_suites() -> Result<(String, Vec<String>)> {
    let text = fs::read_to_string("/etc/os-release").context("read which system this is")?;
    let codename = text
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("this system names no Debian codename in /etc/os-release")?
        .trim_matches('"')
        .to_owned();
    let backports = format!("{codename}-backports");
    if codename == "bookworm" {
        Ok((backports.clone(), vec![codename, backports]))
    } else {
        Ok((codename.clone(), vec![codename]))
    }
}

fn fetch(dir: &Path) -> Result<()> {
    let (suite, suites) = machine_suites()?;
    eprintln!("xtask: fetching QEMU of Debian {suite} into target/tools (not installed on the machine)");
    let apt = Apt::open("qemu", &suites, true)?;
    paths::build_dir(dir, |part| apt.unpack_with_dependencies("qemu-system-x86", &suite, part))
}

/// A static busybox for the guests.
pub(crate) fn busybox() -> Result<PathBuf> {
    let dir = paths::tools().join("busybox");
    if !dir.is_dir() {
        let (_, suites) = machine_suites().context("get busybox")?;
        eprintln!("xtask: fetching busybox-static into target/tools (not installed on the machine)");
        let apt = Apt::open("busybox", &suites, false)?;
        paths::build_dir(&dir, |part| apt.unpack(&["busybox-static".to_owned()], part))
            .context("get busybox")?;
    }
    let found =
        ["bin/busybox", "usr/bin/busybox"].iter().map(|path| dir.join(path)).find(|path| path.is_file());
    found.with_context(|| format!("{} holds no busybox; remove it to fetch anew", dir.display()))
}
