//! Programs that answer held calls, and programs that hear of them.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use guard_userspace::approvals::Request as Waiting;
use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use super::super::agent::{End, REFUSED, Who, inside};
use super::super::stage::Cgroup;
use super::hold::{answer, beside, exists, ground, make, waiting};
use super::party::{self, told_of};
use super::{Stage, records, said};

/// The deadline of the tests' decider.
const DEADLINE: Duration = Duration::from_secs(2);

fn by_socket() -> String {
    format!("decider: {{ socket: {}, deadline: 2s }}\n", party::SOCKET)
}

fn by_http() -> String {
    format!(
        "decider: {{ http: 'http://127.0.0.1:{}/', secret: {}, deadline: 2s }}\n",
        party::DECIDER_PORT,
        party::SECRET,
    )
}

fn by_webhook() -> String {
    format!(
        "approvals: {{ webhook: 'http://127.0.0.1:{}/held', secret: {} }}\n",
        party::WEBHOOK_PORT,
        party::SECRET,
    )
}

fn set(config: &str) -> Result<(Stage, Cgroup)> {
    party::place()?;
    let stage = Stage::set_with(config)?;
    ground()?;
    let cgroup = stage.cgroup("held")?;
    Ok((stage, cgroup))
}

fn asked(name: &str) -> String {
    format!("/t/open/v/asked/{name}")
}

/// The record of how the call to this object was answered.
fn settled(name: &str, kind: &'static str) -> Result<Value> {
    let object = asked(name);
    let found = records(|record| record["kind"] == kind && record["object"] == object.as_str(), 1)?;
    found.last().cloned().context("no record")
}

/// What the call itself came to, by its record.
fn refused_as(name: &str, reason: &'static str) -> Result<()> {
    let object = asked(name);
    let ended = |record: &Value| record["object"] == object.as_str() && record["reason_code"] == reason;
    let record = records(ended, 1)?.remove(0);
    ensure!(record["errno"] == libc::EPERM, "{record}");
    Ok(())
}

pub(super) fn answered() -> Result<()> {
    let (_stage, cgroup) = set(&by_socket())?;
    let _decider = party::decider()?;
    let end = inside(cgroup.path(), Who::Root, || make("yes"))?;
    ensure!(end == End::Did && exists(&asked("yes")), "approved, it ended with {end:?}");
    let record = settled("yes", "approval")?;
    let by = format!("decider unix:{}", party::SOCKET);
    ensure!(record["outcome"] == "approved" && record["by"] == by.as_str(), "{record}");
    // Who made the socket listen: this process, before it left it to a child.
    ensure!(record["by_uid"] == 0 && record["by_pid"] == std::process::id(), "{record}");
    ensure!(record["note"] == "known", "{record}");
    // Once: the same call is another question.
    let end = inside(cgroup.path(), Who::Root, || {
        for _ in 0..3 {
            OpenOptions::new().append(true).open("/t/open/v/asked/there")?.write_all(b"+")?;
        }
        Ok(())
    })?;
    ensure!(end == End::Did && fs::read("/t/open/v/asked/there")? == b"before+++", "it ended with {end:?}");
    let questions = told_of(&asked("there"), 3)?;
    ensure!(questions.len() == 3, "asked {} times for three calls", questions.len());

    let end = inside(cgroup.path(), Who::Root, || make("no"))?;
    ensure!(end == REFUSED && !exists(&asked("no")), "denied, it ended with {end:?}");
    let record = settled("no", "approval")?;
    ensure!(record["outcome"] == "denied" && record["by"] == by.as_str(), "{record}");
    ensure!(record["note"] == "not this one", "{record}");
    refused_as("no", "denied")?;

    let end = beside(
        &cgroup,
        || make("passed"),
        |_| {
            let call = waiting(&asked("passed"))?;
            told_of(&call.object, 1)?;
            settled("passed", "approval-passed")?;
            // It is a person's now, whatever the decider's deadline.
            thread::sleep(DEADLINE + Duration::from_millis(500));
            ensure!(!exists(&call.object), "it was done before a person said so");
            answer(call.id, true).map(drop)
        },
    )?;
    ensure!(end == End::Did && exists(&asked("passed")), "left to people, it ended with {end:?}");
    ensure!(settled("passed", "approval")?["by"] == "root", "a person answered");
    Ok(())
}

/// What a decider or a webhook was told of the call is what `guard approvals show` shows.
fn same(told: &Value, shown: &Waiting) -> Result<()> {
    let mut told: Waiting = serde_json::from_value(told["call"].clone())?;
    (told.waited_ms, told.left_ms) = (shown.waited_ms, shown.left_ms);
    ensure!(told == *shown, "told {told:?}, shown {shown:?}");
    Ok(())
}

