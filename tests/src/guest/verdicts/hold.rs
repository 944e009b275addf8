//! Held calls: they wait inside the call, nothing happens before the answer, and an answer fits one call only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use guard_userspace::approvals::Request as Waiting;
use guard_userspace::control::{Client, Request};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::agent::{End, REFUSED, Way, Who, attempt_after, inside};
use super::super::stage::{Cgroup, RUN};
use super::{Stage, files, records};

pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn list() -> Result<Vec<Waiting>> {
    Ok(Client::connect(Path::new(RUN))?.ask(&Request::Approvals)?)
}

/// The call that waits for this object, with its digest made.
pub(super) fn waiting(object: &str) -> Result<Waiting> {
    any_waiting(&[object])
}

/// A call that waits for one of these objects.
pub(super) fn any_waiting(objects: &[&str]) -> Result<Waiting> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let wanted = |waiting: &Waiting| objects.contains(&&*waiting.object) && !waiting.sha256.is_empty();
        if let Some(found) = list()?.into_iter().find(wanted) {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "nothing waits for {objects:?}: {:?}", list()?);
        thread::sleep(Duration::from_millis(20));
    }
}

pub(super) fn answer(id: u64, approve: bool) -> Result<Waiting> {
    let request = Request::Answer { id, approve, note: "a test".to_owned(), session_seconds: None };
    Ok(Client::connect(Path::new(RUN))?.ask(&request)?)
}

/// Runs `act` inside; `beside` runs outside at the same time and is given the process.
pub(super) fn beside(
    cgroup: &Cgroup,
    act: impl FnOnce() -> io::Result<()> + Send,
    beside: impl FnOnce(Pid) -> Result<()> + Send + 'static,
) -> Result<End> {
    let mut helper = None;
    let end = attempt_after(
        Some(cgroup.path()),
        Who::Root,
        Way::Direct,
        || Ok(()),
        |pid| {
            helper = Some(thread::spawn(move || {
                let outcome = beside(pid);
                if outcome.is_err() {
                    // Or the test would wait for somebody who waits.
                    let _ = kill(pid, Signal::SIGKILL);
                }
                outcome
            }));
            Ok(())
        },
        |()| act(),
    )?;
    let helper = helper.context("nobody beside")?;
    helper.join().map_err(|_| anyhow::anyhow!("the one beside panicked"))??;
    Ok(end)
}

/// A call to be held, and whether it was done.
struct Call {
    says: &'static str,
    object: &'static str,
    act: fn() -> io::Result<()>,
    done: fn() -> bool,
    went: End,
}

pub(super) fn exists(path: &str) -> bool {
    Path::new(path).exists()
}

const CALLS: &[Call] = &[
    Call {
        says: "making a file",
        object: "/t/open/v/asked/new",
        act: || File::create_new("/t/open/v/asked/new")?.write_all(b"made"),
        done: || exists("/t/open/v/asked/new"),
        went: End::Did,
    },
    Call {
        says: "writing a file",
        object: "/t/open/v/asked/there",
        act: || {
            let mut file = OpenOptions::new().write(true).truncate(true).open("/t/open/v/asked/there")?;
            file.write_all(b"written")
        },
        done: || fs::read("/t/open/v/asked/there").is_ok_and(|bytes| bytes == b"written"),
        went: End::Did,
    },
    Call {
        says: "removing a file",
        object: "/t/open/v/asked/old",
        act: || fs::remove_file("/t/open/v/asked/old"),
        done: || !exists("/t/open/v/asked/old"),
        went: End::Did,
    },
    Call {
        says: "moving a file",
        object: "/t/open/v/asked/from",
        act: || fs::rename("/t/open/v/asked/from", "/t/open/work/to"),
        done: || exists("/t/open/work/to"),
        went: End::Did,
    },
    Call {
        says: "reading a file",
        object: "/t/open/v/secret",
        act: || fs::read("/t/open/v/secret").map(drop),
        done: || false,
        went: End::Did,
    },
    Call {
        says: "connecting",
        object: "127.0.0.1:7005/tcp",
        act: || TcpStream::connect("127.0.0.1:7005").map(drop),
        done: || false,
        went: End::Did,
    },
    Call {
        says: "running a program",
        object: "/t/open/v/ask/program",
        act: || start(Path::new("/t/open/v/ask/program")),
        done: || false,
        went: End::Became(7),
    },
    Call {
        says: "running a program with a word",
        object: "/t/open/v/tool",
        act: || run(&["push", "now"]),
        done: || exists("/t/open/work/pushed"),
        went: End::Became(0),
    },
];

