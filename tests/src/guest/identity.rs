//! Who is inside: every road into a domain, and none out of it.

mod launcher;
mod roads;

use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::{Result, ensure};

use super::Test;
use super::agent::{End, REFUSED};
use super::ground::{At, Kind};

pub(super) const TESTS: &[Test] = &[
    test("every task of a process that is moved in is inside", roads::moved),
    test("what was there before the policy is inside once it is loaded", roads::before_the_policy),
    test("a process cloned straight into the cgroup is inside", roads::cloned_into),
    test("a nested cgroup is inside from its first moment, however deep", roads::nested),
    test("a thread that is moved alone is inside", roads::thread_alone),
    test("leaving the cgroup leaves the label on", roads::left),
    test("another user id, session or parent leaves the label on", roads::changed),
    test("a program started inside is inside", roads::executed),
    test("the threads that outlive their leader are inside", roads::orphaned_threads),
    test("the daemon cannot be labelled", roads::daemon),
    test("a launcher prepares in peace and is inside at its next exec", launcher::prepares),
    test("a launcher's sealed copy of itself prepares too, and no other copy", launcher::copy_prepares),
    test(
        "a launcher that runs once more with mounts of its own is inside",
        launcher::is_one_on_the_host_alone,
    ),
    test("a launcher that prepares is steered by nobody inside", launcher::nobodys_tool),
    test("a launcher's program frees nobody who is inside", launcher::frees_nobody),
];

const fn test(name: &'static str, run: fn() -> Result<()>) -> Test {
    Test::new(name, run).within(200)
}

/// What only an outsider can do.
fn forbidden(at: &At) -> io::Result<()> {
    let name = format!("made-by-{}", std::process::id());
    File::create(at.on(&name)).map(drop)
}

/// The ground, and a look at what came of it.
struct Probe(At);

impl Probe {
    fn new() -> Result<Self> {
        Ok(Self(At::fresh(Kind::Shut, super::agent::Who::Root)?))
    }

    fn files(&self) -> usize {
        fs::read_dir(&self.0.d).map_or(0, |entries| {
            entries
                .flatten()
                .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"made-by-"))
                .count()
        })
    }

    /// The attempt was refused, and nothing came of it.
    fn refused(&self, what: &str, end: End) -> Result<()> {
        ensure!(end == REFUSED, "{what} ended with {end:?}");
        ensure!(self.files() == 0, "{what} was refused and made a file");
        Ok(())
    }

    /// The attempt went through: the control.
    fn went(&self, what: &str, end: End) -> Result<()> {
        ensure!(end == End::Did && self.files() == 1, "{what}, the control, ended with {end:?}");
        for entry in fs::read_dir(&self.0.d)?.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(b"made-by-") {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// A cgroup that no policy governs.
fn ungoverned() -> &'static Path {
    Path::new("/sys/fs/cgroup")
}
