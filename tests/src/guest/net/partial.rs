//! On a kernel that calls no LSM program: the network alone, and everything says so.

use std::net::TcpStream;
use std::process::Command;

use anyhow::{Result, ensure};

use super::super::agent::{REFUSED, Who, inside};
use super::super::stage::{PINS, RUN, Stage, status};
use super::super::why::asked;
use super::limits::{self, recorded};
use super::world::World;
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
