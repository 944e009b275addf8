//! `guard why`: an agent is told its own refusals, and nothing else of guard's is open to it.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use guard_userspace::approvals::Request as Waiting;
use guard_userspace::control::{Client, Request};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::Test;
use super::agent::{End, REFUSED, Way, Who, attempt, inside, outside};
use super::stage::{RUN, Stage, end_daemon};

pub(super) const TESTS: &[Test] = &[
    test("an agent is told its own refusals, why and what to do, and nobody else's", own),
    test("an agent in another mount namespace is told why", other_namespace),
    test("of guard's sockets an agent reaches only the one that tells why", only),
    test("an agent cannot take the place of the socket that tells why", place),
    test("without a daemon an agent is told so, and the next one says since when it remembers", without),
];

const fn test(name: &'static str, run: fn() -> Result<()>) -> Test {
    Test::new(name, run).within(300)
}

/// A rule against every socket, and no rule that saves guard's files.
pub(super) const POLICY: &str = "version: 1
policy: kt-why
applies_to:
  - cgroup: /kt/why/**
mode: enforce
audit: { allows: none, on_loss: block }
exec: { default: allow }
connect:
  default: block
  rules:
    - { id: no-sockets, unix: [\"/**\"], verdict: block, reason: no sockets }
write:
  default: allow
  rules:
    - { id: shut, paths: [\"/t/open/why/shut/**\"], verdict: block, reason: not yours, remedy: write beside it }
read:
  default: allow
  rules:
    - { id: few, paths: [/t/open/why/few], verdict: throttle, rate: 1/1h, reason: dear, remedy: keep a copy }
    - { id: ask, paths: [/t/open/why/secret], verdict: escalate, reason: a secret, remedy: do without }
escalation: { timeout: 2m, on_timeout: block, max_pending: 9, max_pending_per_session: 9 }
";

const SHUT: &str = "/t/open/why/shut/file";
const FEW: &str = "/t/open/why/few";
const SECRET: &str = "/t/open/why/secret";
const PATIENCE: Duration = Duration::from_secs(60);

fn ground() -> Result<()> {
    fs::create_dir_all("/t/open/why/shut")?;
    fs::set_permissions("/t/open/why/shut", fs::Permissions::from_mode(0o777))?;
    for file in [FEW, SECRET] {
        fs::write(file, "something\n")?;
    }
    Ok(())
}

/// What `guard why` said, and how it ended.
#[derive(Debug)]
pub(super) struct Said {
    code: i64,
    out: String,
    err: String,
}

impl Said {
    fn account(&self) -> Result<Value> {
        serde_json::from_str(&self.out).with_context(|| format!("{self:?}"))
    }

    pub(super) fn refusals(&self) -> Result<Vec<Value>> {
        self.account()?["refusals"].as_array().cloned().with_context(|| format!("{self:?}"))
    }
}

/// Runs `guard why` in a cgroup, or outside of all; `before` comes before the process is inside.
fn why(cgroup: Option<&Path>, who: Who, before: Act, words: &'static [&'static str]) -> Result<Said> {
    let (from, to) = nix::unistd::pipe()?;
    let end = attempt(cgroup, who, Way::Direct, before, move |()| {
        let output = Command::new("guard").arg("why").args(words).args(["--run", RUN]).output()?;
        let said = json!({
            "code": output.status.code(),
            "out": String::from_utf8_lossy(&output.stdout),
            "err": String::from_utf8_lossy(&output.stderr),
        });
        File::from(to).write_all(said.to_string().as_bytes())
    })?;
    ensure!(end == End::Did, "`guard why` could not be run: {end:?}");
    let mut said = String::new();
    File::from(from).read_to_string(&mut said)?;
    let said: Value = serde_json::from_str(&said).context("nothing was said")?;
    let text = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
    Ok(Said { code: said["code"].as_i64().unwrap_or(-1), out: text("out"), err: text("err") })
}

pub(super) fn asked(cgroup: &Path, who: Who) -> Result<Said> {
    let said = why(Some(cgroup), who, || Ok(()), &["--json"])?;
    ensure!(said.code == 0, "`guard why` ended with {said:?}");
    Ok(said)
}

/// The call that waits for the secret.
fn waiting() -> Result<Waiting> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let all: Vec<Waiting> = Client::connect(Path::new(RUN))?.ask(&Request::Approvals)?;
        if let Some(found) = all.into_iter().find(|call| call.object == SECRET) {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "nothing waits for {SECRET}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn deny(id: u64) -> Result<()> {
    let request = Request::Answer { id, approve: false, note: "a test".to_owned(), session_seconds: None };
    Client::connect(Path::new(RUN))?.ask::<Waiting>(&request)?;
    Ok(())
}

fn fits(refused: &Value, wanted: &[(&str, Value)]) -> Result<()> {
    for (name, value) in wanted {
        ensure!(refused[name] == *value, "{name} is not {value}: {refused}");
    }
    Ok(())
}

fn own() -> Result<()> {
    let stage = Stage::set()?;
    ground()?;
    let (one, other) = (stage.cgroup("why")?, stage.cgroup("why")?);
    ensure!(asked(one.path(), Who::Root)?.refusals()?.is_empty(), "something is told of before");

    for _ in 0..2 {
        let end = inside(one.path(), Who::Nobody, || fs::write(SHUT, "x"))?;
        ensure!(end == REFUSED, "the write ended with {end:?}");
    }
    let end = inside(one.path(), Who::Nobody, || fs::read(FEW).and_then(|_| fs::read(FEW)).map(drop))?;
    ensure!(end == End::Errno(libc::EAGAIN), "the second read ended with {end:?}");
    // The records may still be on their way, and all the same are told of.
    let told = asked(one.path(), Who::Nobody)?.refusals()?;
    ensure!(told.len() == 2, "{told:?}");
    fits(
        &told[0],
        &[
            ("object", json!(FEW)),
            ("verdict", json!("throttle")),
            ("outcome", json!("refused")),
            ("rule", json!("few")),
            ("policy", json!("kt-why")),
            ("reason_code", json!("over-budget")),
            ("reason", json!("dear")),
            ("remedy", json!("keep a copy")),
            ("errno", json!(libc::EAGAIN)),
        ],
    )?;
    let retry = told[0]["retry_after_ms"].as_u64().context("no hint when to retry")?;
    ensure!((3_400_000..=3_600_000).contains(&retry), "retry in {retry} ms of an hour");
    let shut = [
        ("object", json!(SHUT)),
        ("times", json!(2)),
        ("verdict", json!("block")),
        ("rule", json!("shut")),
        ("reason", json!("not yours")),
        ("remedy", json!("write beside it")),
    ];
    fits(&told[1], &shut)?;

    let path = one.path().to_owned();
    let beside = thread::spawn(move || -> Result<Value> {
        let call = waiting()?;
        let told = asked(&path, Who::Nobody);
        deny(call.id)?;
        Ok(told?.refusals()?[0].clone())
    });
    let end = inside(one.path(), Who::Root, || fs::read(SECRET).map(drop))?;
    let held = beside.join().map_err(|_| anyhow::anyhow!("the one beside panicked"))??;
    ensure!(end == REFUSED, "the held read ended with {end:?}");
    fits(&held, &[("outcome", json!("waiting")), ("object", json!(SECRET)), ("rule", json!("ask"))])?;
    let told = asked(one.path(), Who::Nobody)?.refusals()?;
    ensure!(told.len() == 3, "{told:?}");
    let denied = [
        ("outcome", json!("refused")),
        ("reason_code", json!("denied")),
        ("reason", json!("a secret")),
        ("remedy", json!("do without")),
    ];
    fits(&told[0], &denied)?;

    let text = why(Some(one.path()), Who::Nobody, || Ok(()), &[])?;
    for part in [
        "throttled: read /t/open/why/few",
        "keep a copy",
        "blocked, 2 times",
        "shut of kt-why",
        "held and refused",
    ] {
        ensure!(text.out.contains(part), "no `{part}` in {text:?}");
    }

    let elsewhere = asked(other.path(), Who::Root)?;
    ensure!(elsewhere.refusals()?.is_empty(), "another session is told {elsewhere:?}");
    ensure!(
        elsewhere.account()?["session"] != asked(one.path(), Who::Root)?.account()?["session"],
        "one session"
    );
    inside(other.path(), Who::Nobody, || fs::write(SHUT, "x"))?;
    let told = asked(other.path(), Who::Nobody)?.refusals()?;
    ensure!(told.len() == 1 && told[0]["times"] == 1, "{told:?}");

    let nowhere = why(None, Who::Root, || Ok(()), &["--json"])?;
    ensure!(nowhere.code == 3 && nowhere.out.is_empty(), "{nowhere:?}");
    ensure!(nowhere.err.contains("in no domain"), "{nowhere:?}");
    Ok(())
}

fn other_namespace() -> Result<()> {
    let stage = Stage::set()?;
    ground()?;
    let cgroup = stage.cgroup("why")?;
    inside(cgroup.path(), Who::Root, || fs::write(SHUT, "x"))?;
    let alone = || unshare(CloneFlags::CLONE_NEWNS).map_err(io::Error::from);
    let said = why(Some(cgroup.path()), Who::Root, alone, &["--json"])?;
    ensure!(said.code == 0 && said.refusals()?.len() == 1, "{said:?}");
    Ok(())
}

fn only() -> Result<()> {
    let stage = Stage::set()?;
    let cgroup = stage.cgroup("why")?;
    let mode = fs::metadata(RUN)?.permissions().mode();
    ensure!(mode & 0o011 == 0o011 && mode & 0o022 == 0, "the directory of the sockets has mode {mode:o}");
    let elsewhere = Path::new("/run/kt-elsewhere.sock");
    let _ = fs::remove_file(elsewhere);
    let _server = UnixListener::bind(elsewhere)?;
    fs::set_permissions(elsewhere, fs::Permissions::from_mode(0o666))?;
    let control = Path::new(RUN).join("control.sock");
    for path in [elsewhere, &control] {
        let end = outside(Who::Root, || UnixStream::connect(path).map(drop))?;
        ensure!(end == End::Did, "outside, {} ended with {end:?}", path.display());
        let end = inside(cgroup.path(), Who::Root, || UnixStream::connect(path).map(drop))?;
        ensure!(end == REFUSED, "{} ended with {end:?}", path.display());
    }
    let end = inside(cgroup.path(), Who::Nobody, || UnixStream::connect(&control).map(drop))?;
    ensure!(matches!(end, End::Errno(libc::EPERM | libc::EACCES)), "as nobody, the control socket: {end:?}");
    let end = inside(cgroup.path(), Who::Nobody, || {
        UnixStream::connect(Path::new(RUN).join("why.sock")).map(drop)
    })?;
    ensure!(end == End::Did, "the socket that tells why: {end:?}");
    Ok(())
}

type Act = fn() -> io::Result<()>;

fn place() -> Result<()> {
    const SOCKET: &str = "/run/guard/why.sock";
    let stage = Stage::set()?;
    let cgroup = stage.cgroup("why")?;
    let acts: [(&str, Act); 5] = [
        ("remove", || fs::remove_file(SOCKET)),
        ("rename away", || fs::rename(SOCKET, "/run/guard-why-away")),
        ("rename over", || {
            fs::write("/run/guard-why-mine", "")?;
            fs::rename("/run/guard-why-mine", SOCKET)
        }),
        ("bind", || UnixListener::bind(SOCKET).map(drop)),
        ("rename its directory", || fs::rename("/run/guard", "/run/guard-away")),
    ];
    for (says, act) in acts {
        let reset = || -> Result<()> {
            let _ = fs::rename("/run/guard-away", "/run/guard");
            let _ = fs::remove_file(SOCKET);
            if says != "bind" {
                drop(UnixListener::bind(SOCKET)?);
            }
            Ok(())
        };
        reset()?;
        let end = outside(Who::Root, act)?;
        ensure!(end == End::Did, "outside, to {says} ended with {end:?}");
        reset()?;
        let end = inside(cgroup.path(), Who::Root, act)?;
        ensure!(end == REFUSED, "to {says} ended with {end:?}");
    }
    let _ = fs::remove_file(SOCKET);
    Ok(())
}

fn without() -> Result<()> {
    let stage = Stage::set()?;
    ground()?;
    let cgroup = stage.cgroup("why")?;
    let end = inside(cgroup.path(), Who::Root, || fs::write(SHUT, "x"))?;
    let before = asked(cgroup.path(), Who::Root)?.account()?;
    let told = before["refusals"].as_array().map_or(0, Vec::len);
    ensure!(end == REFUSED && told == 1, "what ended with {end:?} is told as {before}");
    end_daemon(stage.daemon, Signal::SIGKILL)?;
    let nobody = why(Some(cgroup.path()), Who::Nobody, || Ok(()), &["--json"])?;
    ensure!(nobody.code == 3 && nobody.out.is_empty(), "{nobody:?}");
    ensure!(nobody.err.contains("no daemon answers at"), "{nobody:?}");
    Stage::start()?;
    let after = asked(cgroup.path(), Who::Root)?.account()?;
    let since = |account: &Value| account["since"].as_str().map(str::to_owned);
    ensure!(since(&after) > since(&before), "{before} and then {after}");
    ensure!(after["refusals"] == json!([]), "the next daemon knows of {after}");
    ensure!(after["session"] == before["session"], "{before} and then {after}");
    inside(cgroup.path(), Who::Root, || fs::write(SHUT, "x"))?;
    ensure!(asked(cgroup.path(), Who::Root)?.refusals()?.len() == 1, "the next daemon remembers nothing");
    Ok(())
}
