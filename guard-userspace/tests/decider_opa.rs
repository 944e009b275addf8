//! The example decider for real: guard's own questions to `packaging/examples/opa/decider.py`, which asks an OPA: a real
//! one if the host has it, else a small stand-in that speaks its REST API.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use guard_userspace::approvals::decider::{Said, Word, ask};
use guard_userspace::approvals::{Request, question};
use guard_userspace::audit::Host;
use guard_userspace::config::{Ask, Decider};

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A directory and programs of the test's own, which go with it.
struct Place {
    path: PathBuf,
    children: Vec<Child>,
}

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("guard-opa-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
        Self { path, children: Vec::new() }
    }

    fn start(&mut self, command: &mut Command) {
        self.children.push(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
    }

    /// An OPA with the example's policy.
    fn opa(&mut self) {
        let socket = self.path.join("opa.sock");
        let has_opa = Command::new("opa").arg("version").output().is_ok_and(|output| output.status.success());
        if has_opa {
            let address = format!("unix://{}", socket.display());
            let rego = source("packaging/examples/opa/held.rego");
            self.start(Command::new("opa").args(["run", "--server", "--addr", &address]).arg(rego));
        } else {
            self.start(Command::new("python3").arg(source("tests/opa/stand-in.py")).arg(&socket));
        }
        listens(&socket);
    }

    fn decider(&mut self, rule: &str) -> Decider {
        let socket = self.path.join("decider.sock");
        let script = source("packaging/examples/opa/decider.py");
        let mut command = Command::new("python3");
        command.arg(script).args(["--rule", rule, "--listen"]).arg(&socket);
        self.start(command.arg("--opa").arg(self.path.join("opa.sock")));
        listens(&socket);
        Decider { ask: Ask::Socket(socket), deadline: Duration::from_secs(5), at_once: 4 }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn listens(socket: &Path) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while UnixStream::connect(socket).is_err() {
        assert!(Instant::now() < deadline, "nobody listens on {}", socket.display());
        thread::sleep(Duration::from_millis(20));
    }
}

fn call(action: &str, object: &str, argv: Option<&[&str]>) -> Request {
    Request {
        id: 7,
        action: action.to_owned(),
        object: object.to_owned(),
        argv: argv.map(|argv| argv.iter().map(|word| (*word).to_owned()).collect()),
        digest: "00000000000000aa".to_owned(),
        ..Request::default()
    }
}

fn asked(decider: &Decider, call: &Request) -> Result<Said, String> {
    let host = Host { name: "h".to_owned(), boot: "b".to_owned() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(ask(decider, &call.digest, &question(&host, call, decider.deadline)))
}

#[test]
fn the_example_answers_what_opa_decides() {
    let mut place = Place::new("answers");
    place.opa();
    let decider = place.decider("guard/decision");
    for (call, word, note) in [
        (
            call("exec", "/usr/bin/git", Some(&["push", "origin"])),
            Word::Approve,
            "a plain push to the gateway's remote",
        ),
        (
            call("exec", "/usr/bin/git", Some(&["push", "--force-with-lease"])),
            Word::Deny,
            "nobody rewrites history",
        ),
        (
            call("exec", "/usr/bin/git", Some(&["push", "-f", "origin"])),
            Word::Deny,
            "nobody rewrites history",
        ),
        (call("exec", "/usr/bin/git", Some(&["push", "other"])), Word::Pass, ""),
        (call("read", "/srv/keys/host.key", None), Word::Deny, "keys are nobody's to read"),
        (call("write", "/srv/scratch/x", None), Word::Approve, "the team's scratch space"),
        (call("write", "/srv/scratch", None), Word::Pass, ""),
        (call("connect", "10.0.0.1:443/tcp", None), Word::Pass, ""),
    ] {
        let said = asked(&decider, &call).unwrap_or_else(|why| panic!("{call:?}: {why}"));
        assert_eq!((said.word, said.note.as_str()), (word, note), "{call:?}");
    }
}

#[test]
fn without_a_decision_the_example_answers_nothing() {
    let mut place = Place::new("nothing");
    // No OPA yet.
    let mut decider = place.decider("guard/decision");
    decider.deadline = Duration::from_millis(500);
    let call = call("write", "/srv/scratch/x", None);
    let why = asked(&decider, &call).unwrap_err();
    assert!(why.contains("no answer within 500 ms, at last: it hung up"), "{why}");
    place.opa();
    decider.deadline = Duration::from_secs(5);
    assert_eq!(asked(&decider, &call).unwrap().word, Word::Approve);
    // A rule that OPA does not have.
    let mut other = Place::new("undefined");
    other.opa();
    let mut decider = other.decider("guard/nothing");
    decider.deadline = Duration::from_millis(500);
    let why = asked(&decider, &call).unwrap_err();
    assert!(why.contains("it hung up"), "{why}");
}