/// Becomes a program with these words.
fn become_it(path: &Path, words: &[&str]) -> io::Result<()> {
    Err(std::os::unix::process::CommandExt::exec(std::process::Command::new(path).args(words)))
}

pub(super) fn start(path: &Path) -> io::Result<()> {
    become_it(path, &["one", "two"])
}

pub(super) fn run(words: &[&str]) -> io::Result<()> {
    become_it(Path::new("/t/open/v/tool"), words)
}

pub(super) fn ground() -> Result<PathBuf> {
    let v = files()?;
    let work = Path::new("/t/open/work");
    if work.exists() {
        fs::remove_dir_all(work)?;
    }
    fs::create_dir_all(work)?;
    for name in ["asked", "ask"] {
        fs::create_dir_all(v.join(name))?;
    }
    for name in ["asked/there", "asked/old", "asked/from", "secret"] {
        fs::write(v.join(name), "before")?;
    }
    super::super::ground::program(&v.join("ask/program"), None)?;
    fs::write(
        v.join("tool"),
        "#!/usr/bin/busybox sh\n[ \"$1\" = push ] && : > /t/open/work/pushed\nexit 0\n",
    )?;
    fs::set_permissions(v.join("tool"), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(v)
}

pub(super) fn approved() -> Result<()> {
    let stage = Stage::set()?;
    let _listener = TcpListener::bind("127.0.0.1:7005")?;
    for call in CALLS {
        ground()?;
        let cgroup = stage.cgroup("held")?;
        let (object, done, says) = (call.object, call.done, call.says);
        let end = beside(&cgroup, call.act, move |_| {
            let call = waiting(object)?;
            thread::sleep(Duration::from_millis(100));
            ensure!(!done(), "{says} was done before it was approved");
            ensure!(call.action != "exec" || call.argv.is_some(), "{says} shows no argv: {call:?}");
            answer(call.id, true).map(drop)
        })
        .with_context(|| call.says)?;
        ensure!(end == call.went, "{} ended with {end:?} after it was approved", call.says);
        if !matches!(call.says, "reading a file" | "connecting" | "running a program") {
            ensure!((call.done)(), "{} was approved and not done", call.says);
        }
    }
    // A word of nothing is a word.
    ground()?;
    let cgroup = stage.cgroup("held")?;
    let program = "/t/open/v/ask/program";
    let end = beside(
        &cgroup,
        move || become_it(Path::new(program), &["", "one", ""]),
        move |_| {
            let call = waiting(program)?;
            let argv = call.argv.as_deref().context("no argv")?;
            ensure!(argv == ["", "one", ""], "{call:?}");
            answer(call.id, true).map(drop)
        },
    )?;
    ensure!(end == End::Became(7), "a program with words of nothing ended with {end:?}");
    // A word that no rule asks about is not held.
    ground()?;
    let cgroup = stage.cgroup("held")?;
    let end = inside(cgroup.path(), Who::Root, || run(&["pull"]))?;
    ensure!(end == End::Became(0), "a harmless word ended with {end:?}");
    Ok(())
}

pub(super) fn denied() -> Result<()> {
    let stage = Stage::set()?;
    let _listener = TcpListener::bind("127.0.0.1:7005")?;
    for call in CALLS {
        ground()?;
        let cgroup = stage.cgroup("held")?;
        let object = call.object;
        let end = beside(&cgroup, call.act, move |_| answer(waiting(object)?.id, false).map(drop))
            .with_context(|| call.says)?;
        ensure!(end == REFUSED, "{} ended with {end:?} after it was denied", call.says);
        ensure!(!(call.done)(), "{} was denied and done", call.says);
    }
    let noted = records(|record| record["kind"] == "approval" && record["outcome"] == "denied", CALLS.len())?;
    let last = noted.last().context("no record")?;
    ensure!(last["by"] == "root" && last["note"] == "a test", "{last}");
    Ok(())
}

pub(super) fn make(name: &str) -> io::Result<()> {
    File::create_new(format!("/t/open/v/asked/{name}")).map(drop)
}

pub(super) fn timed_out() -> Result<()> {
    let stage = Stage::set()?;
    ground()?;
    let cgroup = stage.cgroup("brief")?;
    let begun = Instant::now();
    let end = inside(cgroup.path(), Who::Root, || make("late"))?;
    ensure!(end == REFUSED && !exists("/t/open/v/asked/late"), "it ended with {end:?}");
    ensure!(begun.elapsed() >= Duration::from_secs(2), "it waited {:?}", begun.elapsed());
    let told = |record: &serde_json::Value| {
        record["object"] == "/t/open/v/asked/late" && record["reason_code"] == "timeout"
    };
    let record = records(told, 1)?;
    ensure!(record[0]["errno"] == libc::EPERM, "{}", record[0]);
    Ok(())
}

pub(super) fn orphaned() -> Result<()> {
    let stage = Stage::set()?;
    ground()?;
    let cgroup = stage.cgroup("held")?;
    let daemon = stage.daemon;
    let end = beside(
        &cgroup,
        || make("orphan"),
        move |pid| {
            let before = waiting("/t/open/v/asked/orphan")?;
            kill(daemon, Signal::SIGKILL)?;
            thread::sleep(Duration::from_millis(500));
            ensure!(!exists("/t/open/v/asked/orphan"), "it went on without a daemon");
            ensure!(fs::metadata(format!("/proc/{pid}")).is_ok(), "it is gone");
            // Held in the same call by the next daemon, without anybody's doing.
            Stage::start()?;
            let now = waiting("/t/open/v/asked/orphan")?;
            ensure!(now.id > before.id, "a number was given again: {before:?} {now:?}");
            answer(now.id, true).map(drop)
        },
    )?;
    ensure!(end == End::Did && exists("/t/open/v/asked/orphan"), "it ended with {end:?}");
    // Without a daemon nothing is held, and nothing goes through.
    let stage = Stage::set()?;
    kill(stage.daemon, Signal::SIGKILL)?;
    thread::sleep(Duration::from_millis(300));
    let begun = Instant::now();
    let end = inside(cgroup.path(), Who::Root, || make("alone"))?;
    ensure!(end == REFUSED && begun.elapsed() < Duration::from_secs(5), "without a daemon: {end:?}");
    Stage::start()?;
    let told = |record: &serde_json::Value| {
        record["object"] == "/t/open/v/asked/alone" && record["reason_code"] == "no-daemon"
    };
    records(told, 1).map(drop)
}

/// Continued by somebody, a call asks about what is there now.
pub(super) fn again(call: &Waiting) -> Result<Waiting> {
    kill(Pid::from_raw(i32::try_from(call.pid)?), Signal::SIGCONT)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = waiting(&call.object)?;
        if now.digest != call.digest {
            return Ok(now);
        }
        ensure!(Instant::now() < deadline, "it does not ask again: {now:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

pub(super) fn reloaded() -> Result<()> {
    let stage = Stage::set()?;
    ground()?;
    let cgroup = stage.cgroup("held")?;
    let daemon = stage.daemon;
    let end = beside(
        &cgroup,
        || make("reloaded"),
        move |_| {
            let before = waiting("/t/open/v/asked/reloaded")?;
            Stage { daemon }.reload()?;
            let deadline = Instant::now() + PATIENCE;
            loop {
                let now = waiting("/t/open/v/asked/reloaded")?;
                if now.generation > before.generation {
                    ensure!(now.id != before.id && now.digest != before.digest, "{before:?} became {now:?}");
                    return answer(now.id, true).map(drop);
                }
                ensure!(Instant::now() < deadline, "it does not ask again under the new generation");
                thread::sleep(Duration::from_millis(20));
            }
        },
    )?;
    ensure!(end == End::Did && exists("/t/open/v/asked/reloaded"), "it ended with {end:?}");
    Ok(())
}

pub(super) fn signalled() -> Result<()> {
    let stage = Stage::set()?;
    ground()?;
    let cgroup = stage.cgroup("held")?;
    let end = beside(
        &cgroup,
        || make("continued"),
        |pid| {
            let call = waiting("/t/open/v/asked/continued")?;
            for _ in 0..5 {
                kill(pid, Signal::SIGCONT)?;
                thread::sleep(Duration::from_millis(50));
                ensure!(!exists("/t/open/v/asked/continued"), "a SIGCONT let it through");
            }
            ensure!(waiting("/t/open/v/asked/continued")?.id == call.id, "it waits under another number");
            answer(call.id, true).map(drop)
        },
    )?;
    ensure!(end == End::Did && exists("/t/open/v/asked/continued"), "it ended with {end:?}");
    let end = beside(
        &cgroup,
        || make("killed"),
        |pid| {
            waiting("/t/open/v/asked/killed")?;
            kill(pid, Signal::SIGKILL)?;
            let deadline = Instant::now() + PATIENCE;
            while list()?.iter().any(|call| call.object == "/t/open/v/asked/killed") {
                ensure!(Instant::now() < deadline, "who is gone waits still");
                thread::sleep(Duration::from_millis(50));
            }
            Ok(())
        },
    )?;
    if end != End::Killed(libc::SIGKILL) || exists("/t/open/v/asked/killed") {
        bail!("killed while it was held it ended with {end:?}");
    }
    Ok(())
}
