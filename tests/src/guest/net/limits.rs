//! `limits: max_bytes_out`, and gateways that come and go: what the kernel is told beside the rules.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use super::super::agent::{End, REFUSED, Way, Who, attempt_after, inside, outside};
use super::super::stage::{Cgroup, DAEMON, POLICIES, STATE, Stage, status};
use super::world::{GATEWAY, World, connect, dns, send_bytes, socket, v4};

/// A policy that lets datagrams out, and as many bytes.
pub(in super::super) const SPEND: &str = "version: 1
policy: kt-spend
applies_to:
  - cgroup: /kt/spend/**
mode: enforce
audit: { allows: none, on_loss: block }
exec: { default: allow }
connect:
  default: block
  rules:
    - { id: dns, to: [\"203.0.113.7:53/udp\"], verdict: allow }
write: { default: allow }
limits: { max_bytes_out: 16KiB }
";

/// The same in shadow mode, for what is recorded and let through.
pub(in super::super) const WOULD_SPEND: &str = "version: 1
policy: kt-would-spend
applies_to:
  - cgroup: /kt/would-spend/**
mode: shadow
audit: { allows: none, on_loss: block }
exec: { default: allow }
connect: { default: allow }
write: { default: allow }
limits: { max_bytes_out: 16KiB }
";

const LIMIT: u64 = 16 << 10;
/// One datagram's data, and with its headers.
const DATA: usize = 1000;
const WHOLE: u64 = 1028;
/// How many fit.
const FIT: u64 = LIMIT / WHOLE;

/// How many datagrams have gone: on the loopback the sink sees each as it leaves and as it arrives.
fn went(world: &World) -> Result<u64> {
    Ok(world.seen()?.packets as u64 / 2)
}

/// Sends datagrams; the error is the first one's that did not go.
fn flood(count: u64) -> io::Result<()> {
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    (0..count).try_for_each(|_| send_bytes(&socket, Some(&dns()), &[b'x'; DATA]))
}

/// The same on a connected socket.
fn pour(count: u64) -> io::Result<()> {
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    connect(&socket, &dns())?;
    (0..count).try_for_each(|_| send_bytes(&socket, None, &[b'x'; DATA]))
}

/// What `guard status` says that the session of this cgroup has sent.
fn told(cgroup: &Path) -> Result<(u64, Option<u64>)> {
    use std::os::unix::fs::MetadataExt;
    let id = fs::metadata(cgroup)?.ino();
    let status = status();
    let sessions = status["sessions"].as_array().context("status names no sessions")?;
    let session = sessions.iter().find(|session| session["session"] == id).context("not this session")?;
    let number = |key: &str| session[key].as_u64();
    Ok((number("bytes_out").context("no bytes_out")?, number("spent_at")))
}

/// Waits until the log has a record like this.
pub(in super::super) fn recorded(reason: &str, more: &[&str]) -> Result<Value> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let found = Command::new("guard")
            .args(["audit", "query", "--json", "--limit", "1", "--reason", reason])
            .args(["--dir", &format!("{STATE}/audit")])
            .args(more)
            .output()?;
        if let Some(line) = String::from_utf8_lossy(&found.stdout).lines().next() {
            return Ok(serde_json::from_str(line)?);
        }
        let said = String::from_utf8_lossy(&found.stderr);
        ensure!(Instant::now() < deadline, "no record with reason {reason} {more:?}: {said}");
        thread::sleep(Duration::from_millis(100));
    }
}

pub(super) fn a_session_stops_at_its_budget() -> Result<()> {
    stops_at_its_budget(&Stage::set()?, &World::set()?)
}

pub(super) fn stops_at_its_budget(stage: &Stage, world: &World) -> Result<()> {
    ensure!(outside(Who::Root, || flood(2 * FIT))? == End::Did, "the control outside does not send");
    ensure!(went(world)? == 2 * FIT, "the control's datagrams were not seen");
    for (n, act) in [flood, pour].into_iter().enumerate() {
        let cgroup = stage.cgroup("spend")?;
        let nested = Cgroup::make(&cgroup.path().join("below"))?;
        let who = Who::BOTH[n];
        ensure!(inside(cgroup.path(), who, move || act(FIT))? == End::Did, "what fits is refused");
        ensure!(told(cgroup.path())? == (FIT * WHOLE, None), "counted {:?}", told(cgroup.path())?);
        ensure!(inside(cgroup.path(), who, move || act(1))? == REFUSED, "more than fits goes");
        // Less would fit, but what did not fit has closed it; also for who is nested.
        let small = || send_bytes(&socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?, Some(&dns()), b"s");
        for at in [cgroup.path(), nested.path()] {
            for way in Way::ALL {
                let end = attempt_after(Some(at), who, way, || Ok(()), |_| Ok(()), |()| small())?;
                ensure!(end == REFUSED, "a spent session's datagram ended with {end:?} ({way:?})");
            }
        }
        let seen = went(world)?;
        ensure!(seen == FIT, "{seen} datagrams went, {FIT} fit");
        ensure!(told(cgroup.path())? == (FIT * WHOLE, Some(LIMIT)), "counted {:?}", told(cgroup.path())?);
        recorded("bytes-spent", &["--verdict", "block"])?;
        let other = stage.cgroup("spend")?;
        ensure!(inside(other.path(), who, move || act(1))? == End::Did, "another session is refused");
        world.seen()?;
    }
    Ok(())
}

pub(super) fn shadow_mode_counts_and_lets_through() -> Result<()> {
    let (stage, world) = (Stage::set()?, World::set()?);
    let cgroup = stage.cgroup("would-spend")?;
    ensure!(inside(cgroup.path(), Who::Nobody, || flood(2 * FIT))? == End::Did, "a datagram is refused");
    ensure!(went(&world)? == 2 * FIT, "not every datagram went");
    ensure!(told(cgroup.path())? == (2 * FIT * WHOLE, Some(LIMIT)), "counted {:?}", told(cgroup.path())?);
    Ok(())
}

pub(super) fn the_count_survives_reload_and_restart() -> Result<()> {
    let (stage, world) = (Stage::set()?, World::set()?);
    let cgroup = stage.cgroup("spend")?;
    let flood_there = |count| inside(cgroup.path(), Who::Nobody, move || flood(count));
    ensure!(flood_there(FIT - 1)? == End::Did, "what fits is refused");
    stage.reload()?;
    ensure!(told(cgroup.path())? == ((FIT - 1) * WHOLE, None), "the reload forgot what was sent");
    kill(stage.daemon, Signal::SIGKILL)?;
    ensure!(flood_there(1)? == End::Did, "without a daemon what fits is refused");
    ensure!(flood_there(1)? == REFUSED, "without a daemon more than fits goes");
    fs::remove_file(DAEMON)?;
    let stage = Stage::start()?;
    ensure!(told(cgroup.path())? == (FIT * WHOLE, Some(LIMIT)), "the restart forgot what was sent");
    ensure!(flood_there(1)? == REFUSED, "after a restart more than fits goes");
    let seen = went(&world)?;
    ensure!(seen == FIT, "{seen} datagrams went, {FIT} fit");
    // A higher limit opens it again.
    let file = Path::new(POLICIES).join("spend.yaml");
    fs::write(&file, SPEND.replace("16KiB", "32KiB"))?;
    stage.reload()?;
    let end = flood_there(1);
    fs::write(&file, SPEND)?;
    stage.reload()?;
    ensure!(end? == End::Did, "a higher limit does not open the session again");
    Ok(())
}

/// Waits until `guard status` says that the gateway is up, or down.
pub(in super::super) fn wait_for_gateway(up: bool) -> Result<()> {
    let address = format!("127.0.0.1:{GATEWAY}");
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let status = status();
        let gateways = status["gateways"].as_array().cloned().unwrap_or_default();
        if gateways.iter().any(|gateway| gateway["address"] == address && gateway["up"] == up) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "status never says that the gateway's up is {up}: {gateways:?}");
        thread::sleep(Duration::from_millis(100));
    }
}

pub(super) fn a_gateway_that_is_down_is_named() -> Result<()> {
    let (stage, mut world) = (Stage::set()?, World::set()?);
    let cgroup = stage.cgroup("net")?;
    let attempt = || {
        let begun = Instant::now();
        let end = inside(cgroup.path(), Who::Nobody, || {
            connect(&socket(libc::AF_INET, libc::SOCK_STREAM, 0)?, &v4([127, 0, 0, 1], GATEWAY))
        })?;
        Ok::<_, anyhow::Error>((end, begun.elapsed()))
    };
    ensure!(attempt()?.0 == End::Did, "the gateway cannot be reached while it is up");
    world.close_gateway();
    wait_for_gateway(false)?;
    let end = attempt()?.0;
    ensure!(end == REFUSED, "with the gateway down it ended with {end:?}");
    let record = recorded("gateway-down", &[])?;
    ensure!(record["object"] == format!("127.0.0.1:{GATEWAY}/tcp"), "the record names {}", record["object"]);
    recorded_note("gateway")?;
    // Nobody renews it: the kernel forgets, and the gateway's host answers for itself.
    kill(stage.daemon, Signal::SIGKILL)?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while attempt()?.0 == REFUSED {
        ensure!(Instant::now() < deadline, "the kernel still believes a daemon that has gone");
        thread::sleep(Duration::from_millis(200));
    }
    ensure!(attempt()?.0 == End::Errno(libc::ECONNREFUSED), "without a daemon it ended otherwise");
    fs::remove_file(DAEMON)?;
    let _stage = Stage::start()?;
    wait_for_gateway(false)?;
    world.open_gateway()?;
    wait_for_gateway(true)?;
    ensure!(attempt()?.0 == End::Did, "the gateway cannot be reached although it is up again");
    Ok(())
}

/// Sends to the gateway for so long on one connection, and gives the error of the send that was refused.
fn keep_sending(long: Duration) -> io::Result<()> {
    let socket = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    connect(&socket, &v4([127, 0, 0, 1], GATEWAY))?;
    let begun = Instant::now();
    send_bytes(&socket, None, b"x")?;
    while begun.elapsed() < long {
        thread::sleep(Duration::from_millis(50));
        send_bytes(&socket, None, b"x")?;
    }
    Ok(())
}

pub(super) fn a_gateway_that_is_taken_away_gets_nothing_more() -> Result<()> {
    let (stage, _world) = (Stage::set()?, World::set()?);
    let cgroup = stage.cgroup("net")?;
    let nested = Cgroup::make(&cgroup.path().join("below"))?;
    let file = Path::new(POLICIES).join("net.yaml");
    let policy = fs::read_to_string(&file)?;
    let without = policy.replace(&format!("gateway: [127.0.0.1:{GATEWAY}]\n"), "");
    ensure!(without != policy, "the policy names no gateway: {policy}");
    let next = Path::new(POLICIES).join(".net.next");
    let tries = [
        (cgroup.path(), Who::Nobody, Way::Direct),
        (nested.path(), Who::Root, Way::Thread),
        (nested.path(), Who::Nobody, Way::Forked),
    ];
    for (at, who, way) in tries {
        let send = |seconds| {
            let act = move |()| keep_sending(Duration::from_secs(seconds));
            attempt_after(Some(at), who, way, || Ok(()), |_| Ok(()), act)
        };
        let control = send(2)?;
        ensure!(control == End::Did, "under one policy the connection ended with {control:?} ({way:?})");
        fs::write(&next, &without)?;
        // The daemon looks at the directory each second.
        let mut other = Command::new("sh")
            .args(["-c", &format!("sleep 1 && mv {} {}", next.display(), file.display())])
            .spawn()
            .context("take the gateway away")?;
        let end = send(60);
        other.wait()?;
        fs::write(&file, &policy)?;
        stage.reload()?;
        wait_for_gateway(true)?;
        let end = end?;
        ensure!(end == REFUSED, "to a gateway that is none any more it ended with {end:?} ({way:?})");
        let again = send(1)?;
        ensure!(again == End::Did, "the gateway is back, and the connection ended with {again:?} ({way:?})");
    }
    Ok(())
}

fn recorded_note(kind: &str) -> Result<()> {
    let found = Command::new("guard")
        .args([
            "audit",
            "query",
            "--json",
            "--limit",
            "1",
            "--kind",
            kind,
            "--dir",
            &format!("{STATE}/audit"),
        ])
        .output()?;
    ensure!(found.status.success(), "no record of kind {kind}: {}", String::from_utf8_lossy(&found.stderr));
    Ok(())
}
