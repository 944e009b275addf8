//! The verdicts between yes and no: what is slowed, what is boxed, what waits for an answer.

mod crowd;
mod decide;
mod hold;
mod party;
mod sandbox;
mod shown;
mod swap;
mod throttle;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::ground::GROUND;
use super::stage::Stage;
use super::{Test, written};

pub(super) const TESTS: &[Test] = &[
    test("of 4800 attempts against 600 in an hour exactly 600 go through", throttle::exact),
    test("a call that several hooks see is paid for once", throttle::once),
    test("what a move was paid for pays for no other one", throttle::each),
    test("a budget is a session's own", throttle::own),
    test("what is spent stays spent through a reload and a new daemon", throttle::stays),
    test("a budget comes back when its record says", throttle::comes_back),
    test("reading production data shuts egress for that tree and nothing else", sandbox::reading),
    test("a sandbox takes every thread of the process", sandbox::threads),
    test("a program is born in its sandbox, and one that fails to start moves nobody", sandbox::born),
    test("a sandbox in a sandbox is in both", sandbox::both),
    test("nobody acts through a process that is outside of his sandbox", sandbox::reaching),
    test("a held call is done once it is approved, and not before", hold::approved),
    test("a held call that is denied is not done", hold::denied),
    test("a held call that nobody answers ends when its time is up", hold::timed_out),
    test("a held call that finds no room is refused", crowd::full),
    test("a held call outlives the daemon and is heard by the next", hold::orphaned),
    test("no answer fits another program, link or file", swap::swapped),
    test("no held program is approved that was exchanged for another while it was shown", shown::exchanged),
    test("no held program is approved that was written to since it was shown", shown::mapped),
    test("no answer fits another address", swap::called),
    test("no answer fits other words", swap::worded),
    test("two hundred calls are held at once and all go on", crowd::many),
    test("a held call asks again under new policies", hold::reloaded),
    test("a process of several threads is held and goes on whole", crowd::threads),
    test("a signal lets no held call through", hold::signalled),
    test(
        "a decider's answer lets a held call through once, or refuses it, or leaves it to people",
        decide::answered,
    ),
    test("a decider is asked with the kernel's facts", decide::facts),
    test("a decider that says nothing in time, or nonsense, lets nothing through", decide::unanswered),
    test("a decider or a daemon that dies over a question lets nothing through", decide::died),
    test("a decider over HTTP counts only if it signs", decide::signed),
    test("a webhook hears of every held call, signed, and again after a failure", decide::told),
    test("a held call that a decider answers is soon done", decide::quick),
    test("two threads that are moved at once end up in both sandboxes", sandbox::at_once),
];

const fn test(name: &'static str, run: fn() -> Result<()>) -> Test {
    Test::new(name, run).within(300)
}

