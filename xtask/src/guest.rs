//! A guest: a real kernel in QEMU that runs one command as root and gives back what it printed and how it ended.

mod accel;
mod boot;
mod cpio;
mod frame;
mod image;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::debian::kernel::Kernel;
use crate::debian::root::Root;
use crate::setup;

pub(crate) use boot::Stream;

/// Small and without `bpf` nothing works; the order is that of Debian's kernels.
pub(crate) const LSMS: &str = "landlock,lockdown,capability,bpf";

/// What to boot and what to run in it.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    kernel: Kernel,
    /// A Debian with systemd instead of busybox.
    root: Option<Root>,
    /// Directories of the host, each with where it goes.
    overlays: Vec<(PathBuf, String)>,
    /// Files of the host, each with where it goes and its mode.
    files: Vec<(PathBuf, String, u32)>,
    env: Vec<(String, String)>,
    modules: Vec<String>,
    /// The same, but a kernel need not have them.
    modules_if_any: Vec<&'static str>,
    fetch: Vec<String>,
    lsm: String,
    append: String,
    timeout: Duration,
    cpus: u32,
    memory: u32,
    icount: bool,
    /// Decided by a probe unless the probe itself runs.
    accel: Option<accel::Accel>,
}

/// What came out of a command that ran to its end.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) status: Status,
    pub(crate) console_log: PathBuf,
}

/// How a command ended, without what it printed.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: Status,
    pub(crate) console_log: PathBuf,
    /// What `fetch` asked for and was there: each path in the guest with its content.
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Exited(i32),
    Killed(i32),
}

impl Status {
    pub(crate) fn success(self) -> bool {
        self == Self::Exited(0)
    }

    /// As a shell counts it.
    pub(crate) fn code(self) -> u8 {
        let code = match self {
            Self::Exited(code) => code,
            Self::Killed(signal) => 128 + signal,
        };
        // A status this program cannot express must not turn into success.
        u8::try_from(code).unwrap_or(255)
    }
}

/// The guest itself failed: nothing it printed says how the command would have ended.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) why: String,
    pub(crate) timed_out: bool,
    /// Whether the command had been started.
    pub(crate) started: bool,
    pub(crate) console_log: PathBuf,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the guest failed: {}; its console is in {}", self.why, self.console_log.display())
    }
}

impl std::error::Error for Failure {}

impl Guest {
    /// A guest on the newest kernel of the series, which is fetched if it is not there.
    pub(crate) fn new(series: &str) -> Result<Self> {
        setup::guests()?;
        Ok(Self {
            kernel: Kernel::get(series)?,
            root: None,
            overlays: Vec::new(),
            files: Vec::new(),
            env: Vec::new(),
            modules: Vec::new(),
            modules_if_any: Vec::new(),
            fetch: Vec::new(),
            lsm: LSMS.to_owned(),
            append: String::new(),
            timeout: Duration::from_secs(120),
            cpus: 2,
            memory: 1024,
            icount: false,
            accel: None,
        })
    }

    /// Boots this Debian, with systemd as PID 1; the command runs as a service when the system is up.
    pub(crate) fn debian(mut self, root: Root) -> Self {
        self.root = Some(root);
        self
    }

    /// Lays the directory's content over the guest's root.
    pub(crate) fn overlay(self, dir: impl AsRef<Path>) -> Self {
        self.tree(dir, "")
    }

    /// Puts the content of a directory of the host at an absolute path in the guest.
    pub(crate) fn tree(mut self, dir: impl AsRef<Path>, at: &str) -> Self {
        self.overlays.push((dir.as_ref().to_owned(), at.to_owned()));
        self
    }

    /// Puts a program of the host at an absolute path in the guest.
    pub(crate) fn file(mut self, host: impl AsRef<Path>, guest: &str) -> Self {
        self.files.push((host.as_ref().to_owned(), guest.to_owned(), 0o755));
        self
    }

    /// Puts a file that is not to be run at an absolute path in the guest.
    pub(crate) fn plain_file(mut self, host: impl AsRef<Path>, guest: &str) -> Self {
        self.files.push((host.as_ref().to_owned(), guest.to_owned(), 0o644));
        self
    }

    pub(crate) fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Loads modules beyond the usual ones; the kernel must have them.
    pub(crate) fn modules(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.modules.extend(names);
        self
    }

    /// Loads those of these that the kernel has.
    pub(crate) fn modules_if_any(mut self, names: &[&'static str]) -> Self {
        self.modules_if_any.extend(names);
        self
    }

    /// Brings back a file, or all files below a directory, when the command has ended.
    pub(crate) fn fetch(mut self, path: &str) -> Self {
        self.fetch.push(path.to_owned());
        self
    }

    pub(crate) fn lsm(mut self, list: &str) -> Self {
        list.clone_into(&mut self.lsm);
        self
    }

    /// More words for the kernel's command line.
    pub(crate) fn append(mut self, words: &str) -> Self {
        words.clone_into(&mut self.append);
        self
    }

    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(crate) fn cpus(mut self, count: u32) -> Self {
        self.cpus = count;
        self
    }

    /// In MiB.
    pub(crate) fn memory(mut self, size: u32) -> Self {
        self.memory = size;
        self
    }

    /// Counts instructions instead of time: one CPU, the same figures at every boot.
    pub(crate) fn icount(mut self, on: bool) -> Self {
        self.icount = on;
        self
    }

    /// Boots, runs the command, and collects what it prints.
    pub(crate) fn run(&self, argv: &[String]) -> Result<Output> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let ended = self.stream(argv, &mut |stream, bytes| match stream {
            Stream::Out => stdout.extend(bytes),
            Stream::Err => stderr.extend(bytes),
        });
        if ended.is_err() {
            // How far it came says more than that it failed.
            println!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        }
        let Ended { status, console_log, .. } = ended?;
        Ok(Output { stdout, stderr, status, console_log })
    }

    /// The same, passing on what it prints as it comes.
    pub(crate) fn stream(&self, argv: &[String], sink: &mut dyn FnMut(Stream, &[u8])) -> Result<Ended> {
        boot::boot(self, argv, sink)
    }

    pub(crate) fn release(&self) -> &str {
        &self.kernel.release
    }
}
