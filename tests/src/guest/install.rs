//! Coming, changing and going: no moment without a whole policy, and a status that knows.

mod ends;
mod gone;
mod load;

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use guard_common::table::AT_GENERATION;
use guard_userspace::control::{Client, Greeting, Request};
use guard_userspace::kernel::{Arenas, Kernel, Pins};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};

use super::Test;
use super::agent::{REFUSED, Who, enter, inside};
use super::ground::{At, Kind};
use super::runner::thorough;
use super::stage::{Cgroup, PINS, POLICIES, RUN, Stage, end_daemon, generation, status};
use super::sys;
use load::Load;

pub(super) const TESTS: &[Test] = &[
    test("status says what the kernel holds", says),
    test("hundreds of flips under load let nothing forbidden through and stop nothing allowed", flips),
    test("reloads under load let nothing forbidden through and stop nothing allowed", reloads),
    test("many changes of policy under load let nothing forbidden through and stop nothing allowed", many)
        .within(7200),
    test("a policy that is added binds what runs already, and one that goes lets go", added),
    test("policies with an error are refused and the old ones stay", broken),
    test("guard does not start inside a domain", inside_a_domain),
    test("a second daemon does not start on what another one keeps", second),
    test("a killed daemon leaves everything deciding and the next one takes over without a gap", killed),
    test("status knows when a hook is gone, and a new daemon mends it", gone::hook_gone).within(600),
    test("a daemon that finds no room for its log enforces, and writes when there is", ends::full_disk),
    test("a daemon that is told to detach leaves nothing behind", ends::detached).within(600),
];

const fn test(name: &'static str, run: fn() -> Result<()>) -> Test {
    Test::new(name, run).within(300)
}

fn says() -> Result<()> {
    let stage = Stage::set()?;
    let cgroup = stage.cgroup("box")?;
    let child = sys::spawn(|| {
        nix::unistd::pause();
        0
    })?;
    enter(cgroup.path(), child)?;
    let status = status();
    let _ = kill(child, Signal::SIGKILL);
    waitpid(child, None)?;
    ensure!(status["enforcing"] == true && status["degraded"] == false, "{status}");
    ensure!(status["cgroups"].as_u64() >= Some(1) && status["tasks"].as_u64() >= Some(1), "{status}");
    ensure!(status["policy_sha256"].as_str().is_some_and(|digest| digest.len() == 64), "{status}");
    let hooks = status["hooks"].as_object().context("no hooks")?;
    for (hook, state) in hooks {
        let state = state.as_str().unwrap_or_default();
        ensure!(state == "attached" || state.starts_with("absent"), "hook {hook}: {state}");
    }
    // Truth, not memory: what the daemon wrote down has no part in it.
    let remembered = Path::new(RUN).join("state.json");
    let text = fs::read(&remembered)?;
    fs::write(&remembered, "{}")?;
    let without = super::stage::status();
    fs::write(&remembered, text)?;
    ensure!(without["generation"] == status["generation"], "{without}");
    Ok(())
}

fn flips() -> Result<()> {
    let stage = Stage::set()?;
    let cgroup = stage.cgroup("box")?;
    let kernel = Kernel::inspect(&Pins::at(PINS)).context("nothing is pinned")?;
    let arenas = Arenas::of(&kernel);
    let live = arenas.read()?.context("no generation is live")?;
    let load = Load::start(&stage, cgroup.path())?;
    let end = Instant::now() + Duration::from_secs(6);
    let (mut next, mut count) = (live.clone(), 0u32);
    while Instant::now() < end || count < 100 {
        next[AT_GENERATION as usize] += 1;
        arenas.install(&next)?;
        count += 1;
    }
    arenas.install(&live)?;
    println!("{count} flips");
    load.end()
}

fn reloads() -> Result<()> {
    let stage = Stage::set()?;
    let cgroup = stage.cgroup("box")?;
    let load = Load::start(&stage, cgroup.path())?;
    let extra = Path::new(POLICIES).join("extra.yaml");
    for n in 0..2 {
        fs::write(&extra, super::policies::text("extra", if n == 0 { "enforce" } else { "shadow" }, ""))?;
        stage.reload()?;
    }
    fs::remove_file(&extra)?;
    stage.reload()?;
    load.end()
}