/// What the agents of these tests may do. Each rule has files of its own.
pub(super) const POLICY: &str = "version: 1
policy: kt-verdicts
applies_to:
  - cgroup: /kt/verdicts/**
mode: enforce
audit: { allows: none, on_loss: block }
exec:
  default: allow
  rules:
    - { id: fresh, paths: [\"/t/open/v/fresh/**\"], verdict: sandbox, profile: still, reason: boxed }
    - { id: runs, paths: [/t/open/v/slow-program], verdict: throttle, rate: 2/1h, reason: slow }
connect:
  default: block
  rules:
    - { id: talk, to: [\"127.0.0.1:7004/tcp\"], verdict: allow }
    - { id: talk-unix, unix: [/t/open/v/socket], verdict: allow }
    - { id: calls, to: [\"127.0.0.1:7001/tcp\", \"127.0.0.1:7002/udp\"], verdict: throttle, rate: 3/1h, reason: slow }
    - { id: boxes, to: [\"127.0.0.1:7008/udp\"], verdict: sandbox, profile: still, reason: boxed }
    - { id: phones, to: [\"127.0.0.1:7003/udp\"], verdict: throttle, rate: 3/1h, reason: slow }
write:
  default: block
  rules:
    - { id: plain, paths: [\"/t/open/work/**\", /dev/null], verdict: allow }
    - { id: files, paths: [\"/t/open/v/files/**\"], verdict: throttle, rate: 5/1h, reason: slow }
    - { id: moves, paths: [\"/t/open/v/moves/**\"], verdict: throttle, rate: 4/1h, reason: slow }
read:
  default: allow
  rules:
    - { id: counted, paths: [/t/open/v/counted], verdict: throttle, rate: 600/1h, burst: 600, reason: slow }
    - { id: few, paths: [/t/open/v/few], verdict: throttle, rate: 3/24h, reason: slow }
    - { id: soon, paths: [/t/open/v/soon], verdict: throttle, rate: 3/1s, reason: slow }
    - { id: prod, paths: [\"/t/open/v/prod/**\"], verdict: sandbox, profile: mute, reason: boxed }
    - { id: other, paths: [/t/open/v/other], verdict: sandbox, profile: still, reason: boxed }
    - { id: even, paths: [/t/open/v/even], verdict: throttle, rate: 10/10s, burst: 2, reason: slow }
profiles:
  mute: { inherit: true, gateway: [], connect: { default: block } }
  still:
    inherit: true
    write: { default: block }
    read: { default: allow, rules: [{ id: deep, paths: [/t/open/v/deep], verdict: sandbox, profile: mute, reason: boxed }] }
";

/// What is held, for `timeout` and as many at a time.
pub(super) fn held(name: &str, timeout: &str, most: u32) -> String {
    format!(
        "version: 1
policy: kt-{name}
applies_to:
  - cgroup: /kt/{name}/**
mode: enforce
audit: {{ allows: none, on_loss: block }}
exec:
  default: allow
  rules:
    - {{ id: ask-run, paths: [\"/t/open/v/ask/**\"], verdict: escalate, reason: ask }}
    - {{ id: ask-push, paths: [/t/open/v/tool], args: [push], verdict: escalate, reason: ask }}
connect:
  default: block
  rules:
    - {{ id: ask-call, to: [\"127.0.0.1:7005/tcp\", \"127.0.0.1:7006/tcp\"], verdict: escalate, reason: ask }}
write:
  default: allow
  rules:
    - {{ id: ask-write, paths: [\"/t/open/v/asked/**\"], verdict: escalate, reason: ask }}
read:
  default: allow
  rules:
    - {{ id: ask-read, paths: [/t/open/v/secret], verdict: escalate, reason: ask }}
escalation: {{ timeout: {timeout}, on_timeout: block, max_pending: {most}, max_pending_per_session: {most} }}
"
    )
}

/// The files of these tests, anew.
fn files() -> Result<PathBuf> {
    let directory = Path::new(GROUND).join("open/v");
    if directory.exists() {
        fs::remove_dir_all(&directory).context("clear the files")?;
    }
    for name in ["files", "moves", "prod", "fresh"] {
        fs::create_dir_all(directory.join(name))?;
    }
    for name in ["counted", "few", "soon", "even", "other", "deep", "prod/data", "fresh/nonsense"] {
        fs::write(directory.join(name), "something\n")?;
    }
    super::ground::program(&directory.join("slow-program"), None)?;
    fs::copy("/usr/bin/busybox", directory.join("fresh/busybox"))?;
    fs::set_permissions(directory.join("fresh/nonsense"), fs::Permissions::from_mode(0o755))?;
    Ok(directory)
}

/// The records that fit, as soon as there are so many.
fn records(fits: impl Fn(&Value) -> bool, wanted: usize) -> Result<Vec<Value>> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let found: Vec<Value> = written::records()?.into_iter().filter(&fits).collect();
        if found.len() >= wanted {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "{} of {wanted} records after 20 s", found.len());
        thread::sleep(Duration::from_millis(50));
    }
}

/// What a child counts, the test reads.
fn said(path: &Path) -> Result<Vec<i64>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    Ok(text.split_whitespace().filter_map(|word| word.parse().ok()).collect())
}