pub(super) fn facts() -> Result<()> {
    let (_stage, cgroup) = set(&by_socket())?;
    let _decider = party::decider()?;
    let name = cgroup.name();
    let end = beside(
        &cgroup,
        || make("passed"),
        move |pid| {
            let shown = waiting(&asked("passed"))?;
            let told = told_of(&shown.object, 1)?.remove(0);
            ensure!(told["event"] == "ask" && told["deadline_ms"] == 2000, "{told}");
            same(&told, &shown)?;
            let call = &told["call"];
            ensure!(
                call["pid"] == pid.as_raw() && call["uid"] == 0 && call["cgroup"] == name.as_str(),
                "{told}"
            );
            let exe = fs::read_link(format!("/proc/{pid}/exe"))?;
            ensure!(call["exe"] == exe.display().to_string().as_str(), "{told}");
            ensure!(call["action"] == "write" && call["rule"] == "ask-write", "{told}");
            ensure!(call["lineage"].as_array().is_some_and(|above| !above.is_empty()), "{told}");
            answer(shown.id, false).map(drop)
        },
    )?;
    ensure!(end == REFUSED, "it ended with {end:?}");
    // An exec, by a name that is not the file's own, and with the words that it is really given.
    ground()?;
    std::os::unix::fs::symlink("/t/open/v/tool", "/t/open/v/alias")?;
    let end = inside(cgroup.path(), Who::Root, || {
        Err(std::os::unix::process::CommandExt::exec(
            std::process::Command::new("/t/open/v/alias").args(["push", "now"]),
        ))
    })?;
    ensure!(end == End::Became(0) && exists("/t/open/work/pushed"), "the push ended with {end:?}");
    let told = told_of("/t/open/v/tool", 1)?.remove(0);
    let argv: Vec<&str> =
        told["call"]["argv"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    ensure!(argv == ["push", "now"], "{told}");
    let sum =
        std::process::Command::new("/usr/bin/busybox").args(["sha256sum", "/t/open/v/tool"]).output()?;
    let sum = String::from_utf8_lossy(&sum.stdout).split_whitespace().next().map(str::to_owned);
    ensure!(told["call"]["sha256"].as_str() == sum.as_deref(), "{told}, and the file is {sum:?}");
    Ok(())
}

/// Nothing came of the call, and the record says that nobody said no.
fn nobody_said(name: &str, why: &str) -> Result<()> {
    ensure!(!exists(&asked(name)), "{name} was done");
    let record = settled(name, "approval")?;
    ensure!(record["outcome"] == "timeout" && record["by"] == "guard", "{record}");
    ensure!(record["why"].as_str().is_some_and(|said| said.contains(why)), "{record}, not {why}");
    refused_as(name, "timeout")
}

pub(super) fn unanswered() -> Result<()> {
    let (_stage, cgroup) = set(&by_socket())?;
    let decider = party::decider()?;
    let begun = Instant::now();
    let end = inside(cgroup.path(), Who::Root, || make("silent"))?;
    ensure!(end == REFUSED, "unanswered, it ended with {end:?}");
    let took = begun.elapsed();
    ensure!(took >= DEADLINE && took < DEADLINE + Duration::from_secs(5), "it took {took:?}");
    nobody_said("silent", "no answer within 2000 ms")?;
    for (name, why) in [("garbage", "its answer is not {"), ("stale", "to another call")] {
        let end = inside(cgroup.path(), Who::Root, || make(name))?;
        ensure!(end == REFUSED, "{name}: it ended with {end:?}");
        nobody_said(name, why)?;
    }
    decider.kill();
    // Somebody of a domain in its place is nobody.
    let _impostor = party::impostor(cgroup.path())?;
    let end = inside(cgroup.path(), Who::Root, || make("impostor"))?;
    ensure!(end == REFUSED, "answered from inside a domain, it ended with {end:?}");
    nobody_said("impostor", "inside a domain")
}

pub(super) fn died() -> Result<()> {
    let (stage, cgroup) = set(&by_socket())?;
    // Before: it is not there.
    let end = inside(cgroup.path(), Who::Root, || make("absent"))?;
    ensure!(end == REFUSED, "without a decider it ended with {end:?}");
    nobody_said("absent", "at last: ")?;
    // Over the question.
    let decider = party::decider()?;
    let end = inside(cgroup.path(), Who::Root, || make("crash"))?;
    ensure!(end == REFUSED, "over a decider's crash it ended with {end:?}");
    nobody_said("crash", "at last: ")?;
    drop(decider);
    // Killed while it thinks, and back in time.
    let decider = party::decider()?;
    let end = beside(
        &cgroup,
        || make("silent"),
        move |_| {
            told_of(&asked("silent"), 1)?;
            decider.kill();
            Ok(())
        },
    )?;
    ensure!(end == REFUSED, "over a killed decider it ended with {end:?}");
    nobody_said("silent", "at last: ")?;
    // The daemon is killed while the decider thinks; the next one asks again.
    party::place()?;
    let _decider = party::decider()?;
    let daemon = stage.daemon;
    let end = beside(
        &cgroup,
        || make("slow"),
        move |_| {
            told_of(&asked("slow"), 1)?;
            kill(daemon, Signal::SIGKILL)?;
            thread::sleep(Duration::from_millis(300));
            ensure!(!exists(&asked("slow")), "it went on without a daemon");
            Stage::start()?;
            told_of(&asked("slow"), 2).map(drop)
        },
    )?;
    ensure!(end == End::Did && exists(&asked("slow")), "under the next daemon it ended with {end:?}");
    Ok(())
}

pub(super) fn signed() -> Result<()> {
    let (_stage, cgroup) = set(&by_http())?;
    let _decider = party::http_decider()?;
    let end = inside(cgroup.path(), Who::Root, || make("yes"))?;
    ensure!(end == End::Did && exists(&asked("yes")), "approved, it ended with {end:?}");
    let record = settled("yes", "approval")?;
    let by = format!("decider http://127.0.0.1:{}/", party::DECIDER_PORT);
    ensure!(record["outcome"] == "approved" && record["by"] == by.as_str(), "{record}");
    let end = inside(cgroup.path(), Who::Root, || make("no"))?;
    ensure!(end == REFUSED && !exists(&asked("no")), "denied, it ended with {end:?}");
    for name in ["unsigned", "foreign"] {
        let end = inside(cgroup.path(), Who::Root, || make(name))?;
        ensure!(end == REFUSED, "{name}: it ended with {end:?}");
        nobody_said(name, "not signed")?;
    }
    Ok(())
}

pub(super) fn told() -> Result<()> {
    let (stage, cgroup) = set(&by_webhook())?;
    let brief = stage.cgroup("brief")?;
    // Nobody listens at first: it is tried again, and holds nothing up.
    let begun = Instant::now();
    let end = inside(brief.path(), Who::Root, || make("before"))?;
    ensure!(
        end == REFUSED && begun.elapsed() < Duration::from_secs(10),
        "without a webhook it ended with {end:?}"
    );
    let _webhook = party::webhook()?;
    let end = beside(
        &cgroup,
        || make("shown"),
        |_| {
            let shown = waiting(&asked("shown"))?;
            answer(shown.id, false)?;
            let told = told_of(&shown.object, 2)?;
            let events: Vec<&str> = told.iter().filter_map(|told| told["event"].as_str()).collect();
            ensure!(events == ["held", "answered"], "{told:?}");
            for message in &told {
                same(message, &shown)?;
            }
            ensure!(told[1]["outcome"] == "denied" && told[1]["by"] == "root", "{}", told[1]);
            ensure!(told[1]["note"] == "a test", "{}", told[1]);
            Ok(())
        },
    )?;
    ensure!(end == REFUSED, "it ended with {end:?}");
    // What was held before the webhook was there has been told of too. Its time was up, and nobody said no.
    let told = told_of(&asked("before"), 2)?;
    ensure!(told[0]["event"] == "held" && told[1]["event"] == "answered", "{told:?}");
    ensure!(told[1]["outcome"] == "timeout" && told[1]["by"] == "guard", "{told:?}");
    // Whoever is gone is told of as that.
    let end = beside(
        &cgroup,
        || make("gone"),
        |pid| {
            told_of(&waiting(&asked("gone"))?.object, 1)?;
            kill(pid, Signal::SIGKILL)?;
            ensure!(told_of(&asked("gone"), 2)?[1]["event"] == "void", "{:?}", party::told());
            Ok(())
        },
    )?;
    ensure!(end == End::Killed(libc::SIGKILL), "it ended with {end:?}");
    Ok(())
}

/// Calls whose time is taken.
const CALLS: usize = 100;

pub(super) fn quick() -> Result<()> {
    let (_stage, cgroup) = set(&by_socket())?;
    let _decider = party::decider()?;
    let end = inside(cgroup.path(), Who::Root, || {
        let mut took = String::new();
        for _ in 0..CALLS {
            let begun = Instant::now();
            OpenOptions::new().append(true).open("/t/open/v/asked/there")?;
            took.push_str(&format!("{}\n", begun.elapsed().as_micros()));
        }
        fs::write("/t/open/work/took", took)
    })?;
    ensure!(end == End::Did, "it ended with {end:?}");
    let took = said(Path::new("/t/open/work/took"))?;
    let told = told_of(&asked("there"), CALLS)?;
    ensure!(took.len() == CALLS && told.len() == CALLS, "{} calls, {} questions", took.len(), told.len());
    let millis = |micros: &i64| *micros as f64 / 1000.0;
    let all: Vec<f64> = took.iter().map(millis).collect();
    // Before the question the daemon makes the digest of the program, here a large one under an emulated processor.
    let before: Vec<f64> = told.iter().filter_map(|told| told["call"]["waited_ms"].as_f64()).collect();
    let after: Vec<f64> = all.iter().zip(&before).map(|(all, before)| all - before).collect();
    for (what, mut times) in
        [("whole", all), ("until the question", before), ("question to resumed", after.clone())]
    {
        times.sort_unstable_by(f64::total_cmp);
        let at = |percent: usize| times[(CALLS - 1) * percent / 100];
        println!("{what}: p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms", at(50), at(99), at(100));
    }
    let late = after.iter().filter(|time| **time > DEADLINE.as_secs_f64() * 1000.0).count();
    ensure!(late <= CALLS / 100, "{late} of {CALLS} took longer than the decider's deadline");
    Ok(())
}
