//! Tests that need a kernel. To add one: write a function `fn() -> Result<()>` in a file of its concern under
//! `guest/`, and one line in that file's `TESTS`. A new file also needs a line in [`suites`], in the list of the
//! guests it is for.
//!
//! Each test runs in a process of its own, as root, in a guest it may change as it likes: whatever it leaves
//! behind that another test could trip over (programs attached, cgroups with tasks) it must remove itself.

mod agent;
mod args;
mod audit;
mod boundary;
mod clients;
mod debian;
mod demo;
mod doctor;
mod drills;
mod exec;
mod files;
mod glass;
mod ground;
mod host;
mod identity;
mod install;
mod near;
mod net;
mod parity;
mod policies;
mod refuse;
mod row;
mod runner;
mod sessions;
mod shadow;
mod stage;
mod stress;
mod sys;
mod trees;
mod verdicts;
mod why;
mod written;

use std::time::Duration;

use anyhow::Result;

pub use runner::main;

/// Every test of every concern, in the order in which they run: those of a guest with busybox, or those that need
/// a whole Debian with systemd as PID 1.
fn suites() -> impl Iterator<Item = &'static Test> {
    let busybox: &[&[Test]] = &[
        host::TESTS,
        doctor::TESTS,
        refuse::TESTS,
        demo::TESTS,
        identity::TESTS,
        exec::TESTS,
        args::TESTS,
        files::TESTS,
        net::TESTS,
        verdicts::TESTS,
        why::TESTS,
        boundary::TESTS,
        parity::TESTS,
        shadow::TESTS,
        stress::TESTS,
        near::TESTS,
        near::names::TESTS,
        near::next::TESTS,
        sessions::TESTS,
        glass::TESTS,
        trees::TESTS,
        // They fill the log.
        audit::TESTS,
        // Its last test takes away what those before stand on.
        install::TESTS,
        // With a daemon of its own, in the usual places.
        drills::TESTS,
    ];
    let debian: &[&[Test]] = &[debian::TESTS, clients::TESTS];
    let on_debian = std::env::var("GUARD_GUEST_ROOT").is_ok_and(|root| root == "debian");
    if on_debian { debian } else { busybox }.iter().copied().flatten()
}

/// One test. The name is a sentence that says what is true when it passes.
#[derive(Debug, Clone, Copy)]
pub struct Test {
    pub name: &'static str,
    pub on: On,
    pub run: fn() -> Result<()>,
    pub timeout: Duration,
}

/// On which kernels a test makes sense. Elsewhere it is not run and not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    Every,
    /// Where guard enforces: 6.1 and newer.
    Supported,
    /// On one of those, 6.12, for what takes long; on each of them with `--thorough`.
    Reference,
    /// Where guard must refuse: the kernel is too old.
    TooOld,
    /// Where guard must refuse: the kernel is new enough, but runs no BPF security module.
    WithoutBpf,
}

impl Test {
    /// A test for the kernels on which guard enforces, with half a minute to run.
    pub const fn new(name: &'static str, run: fn() -> Result<()>) -> Self {
        Self { name, on: On::Supported, run, timeout: Duration::from_secs(30) }
    }

    #[must_use]
    pub const fn on(self, on: On) -> Self {
        Self { on, ..self }
    }

    #[must_use]
    pub const fn within(self, seconds: u64) -> Self {
        Self { timeout: Duration::from_secs(seconds), ..self }
    }
}

/// What a test returns, as an error, when the guest lacks something it needs. `tests/expected-skips.txt` must list
/// it, or the run fails.
#[derive(Debug)]
pub struct Skip(pub String);

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}