/// Each reload is of a policy that has changed: it is in force, or one that another policy says the same under. With
/// `--thorough` they are ten thousand.
fn many() -> Result<()> {
    let stage = Stage::set()?;
    let cgroup = stage.cgroup("box")?;
    // The fewer policies there are, the more often they can change.
    let aside = Path::new(RUN).join("aside");
    let moved = fs::read_dir(POLICIES)?.flatten().filter(|file| file.file_name() != "box.yaml");
    fs::create_dir(&aside)?;
    for file in moved {
        fs::copy(file.path(), aside.join(file.file_name()))?;
        fs::remove_file(file.path())?;
    }
    stage.reload()?;
    let load = Load::with_pauses(&stage, cgroup.path(), Duration::from_millis(20))?;
    let extra = Path::new(POLICIES).join("extra.yaml");
    let mut daemon = Client::connect(Path::new(RUN))?;
    let (begun, first) = (Instant::now(), generation());
    let wanted = if thorough() { 10_000 } else { 20 };
    let mut last = first;
    for n in 0..wanted {
        let mode = if n % 2 == 0 { "enforce" } else { "shadow" };
        fs::write(&extra, super::policies::text("extra", mode, ""))?;
        let greeting: Greeting = daemon.ask(&Request::Reload)?;
        ensure!(greeting.generation > last, "generation {} after {last}", greeting.generation);
        last = greeting.generation;
    }
    println!("{wanted} reloads in {} ms, generation {first} to {last}", begun.elapsed().as_millis());
    let ended = load.end();
    fs::remove_file(&extra)?;
    for file in fs::read_dir(&aside)?.flatten() {
        fs::copy(file.path(), Path::new(POLICIES).join(file.file_name()))?;
    }
    fs::remove_dir_all(&aside)?;
    stage.reload()?;
    ended
}

/// A policy that lets nothing be written in these cgroups.
pub(super) fn writes_nothing(name: &str, cgroups: &str) -> String {
    format!(
        "version: 1\npolicy: {name}\napplies_to:\n  - cgroup: {cgroups}\nmode: enforce\nexec: {{ default: allow }}\n\
         load: {{ default: allow }}\nread: {{ default: allow }}\nwrite: {{ default: block }}\nconnect: {{ default: block }}\n"
    )
}

/// What came of a write by the process itself, by a thread that was there from the beginning, and by a child.
type Came = [u8; 3];

fn added() -> Result<()> {
    let stage = Stage::set()?;
    let cgroup = stage.cgroup("box")?;
    let nested = Cgroup::make(&cgroup.path().join("below"))?;
    let file = Path::new(POLICIES).join("also.yaml");
    for at in [cgroup.path(), nested.path()] {
        let open = At::fresh(Kind::Open, Who::Root)?;
        let (orders, order) = nix::unistd::pipe()?;
        let (answers, answer) = nix::unistd::pipe()?;
        let Some(child) = sys::split()? else {
            drop((order, answers));
            sys::end_with(|| write_when_told(fs::File::from(orders), fs::File::from(answer), &open.file()))
        };
        drop((orders, answer));
        let (mut order, mut answers) = (fs::File::from(order), fs::File::from(answers));
        let mut ask = || -> Result<Came> {
            let mut came = Came::default();
            order.write_all(b"w")?;
            answers.read_exact(&mut came)?;
            Ok(came)
        };
        enter(at, child)?;
        let outcome = (|| {
            let before = ask()?;
            ensure!(before == [0, 0, 0], "under one policy writes ended with {before:?}");
            fs::write(&file, writes_nothing("kt-also", "/kt/box/**"))?;
            stage.reload()?;
            let with = ask();
            fs::remove_file(&file)?;
            stage.reload()?;
            let (with, after) = (with?, ask()?);
            ensure!(with == [1, 1, 1], "with another policy writes ended with {with:?}, not with EPERM");
            ensure!(after == [0, 0, 0], "without it again writes ended with {after:?}");
            Ok(())
        })();
        kill(child, Signal::SIGKILL)?;
        waitpid(child, None)?;
        outcome?;
    }
    Ok(())
}

/// Writes for each byte that it is told, in three ways, and answers with the three errors.
fn write_when_told(mut orders: fs::File, mut answer: fs::File, file: &Path) -> i32 {
    let write =
        || fs::write(file, "after\n").err().map_or(0, |error| error.raw_os_error().unwrap_or(255) as u8);
    std::thread::scope(|scope| {
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let (say, said) = std::sync::mpsc::channel::<u8>();
        scope.spawn(move || {
            told.iter().for_each(|()| {
                let _ = say.send(write());
            })
        });
        while orders.read_exact(&mut [0]).is_ok() {
            let own = write();
            let _ = tell.send(());
            let threads = said.recv().unwrap_or(254);
            let child = sys::spawn(|| i32::from(write())).map(|child| waitpid(child, None));
            let childs = match child {
                Ok(Ok(WaitStatus::Exited(_, code))) => code as u8,
                _ => 253,
            };
            if answer.write_all(&[own, threads, childs]).is_err() {
                break;
            }
        }
        drop(tell);
    });
    0
}

