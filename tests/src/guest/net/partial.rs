//! On a kernel that calls no LSM program: the network alone, and everything says so.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::wait::{WaitStatus, waitpid};

use super::super::agent::{End, REFUSED, Who, inside, outside};
use super::super::stage::{PINS, RUN, Stage, status};
use super::super::sys;
use super::super::why::asked;
use super::limits::{self, recorded};
use super::world::{World, check, connect, send, socket, v4};
use super::{Road, listen, roads, try_them};

/// Of the other tests' roads, those that IPv4 and IPv6 sockets take.
const ODD: &[&str] =
    &["UDP-Lite", "UDP-Lite, connected", "ping", "raw ICMP", "raw of a made-up protocol", "SCTP"];
const BOUND: &[&str] = &[
    "bind a port",
    "bind a port of every address",
    "bind an IPv6 port",
    "bind a mapped address",
    "bind with no family",
    "bind a datagram port",
    "take the gateway's port, sharing it",
];
const KEPT: &[&str] = &[
    "connect to the gateway",
    "connect to the gateway by a mapped address",
    "connect to the gateway by the wildcard",
    "connect to an IPv6 address that is given",
    "listen on an open port of every IPv6 address",
    "fast open to the gateway",
    "reach the gateway on a socket made outside",
    "dissolve a connection",
    "bind a datagram socket to a port of the kernel's choice",
    "serve on a port that is open",
];

pub(super) fn only_the_network_is_enforced() -> Result<()> {
    let (stage, world) = (Stage::set_partial()?, World::set()?);
    let named = |from: &[Road], names: &[&str]| -> Result<Vec<Road>> {
        let found: Vec<Road> = from.iter().filter(|road| names.contains(&road.says)).copied().collect();
        ensure!(found.len() == names.len(), "a road has another name now: {names:?}");
        Ok(found)
    };
    // Which of two threads is first decides how this one ends here: a send to the gateway is no refusal.
    let direct: Vec<Road> =
        roads::DIRECT.iter().filter(|road| !road.says.contains("two threads")).copied().collect();
    try_them(&stage, &world, &direct)?;
    try_them(&stage, &world, &named(roads::ODD, ODD)?)?;
    try_them(&stage, &world, &named(listen::ROADS, BOUND)?)?;
    try_them(&stage, &world, &named(listen::KEPT, KEPT)?)?;
    limits::stops_at_its_budget(&stage, &world)
}

pub(super) fn everything_says_degraded() -> Result<()> {
    let (stage, world) = (Stage::set_partial()?, World::set()?);
    let road = roads::DIRECT.iter().take(1).copied().collect::<Vec<_>>();
    try_them(&stage, &world, &road)?;
    let record = recorded("default", &["--action", "connect", "--verdict", "block"])?;
    ensure!(record["degraded"] == true, "a record does not say so: {record}");
    ensure!(record["object"] == "203.0.113.7:80/tcp", "the record names {}", record["object"]);
    ensure!(record["pid"] != 0 && record["comm"] != "", "the record names nobody: {record}");
    let status = status();
    ensure!(status["enforcing"] == false && status["degraded"] == true, "status says {status}");
    let said = Command::new("guard").args(["status", "--run", RUN, "--pins", PINS]).output()?;
    let text = String::from_utf8_lossy(&said.stdout);
    ensure!(text.starts_with("DEGRADED\n"), "status begins with {text:?}");
    for uncovered in ["files", "unix sockets", "packet", "made or connected outside"] {
        ensure!(text.contains(uncovered), "status does not name {uncovered}: {text}");
    }
    let cgroup = stage.cgroup("net")?;
    let end = inside(cgroup.path(), Who::Root, || TcpStream::connect("203.0.113.7:80").map(drop))?;
    let told = asked(cgroup.path(), Who::Root)?.refusals()?;
    ensure!(end == REFUSED && told.len() == 1, "what ended with {end:?} is told as {told:?}");
    ensure!(told[0]["object"] == "203.0.113.7:80/tcp", "{told:?}");
    Ok(())
}

