//! What one process has met, and the next one mostly finds in the same memory: directories, and the programs in them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::super::agent::{End, REFUSED, Who, inside};
use super::super::audit::log::{of, until};
use super::super::exec::execute;
use super::super::ground::{self, RAN};
use super::super::stage::{Cgroup, POLICIES, Stage};
use super::super::{Test, written};
use super::{OPEN, SHUT, ready};

pub(in super::super) const TESTS: &[Test] = &[
    Test::new("a program that has run answers for nothing when its directory has moved", moved).within(200),
    Test::new("a program in the memory of another is not taken for it", replaced).within(200),
    Test::new("what a process has met counts for nobody under another policy", others).within(200),
    Test::new("a program that has run is asked about again once the policies have changed", flipped)
        .within(120),
    Test::new("a program that is known is recorded each time, whole", told).within(60),
];

/// Programs run below `/t/open` only, if at all, and files are written there only.
pub(in super::super) fn policy(name: &str, verdict: &str) -> String {
    format!(
        "version: 1
policy: kt-{name}
applies_to:
  - cgroup: /kt/{name}/**
mode: enforce
audit: {{ allows: none, on_loss: block }}
exec:
  default: block
  rules:
    - {{ id: programs, paths: [\"/t/open/**\"], verdict: {verdict} }}
connect: {{ default: block }}
read: {{ default: allow }}
write:
  default: block
  rules:
    - {{ id: files, paths: [\"/t/open/**\"], verdict: {verdict} }}
"
    )
}

/// Runs programs.
pub(in super::super) const RUNS: &str = "runs";
/// Runs none.
pub(in super::super) const STAYS: &str = "stays";

const ROUNDS: usize = 60;
/// So often that the directory is remembered, and then the program in it, by one process after the other.
const TIMES: usize = 4;
/// Short enough to be remembered.
const NAME: &str = "true";

/// Runs the program there in a process of its own, as often as it takes.
fn expect(cgroup: &Cgroup, at: &Path, allowed: bool) -> Result<()> {
    let wanted = if allowed { End::Became(RAN) } else { REFUSED };
    for n in 0..TIMES {
        let end = inside(cgroup.path(), Who::Root, || execute(at))?;
        ensure!(end == wanted, "{}, time {n}: {end:?}", at.display());
    }
    Ok(())
}

/// A program in a directory that is made for it.
fn make(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    ground::program(&directory.join(NAME), None).context("put a program there")
}

fn moved() -> Result<()> {
    let stage = Stage::set()?;
    let cgroup = stage.cgroup(RUNS)?;
    ready(OPEN)?;
    ready(SHUT)?;
    let (here, there) = (Path::new(OPEN).join("moving"), Path::new(SHUT).join("moving"));
    // So far below what moves that nothing near the program changes.
    let below = |at: &Path| at.join("one/two").join(NAME);
    make(below(&here).parent().context("no directory")?)?;
    for _ in 0..ROUNDS {
        expect(&cgroup, &below(&here), true)?;
        fs::rename(&here, &there)?;
        expect(&cgroup, &below(&there), false)?;
        fs::rename(&there, &here)?;
    }
    Ok(())
}

/// A directory goes, and one of the same name is made elsewhere: its dentry often lies where the other's was.
fn replaced() -> Result<()> {
    let stage = Stage::set()?;
    let cgroup = stage.cgroup(RUNS)?;
    ready(OPEN)?;
    ready(SHUT)?;
    for _ in 0..ROUNDS {
        for (below, allowed) in [(OPEN, true), (SHUT, false)] {
            let directory = Path::new(below).join("x");
            make(&directory)?;
            expect(&cgroup, &directory.join(NAME), allowed)?;
            fs::remove_dir_all(&directory)?;
        }
    }
    Ok(())
}

/// Two domains take turns, so that each finds what the other has met.
fn others() -> Result<()> {
    let stage = Stage::set()?;
    let (runs, stays) = (stage.cgroup(RUNS)?, stage.cgroup(STAYS)?);
    ready(OPEN)?;
    make(Path::new(OPEN))?;
    let (program, file) = (Path::new(OPEN).join(NAME), Path::new(OPEN).join("file"));
    fs::write(&file, "before")?;
    let open = || fs::File::options().write(true).open(&file).map(drop);
    for n in 0..ROUNDS {
        expect(&runs, &program, true)?;
        expect(&stays, &program, false)?;
        // Once the name is known, in the very first call of the next process.
        let end = inside(runs.path(), Who::Root, || (0..TIMES).try_for_each(|_| open()))?;
        ensure!(end == End::Did, "writing, round {n}: {end:?}");
        let end = inside(stays.path(), Who::Root, open)?;
        ensure!(end == REFUSED, "writing under the other policy, round {n}: {end:?}");
    }
    Ok(())
}

fn flipped() -> Result<()> {
    let stage = Stage::set()?;
    let cgroup = stage.cgroup(RUNS)?;
    ready(OPEN)?;
    make(Path::new(OPEN))?;
    let program = Path::new(OPEN).join(NAME);
    let file = Path::new(POLICIES).join(format!("{RUNS}.yaml"));
    let act = || -> Result<()> {
        for verdict in ["block", "allow", "block"] {
            expect(&cgroup, &program, verdict == "block")?;
            fs::write(&file, policy(RUNS, verdict))?;
            stage.reload()?;
        }
        expect(&cgroup, &program, false)
    };
    let done = act();
    fs::write(&file, policy(RUNS, "allow"))?;
    stage.reload()?;
    done?;
    expect(&cgroup, &program, true)
}

/// One that is met for the first time, one of a directory that is known, and one that is known itself.
fn told() -> Result<()> {
    let stage = Stage::set()?;
    let cgroup = stage.cgroup("every")?;
    ready(OPEN)?;
    let directory = Path::new(OPEN).join("told/deeper");
    make(&directory)?;
    let program = directory.join(NAME);
    expect(&cgroup, &program, true)?;
    let path = program.to_str().context("not text")?;
    until(Duration::from_secs(20), || {
        let records = of(written::records()?, &cgroup.name());
        let named = |kind: &str| {
            let of_kind = records.iter().filter(|record| record["kind"] == kind && record["object"] == path);
            of_kind.filter(|record| kind == "exec" || record["verdict"] == "allow").count()
        };
        Ok((named("decision") == TIMES && named("exec") == TIMES).then_some(()))
    })
    .context("each decision on it and each image with its whole path")
}