fn broken() -> Result<()> {
    let stage = Stage::set()?;
    let at = At::fresh(Kind::Shut, Who::Root)?;
    let cgroup = stage.cgroup("box")?;
    let file = Path::new(POLICIES).join("broken.yaml");
    // The daemon itself would be inside, and whoever starts it.
    let own = Cgroup::make(Path::new("/sys/fs/cgroup/kt-own/guard.service"))?;
    enter(own.path(), stage.daemon)?;
    let over = "version: 1\npolicy: over\napplies_to: [{ cgroup: \"/kt-own/**\" }]\nmode: enforce\n\
        exec: { default: block }\nconnect: { default: block }\nwrite: { default: block }\n";
    for (text, complaint) in [("version: 1\npolicy: [", "broken.yaml"), (over, "which a policy governs")] {
        let before = generation();
        fs::write(&file, text)?;
        kill(stage.daemon, Signal::SIGHUP)?;
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut said = status();
        while !said["reasons"].to_string().contains(complaint) && Instant::now() < deadline {
            said = status();
        }
        let end = inside(cgroup.path(), Who::Root, || fs::write(at.file(), "after\n"))?;
        fs::remove_file(&file)?;
        stage.reload()?;
        ensure!(said["reasons"].to_string().contains(complaint), "{}", said["reasons"]);
        ensure!(said["generation"].as_u64() == Some(before), "generation {before} became {said}");
        ensure!(end == REFUSED, "meanwhile an attempt ended with {end:?}");
    }
    enter(Path::new("/sys/fs/cgroup"), stage.daemon)?;
    Ok(())
}

fn inside_a_domain() -> Result<()> {
    let stage = Stage::set()?;
    let cgroup = stage.cgroup("box")?;
    let output = Command::new("/bin/busybox")
        .args(["sh", "-c"])
        .arg(format!(
            "echo $$ > {}/cgroup.procs; exec guard daemon --policies {POLICIES} --run /run/kt2 --state /var/lib/kt2 \
             --pins /sys/fs/bpf/kt2",
            cgroup.path().display()
        ))
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success() && said.contains("governs"), "{}: {said}", output.status);
    ensure!(!Path::new("/sys/fs/bpf/kt2").exists(), "it pinned something");
    Ok(())
}

fn second() -> Result<()> {
    let _stage = Stage::set()?;
    let before = (links()?, generation());
    let words =
        ["daemon", "--policies", POLICIES, "--run", "/run/kt2", "--state", "/var/lib/kt2", "--pins", PINS];
    let output = Command::new("guard").args(words).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success() && said.contains("stop it first"), "{}: {said}", output.status);
    ensure!((links()?, generation()) == before, "it changed something");
    Ok(())
}

/// The pinned links, by name and inode: other programs have others.
fn links() -> Result<Vec<(PathBuf, u64)>> {
    use std::os::unix::fs::MetadataExt;
    let mut links = Vec::new();
    for build in fs::read_dir(Path::new(PINS).join("links"))?.flatten() {
        for link in fs::read_dir(build.path())?.flatten() {
            links.push((link.path(), link.metadata()?.ino()));
        }
    }
    links.sort();
    Ok(links)
}

fn killed() -> Result<()> {
    let stage = Stage::set()?;
    let cgroup = stage.cgroup("box")?;
    let before = links()?;
    let load = Load::start(&stage, cgroup.path())?;
    end_daemon(stage.daemon, Signal::SIGKILL)?;
    ensure!(status()["enforcing"] == true, "without the daemon: {}", status());
    // Cgroups that are made while nobody looks are governed too.
    let at = At::fresh(Kind::Blind, Who::Root)?;
    let new = stage.cgroup("box")?;
    let end = inside(new.path(), Who::Root, || fs::read(at.file()).map(drop))?;
    ensure!(end == REFUSED, "in a cgroup made meanwhile: {end:?}");
    Stage::start()?;
    ensure!(links()? == before, "the next daemon did not take over what was there");
    load.end()
}
