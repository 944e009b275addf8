//! Real programs, and squid as their gateway: through it they work, and without it nothing of theirs leaves.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Test;
use super::debian::say;
use super::net::{Sink, recorded, wait_for_gateway};
use super::stage::{POLICIES, RUN, Stage};

pub(super) const TESTS: &[Test] =
    &[Test::new("curl, git, python and node get out by squid, and by nothing else", only_by_the_gateway)
        .within(420)];

const INTERNET: &str = "203.0.113.7";
const CGROUP: &str = "/sys/fs/cgroup/kt/clients";
/// Where the internet has its files and the clients theirs.
const GROUND: &str = "/run/kt/clients";

const POLICY: &str = "version: 1
policy: kt-clients
applies_to:
  - cgroup: /kt/clients
  - cgroup: /kt/clients/**
mode: enforce
gateway: [127.0.0.1:18080]
audit: { allows: none, on_loss: block }
exec: { default: allow }
load: { default: allow }
connect: { default: block }
write: { default: allow }
read: { default: allow }
";

/// How often a client is run that took too long.
const TRIES: usize = 4;

/// What each client is called with. The page holds `hello`.
const CLIENTS: &[(&str, &str)] = &[
    (
        "curl",
        "curl --silent --show-error --cacert ca.pem --write-out '\\n%{time_total}' https://203.0.113.7/page",
    ),
    ("git", "rm -rf clone && git clone --quiet https://203.0.113.7/repo.git clone && cat clone/page"),
    ("python", "python3 client.py https://203.0.113.7/page"),
    ("node", "node client.js https://203.0.113.7/page"),
];

/// A program that runs until the test ends.
struct Server(Child);

impl Server {
    fn start(command: &mut Command) -> Result<Self> {
        let log = File::options().create(true).append(true).open("/run/kt/servers.log")?;
        let command = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Self(command.spawn().with_context(|| format!("start {command:?}"))?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Its files, a certificate for its address, and a repository that git can read without a program on its side.
fn lay_out() -> Result<()> {
    for directory in [POLICIES, CGROUP, "/run/kt/squid", "/run/kt/clients/www"] {
        fs::create_dir_all(directory)?;
    }
    for (name, text) in [
        ("internet.py", include_str!("../../gateway/internet.py")),
        ("client.py", include_str!("../../gateway/client.py")),
        ("client.js", include_str!("../../gateway/client.js")),
        ("squid.conf", include_str!("../../gateway/squid.conf")),
        ("www/page", "hello\n"),
    ] {
        fs::write(Path::new(GROUND).join(name), text)?;
    }
    fs::write(Path::new(POLICIES).join("clients.yaml"), POLICY)?;
    say(&["sh", "-ec", "cd /run/kt/clients
        chown proxy: /run/kt/squid
        ip address add 203.0.113.7/32 dev dummy0
        ip link set dummy0 up
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout key.pem -out ca.pem -subj /CN=internet.test \
            -addext subjectAltName=IP:203.0.113.7 2>/dev/null
        git init --quiet --initial-branch=main work
        cp www/page work/page
        git -C work add page
        git -C work -c user.name=t -c user.email=t@example.org commit --quiet --message page
        git clone --quiet --bare work www/repo.git
        git -C www/repo.git update-server-info"])
    .map(drop)
}

fn internet() -> Result<Server> {
    let mut command = Command::new("python3");
    command.current_dir(GROUND).args(["internet.py", INTERNET, "www", "ca.pem", "key.pem"]);
    let server = Server::start(&mut command)?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::net::TcpStream::connect((INTERNET, 443)).is_err() {
        ensure!(Instant::now() < deadline, "the internet is not there: {}", logs());
        thread::sleep(Duration::from_millis(200));
    }
    Ok(server)
}

/// One process: with a parent and its child, the end of one would leave the other.
fn squid() -> Result<Server> {
    Server::start(Command::new("squid").args(["-N", "-f", "/run/kt/clients/squid.conf"]))
}

fn logs() -> String {
    ["/run/kt/servers.log", "/run/kt/squid/cache.log"]
        .map(|at| fs::read_to_string(at).unwrap_or_default())
        .join("; ")
}

/// Runs a client, inside the domain or outside, with the gateway in its environment or without.
fn run(call: &str, inside: bool, by_gateway: bool) -> Result<Output> {
    let enter = if inside { format!("echo $$ > {CGROUP}/cgroup.procs && ") } else { String::new() };
    let mut command = Command::new("bash");
    command.current_dir(GROUND).args(["-c", &format!("{enter}{call}")]).env("HOME", GROUND);
    for trust in ["GIT_SSL_CAINFO", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"] {
        command.env(trust, format!("{GROUND}/ca.pem"));
    }
    if by_gateway {
        command.env("https_proxy", "http://127.0.0.1:18080");
    }
    command.output().with_context(|| format!("run {call}"))
}

fn works(name: &str, output: &Output) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && said.contains("hello"),
        "{name}: {}, {said}{errors}; {}",
        output.status,
        logs()
    );
    Ok(())
}

/// The milliseconds that a refused connect took, of a client that says so.
fn took(name: &str, output: &Output) -> Option<f64> {
    let said = String::from_utf8_lossy(&output.stdout);
    let number = said.split_whitespace().next()?.parse::<f64>().ok()?;
    Some(if name == "curl" { number * 1000.0 } else { number })
}

/// The walk before this took its package away with it.
fn install() -> Result<()> {
    fs::copy("/root/guard", "/usr/local/bin/guard").map(drop).context("install guard")
}

fn only_by_the_gateway() -> Result<()> {
    install()?;
    lay_out()?;
    let internet = internet()?;
    let squid = squid()?;
    let enforcing = |status: &Value| status["enforcing"] == Value::Bool(true);
    let _stage = Stage::start_with(&["--probe", "203.0.113.7:443"], enforcing)?;
    wait_for_gateway(true).with_context(logs)?;
    let sink = Sink::open()?;
    let outward = |frame: &[u8]| frame.get(30..34) == Some(&[203, 0, 113, 7]);
    for (name, call) in CLIENTS {
        sink.count(outward)?;
        works(name, &run(call, false, false)?).context("the control outside")?;
        ensure!(sink.count(outward)? > 0, "{name}: the sink does not see the control");
        works(name, &run(call, true, true)?).context("inside, by the gateway")?;
    }
    let log = fs::read_to_string("/run/kt/squid/access.log")?;
    ensure!(log.matches("CONNECT 203.0.113.7:443").count() >= CLIENTS.len(), "squid's log: {log}");
    // From here on nobody but the clients has a reason to speak with the internet.
    drop(squid);
    wait_for_gateway(false)?;
    thread::sleep(Duration::from_secs(2));
    sink.count(outward)?;
    for (name, call) in CLIENTS {
        for by_gateway in [false, true] {
            // Under emulation most of an interpreter's time is its own, before and after the call; and a busy machine may
            // stand still for a while, but not each time.
            let most = if *name == "curl" { 50.0 } else { 300.0 };
            let mut least = f64::INFINITY;
            for _ in 0..TRIES {
                let output = run(call, true, by_gateway)?;
                let said = String::from_utf8_lossy(&output.stdout);
                ensure!(!output.status.success() && !said.contains("hello"), "{name} got through: {said}");
                let Some(took) = took(name, &output) else { break };
                println!("{name}, gateway {by_gateway}: refused after {took} ms");
                least = least.min(took);
                if least < most {
                    break;
                }
            }
            ensure!(
                least < most || least == f64::INFINITY,
                "{name} was refused after {least} ms at the soonest"
            );
        }
    }
    ensure!(sink.count(outward)? == 0, "packets left");
    recorded("default", &["--action", "connect"])?;
    recorded("gateway-down", &["--action", "connect"])?;
    // A gateway that is there and leads nowhere is down.
    drop(internet);
    let _squid = self::squid()?;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let why = super::stage::status()["gateways"][0]["why"].as_str().unwrap_or_default().to_owned();
        if why.contains("CONNECT 203.0.113.7:443") {
            break;
        }
        ensure!(Instant::now() < deadline, "status says why: {why:?} (in {RUN}); {}", logs());
        thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}
