//! Names in a directory that is remembered: one that was allowed answers for itself alone.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use guard_userspace::control::{Client, Greeting, Request};
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;

use super::super::agent::{End, Way, Who, attempt, inside};
use super::super::audit::log::{of, until};
use super::super::stage::{Cgroup, POLICIES, RUN, Stage};
use super::super::{Test, written};
use super::{OPENS, ROUNDS, SHUT, Turns, expect, ready, together};

pub(in super::super) const TESTS: &[Test] = &[
    Test::new("a name that was allowed answers for no other one", named).within(120),
    Test::new("a name that was allowed and is a link now answers for nothing behind it", linked).within(120),
    Test::new("a name that was allowed is asked about again once the policies have changed", flipped)
        .within(120),
    Test::new("a name that is remembered is recorded each time, whole", told),
];

/// Names of these lengths are allowed, see [`NAMES`].
const LENGTHS: &[usize] = &[1, 2, 3, 7, 8, 9, 12, 15, 16, 17, 31];
/// Where they are.
const NAMES: &str = "/t/open/names";

/// Allows names of nothing but the letter a, and only of certain lengths.
pub(in super::super) fn policy(verdict: &str) -> String {
    let paths: Vec<String> =
        LENGTHS.iter().map(|length| format!("{NAMES}/{}", "a".repeat(*length))).collect();
    format!(
        "version: 1
policy: kt-names
applies_to:
  - cgroup: /kt/names/**
mode: enforce
audit: {{ allows: none, on_loss: block }}
exec: {{ default: allow }}
connect: {{ default: block }}
read: {{ default: allow }}
write:
  default: block
  rules:
    - {{ id: letters, paths: [{}], verdict: {verdict} }}
",
        paths.join(", ")
    )
}

/// The names that are allowed, and of each its neighbours, which are not: one letter is another, or one is missing.
fn neighbours() -> Vec<(String, Vec<String>)> {
    let mut all = Vec::new();
    for length in LENGTHS {
        let name = "a".repeat(*length);
        let mut others: Vec<String> = (0..*length)
            .map(|at| name.char_indices().map(|(n, letter)| if n == at { 'b' } else { letter }).collect())
            .collect();
        others.extend(
            [length - 1, length + 1]
                .iter()
                .filter(|other| **other != 0 && !LENGTHS.contains(other))
                .map(|n| "a".repeat(*n)),
        );
        all.push((name, others));
    }
    all
}

fn made() -> Result<OwnedFd> {
    ready(NAMES)?;
    for (name, others) in neighbours() {
        for name in others.iter().chain([&name]) {
            fs::write(Path::new(NAMES).join(name), "before")?;
        }
    }
    Ok(open(NAMES, OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty())?)
}

/// Opens each name that is allowed until it is remembered, and between that its neighbours.
fn mixed(directory: &OwnedFd, forbidden: bool) -> io::Result<()> {
    for (name, others) in neighbours() {
        let name = CString::new(name)?;
        for other in others {
            for _ in 0..OPENS {
                expect(directory, &name, true)?;
            }
            let other = CString::new(other)?;
            for _ in 0..2 {
                expect(directory, &other, !forbidden)?;
                expect(directory, &name, true)?;
            }
        }
    }
    Ok(())
}

fn named() -> Result<()> {
    let stage = Stage::set()?;
    let cgroup = stage.cgroup("names")?;
    let nested = Cgroup::make(&cgroup.path().join("below"))?;
    let directory = made()?;
    for cgroup in [None, Some(cgroup.path()), Some(nested.path())] {
        for way in Way::ALL {
            let act = |()| mixed(&directory, cgroup.is_some());
            let end = attempt(cgroup, Who::Root, way, || Ok(()), act)?;
            ensure!(end == End::Did, "in {cgroup:?}, {way:?}: {end:?}");
        }
    }
    Ok(())
}

/// The name goes and comes again as a link to what is forbidden: nothing is renamed, and no count tells of it.
fn linked() -> Result<()> {
    let stage = Stage::set()?;
    let cgroup = stage.cgroup("names")?;
    let target = Path::new(SHUT).join("file");
    for (cgroup, forbidden) in [(None, false), (Some(cgroup.path()), true)] {
        let directory = made()?;
        ready(SHUT)?;
        fs::write(&target, "before")?;
        let (target, mut there) = (target.clone(), false);
        let other = move || -> Result<()> {
            let name = Path::new(NAMES).join("a");
            there = !there;
            fs::remove_file(&name)?;
            if there {
                symlink(&target, &name)?
            } else {
                fs::write(&name, "before")?
            };
            Ok(())
        };
        let act = |turns: &Turns| -> io::Result<()> {
            for _ in 0..ROUNDS {
                for allowed in [true, !forbidden] {
                    for _ in 0..OPENS {
                        expect(&directory, c"a", allowed)?;
                    }
                    turns.over()?;
                }
            }
            Ok(())
        };
        let end = together(cgroup, act, other)?;
        ensure!(end == End::Did, "inside {}: {end:?}", cgroup.is_some());
    }
    Ok(())
}

fn flipped() -> Result<()> {
    let stage = Stage::set()?;
    let cgroup = stage.cgroup("names")?;
    let directory = made()?;
    let file = Path::new(POLICIES).join("names.yaml");
    let mut daemon = Client::connect(Path::new(RUN))?;
    let mut allows = true;
    let flip = move || -> Result<()> {
        allows = !allows;
        fs::write(&file, policy(if allows { "allow" } else { "block" }))?;
        let _: Greeting = daemon.ask(&Request::Reload)?;
        Ok(())
    };
    let act = |turns: &Turns| -> io::Result<()> {
        for _ in 0..3 {
            for allowed in [true, false] {
                for name in [c"a", c"aaaaaaaa", c"aaaaaaaaaaaaaaaa"] {
                    for _ in 0..OPENS {
                        expect(&directory, name, allowed)?;
                    }
                }
                turns.over()?;
            }
        }
        Ok(())
    };
    let end = together(Some(cgroup.path()), act, flip);
    fs::write(Path::new(POLICIES).join("names.yaml"), policy("allow"))?;
    stage.reload()?;
    let end = end?;
    ensure!(end == End::Did, "{end:?}");
    Ok(())
}

fn told() -> Result<()> {
    let stage = Stage::set()?;
    let cgroup = stage.cgroup("every")?;
    let directory = made()?;
    let end = inside(cgroup.path(), Who::Root, || {
        for _ in 0..OPENS {
            for length in LENGTHS {
                let name = CString::new("a".repeat(*length))?;
                openat(&directory, name.as_c_str(), OFlag::O_RDONLY, Mode::empty())?;
            }
        }
        Ok(())
    })?;
    ensure!(end == End::Did, "{end:?}");
    until(Duration::from_secs(20), || {
        let records = of(written::records()?, &cgroup.name());
        let each = |length: &usize| {
            let path = format!("{NAMES}/{}", "a".repeat(*length));
            let told = records.iter().filter(|record| record["object"] == path.as_str());
            told.filter(|record| record["verdict"] == "allow" && record["op"] == "open").count() == OPENS
        };
        Ok(LENGTHS.iter().all(each).then_some(()))
    })
    .context("each open with its whole path")
}