/// Tries each so often; how often it went through is what its file says.
fn tries(cgroup: Option<&Path>, kind: i32, port: u16) -> Result<i32> {
    const TRIES: usize = 6;
    let (there, here) = nix::unistd::pipe()?;
    let act = || {
        let to = v4([127, 0, 0, 1], port);
        let went = (0..TRIES).filter(|_| {
            let Ok(socket) = socket(libc::AF_INET, kind, 0) else { return false };
            if kind == libc::SOCK_STREAM { connect(&socket, &to) } else { send(&socket, Some(&to), 0) }
                .is_ok()
        });
        nix::unistd::write(&here, &[went.count() as u8])?;
        Ok(())
    };
    let end = match cgroup {
        Some(cgroup) => inside(cgroup, Who::Root, act)?,
        None => outside(Who::Root, act)?,
    };
    ensure!(end == End::Did, "it ended with {end:?}");
    let mut count = [0];
    nix::unistd::read(&there, &mut count)?;
    Ok(count[0].into())
}

pub(super) fn a_throttle_is_kept_and_a_sandbox_refused() -> Result<()> {
    let stage = Stage::set_partial()?;
    let _listener = TcpListener::bind("127.0.0.1:7001")?;
    let _receivers = [UdpSocket::bind("127.0.0.1:7003")?, UdpSocket::bind("127.0.0.1:7008")?];
    let cgroup = stage.cgroup("verdicts")?;
    for (kind, port, wanted) in
        [(libc::SOCK_STREAM, 7001, 3), (libc::SOCK_DGRAM, 7003, 3), (libc::SOCK_DGRAM, 7008, 0)]
    {
        let (control, went) = (tries(None, kind, port)?, tries(Some(cgroup.path()), kind, port)?);
        ensure!(control == 6 && went == wanted, "to {port} {went} of {control} went through, not {wanted}");
    }
    for (reason, verdict, object) in
        [("over-budget", "throttle", "127.0.0.1:7001/tcp"), ("no-sandbox", "block", "127.0.0.1:7008/udp")]
    {
        let record = recorded(reason, &["--action", "connect"])?;
        ensure!(record["verdict"] == verdict && record["object"] == object, "{reason}: {record}");
    }
    Ok(())
}

/// Asks as a client does; what is answered.
fn ask(mut stream: &UnixStream, request: &str) -> io::Result<String> {
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer)
}

pub(super) fn the_daemon_takes_no_orders_from_inside() -> Result<()> {
    const ORDER: &str = r#"{"version":1,"do":"mode","policy":"kt-net","mode":"shadow","note":"please"}"#;
    const ANSWERS: &str = "/t/open/answers";
    let stage = Stage::set_partial()?;
    let cgroup = stage.cgroup("net")?;
    let control = Path::new(RUN).join("control.sock");
    let greeting = ask(&UnixStream::connect(&control)?, r#"{"version":1,"do":"hello"}"#)?;
    ensure!(greeting.contains("\"ok\""), "outside, who asks is told {greeting}");
    for by_a_child_of_who_has_gone in [false, true] {
        let _ = fs::remove_file(ANSWERS);
        let end = inside(cgroup.path(), Who::Root, || {
            let order =
                |stream: &UnixStream| match ask(stream, ORDER).and_then(|said| fs::write(ANSWERS, said)) {
                    Ok(()) => 0,
                    Err(_) => 1,
                };
            let (wait, go) = nix::unistd::pipe()?;
            let child = sys::spawn(|| {
                let Ok(stream) = UnixStream::connect(&control) else { return 2 };
                if !by_a_child_of_who_has_gone {
                    return order(&stream);
                }
                let other = sys::spawn(|| {
                    let _ = nix::unistd::read(&wait, &mut [0]);
                    order(&stream)
                });
                if other.is_ok() { 0 } else { 3 }
            })?;
            // It is gone, and nobody has its number.
            check(matches!(waitpid(child, None)?, WaitStatus::Exited(_, 0)))?;
            nix::unistd::write(&go, b"x")?;
            for _ in 0..100 {
                if Path::new(ANSWERS).exists() {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(io::Error::from_raw_os_error(libc::ETIME))
        })?;
        ensure!(end == End::Did, "the agent ended with {end:?}");
        let said = fs::read_to_string(ANSWERS)?;
        ensure!(said.contains("\"forbidden\""), "inside, who orders is told {said}");
    }
    let refused = super::super::written::of_kind("control-refused")?;
    ensure!(refused.len() >= 2, "{} refusals are written down", refused.len());
    let policies = status()["policies"].clone();
    let net = policies.as_array().and_then(|all| all.iter().find(|policy| policy["name"] == "kt-net"));
    ensure!(net.is_some_and(|net| net["mode"] == "enforce"), "the policy is {net:?}");
    Ok(())
}
