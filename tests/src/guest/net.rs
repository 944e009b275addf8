//! The network: nothing leaves but through the gateway, nothing comes in but by a port that is open, and what an
//! agent needs between its own tasks works.

mod flips;
mod limits;
mod listen;
mod options;
mod partial;
mod pending;
mod queued;
mod rings;
mod roads;
mod unix;
pub(super) mod world;

use std::io;
use std::os::fd::OwnedFd;

use anyhow::{Result, bail};

use super::agent::{End, REFUSED, Way, Who, attempt_after};
use super::stage::{Cgroup, Stage, kernel_is_at_least};
use super::{On, Test};
use world::World;

/// What the agents of these tests may do.
pub(super) const POLICY: &str = "version: 1
policy: kt-net
applies_to:
  - cgroup: /kt/net/**
mode: enforce
gateway: [127.0.0.1:18080]
audit: { allows: none, on_loss: block }
exec: { default: allow }
load: { default: allow }
connect:
  default: block
  rules:
    - { id: local, to: [\"127.0.0.1:7070/udp\"], verdict: allow }
    - { id: six, to: [\"[::1]:7071/tcp\"], verdict: allow }
    - { id: own, unix: [\"/t/open/**\"], verdict: allow }
listen:
  default: block
  rules:
    - { id: dev, ports: [9090/tcp], verdict: allow }
write: { default: allow }
read: { default: allow }
";

pub(super) use limits::{SPEND, WOULD_SPEND, recorded, wait_for_gateway};
pub(super) use world::Sink;

pub(super) const TESTS: &[Test] = &[
    Test::new("no address but the gateway is reached by TCP or UDP", || try_all(roads::DIRECT)).within(120),
    Test::new("no other protocol leaves", || try_all(roads::ODD)).within(120),
    Test::new("no socket from before the label leaves", || try_all(roads::BEFORE)).within(120),
    Test::new("no option bends where packets go", || try_all(options::ROADS)).within(120),
    Test::new("nothing listens but where the policy opens a port", || try_all(listen::ROADS)).within(120),
    Test::new("no unix socket of others is reached", || try_all(unix::ROADS)).within(120),
    Test::new("the gateway, open ports and sockets of one session work", || try_all(listen::KEPT))
        .within(120),
    Test::new("io_uring leads no further than the calls it stands for", || try_all(rings::ROADS)).within(120),
    Test::new("what is open is open by io_uring too", || try_all(rings::KEPT)).within(120),
    Test::new(
        "what a socket has begun ends under the policies of now",
        pending::what_is_begun_ends_under_the_policies_of_now,
    )
    .within(120),
    Test::new("a session stops at its budget of bytes", limits::a_session_stops_at_its_budget).within(90),
    Test::new(
        "a budget in shadow mode is counted and lets through",
        limits::shadow_mode_counts_and_lets_through,
    )
    .within(60),
    Test::new(
        "a gateway that a reload takes away gets nothing more, of what was connected either",
        limits::a_gateway_that_is_taken_away_gets_nothing_more,
    )
    .within(120),
    Test::new(
        "what is queued goes by the policies of its time",
        queued::what_is_queued_goes_by_the_policies_of_its_time,
    )
    .within(180),
    Test::new(
        "what was agreed to in the moment of a change does not outlive it",
        flips::what_was_agreed_to_in_the_moment_of_a_change_does_not_outlive_it,
    )
    .within(180),
    Test::new("a budget survives reload and restart", limits::the_count_survives_reload_and_restart)
        .within(180),
    Test::new("the gateway is named when it is down", limits::a_gateway_that_is_down_is_named).within(180),
    Test::new("with --allow-partial the network is enforced", partial::only_the_network_is_enforced)
        .on(On::WithoutBpf)
        .within(240),
    Test::new(
        "with --allow-partial every record and status says degraded",
        partial::everything_says_degraded,
    )
    .on(On::WithoutBpf)
    .within(60),
    Test::new(
        "with --allow-partial a throttle is kept, and a sandbox refused",
        partial::a_throttle_is_kept_and_a_sandbox_refused,
    )
    .on(On::WithoutBpf)
    .within(60),
    Test::new(
        "with --allow-partial the daemon takes no orders from who is inside, or was",
        partial::the_daemon_takes_no_orders_from_inside,
    )
    .on(On::WithoutBpf)
    .within(60),
];

/// A way out, or a way that must stay open.
#[derive(Debug, Clone, Copy)]
struct Road {
    says: &'static str,
    before: fn() -> io::Result<Vec<OwnedFd>>,
    act: fn(&[OwnedFd]) -> io::Result<()>,
    who: &'static [Who],
    since: (u32, u32),
    goes: Goes,
    /// A kernel without it is no failure.
    optional: bool,
}

/// What it amounts to when it goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goes {
    /// Packets are seen.
    Leaves,
    /// Packets with the secret are seen: the connection was there before, and its end tells nothing.
    Tells,
    /// The call succeeds.
    Succeeds,
    /// The call succeeds inside too.
    Stays,
}

/// More attempts at a control that did not work.
const RACES: usize = 4;

fn nothing() -> io::Result<Vec<OwnedFd>> {
    Ok(Vec::new())
}

impl Road {
    const fn new(says: &'static str, act: fn(&[OwnedFd]) -> io::Result<()>, goes: Goes) -> Self {
        Self { says, before: nothing, act, who: &Who::BOTH, since: (6, 1), goes, optional: false }
    }

    const fn out(says: &'static str, act: fn(&[OwnedFd]) -> io::Result<()>) -> Self {
        Self::new(says, act, Goes::Leaves)
    }

    const fn tell(says: &'static str, act: fn(&[OwnedFd]) -> io::Result<()>) -> Self {
        Self::new(says, act, Goes::Tells)
    }

    const fn call(says: &'static str, act: fn(&[OwnedFd]) -> io::Result<()>) -> Self {
        Self::new(says, act, Goes::Succeeds)
    }

    const fn stays(says: &'static str, act: fn(&[OwnedFd]) -> io::Result<()>) -> Self {
        Self::new(says, act, Goes::Stays)
    }

    const fn before(self, before: fn() -> io::Result<Vec<OwnedFd>>) -> Self {
        Self { before, ..self }
    }

    const fn as_root(self) -> Self {
        Self { who: &[Who::Root], ..self }
    }

    const fn since(self, major: u32, minor: u32) -> Self {
        Self { since: (major, minor), ..self }
    }

    const fn if_any(self) -> Self {
        Self { optional: true, ..self }
    }

    fn arm(&self, stage: Option<&Stage>, world: &World, who: Who, way: Way) -> Result<(End, usize)> {
        let cgroup = stage.map(|stage| stage.cgroup("net")).transpose()?;
        // One in three below the cgroup that the policy names.
        let nested = match &cgroup {
            Some(cgroup) if way == Way::Thread => Some(Cgroup::make(&cgroup.path().join("below"))?),
            _ => None,
        };
        let path = nested.as_ref().or(cgroup.as_ref()).map(Cgroup::path);
        let drain = |_| world.seen().map(drop);
        let end = attempt_after(path, who, way, self.before, drain, |fds| (self.act)(&fds))?;
        let seen = world.seen()?;
        Ok((end, if self.goes == Goes::Tells { seen.secrets } else { seen.packets }))
    }

    /// What is wrong, if anything; nothing at all if this kernel has no such thing.
    fn judge(&self, stage: &Stage, world: &World, who: Who, way: Way) -> Result<Option<Vec<String>>> {
        let worked = |end: &End, seen: usize| {
            *end == End::Did && (seen > 0 || !matches!(self.goes, Goes::Leaves | Goes::Tells))
        };
        let (mut end, mut seen) = self.arm(None, world, who, way)?;
        if self.optional && matches!(end, End::Errno(_)) {
            return Ok(None);
        }
        // A road that is a race is not won each time.
        for _ in 0..RACES {
            if !worked(&end, seen) {
                (end, seen) = self.arm(None, world, who, way)?;
            }
        }
        let mut wrong = Vec::new();
        if !worked(&end, seen) {
            wrong.push(format!("the control outside ended with {end:?}, {seen} packets seen"));
        }
        let wanted = if self.goes == Goes::Stays { End::Did } else { REFUSED };
        let (end, seen) = self.arm(Some(stage), world, who, way)?;
        if end != wanted || seen != 0 {
            wrong.push(format!("inside it ended with {end:?}, {seen} packets seen"));
        }
        Ok(Some(wrong))
    }
}

/// Tries every road. All that is wrong is printed.
fn try_all(roads: &[Road]) -> Result<()> {
    try_them(&Stage::set()?, &World::set()?, roads)
}

fn try_them(stage: &Stage, world: &World, roads: &[Road]) -> Result<()> {
    let (mut bad, mut tried) = (Vec::new(), 0);
    for (n, road) in roads.iter().filter(|road| kernel_is_at_least(road.since)).enumerate() {
        for who in road.who {
            let way = Way::ALL[(n + usize::from(*who == Who::Root)) % Way::ALL.len()];
            let judged = road.judge(stage, world, *who, way);
            let wrong = judged.unwrap_or_else(|error| Some(vec![format!("{error:#}")]));
            let Some(wrong) = wrong else { continue };
            tried += 1;
            for wrong in &wrong {
                println!("{}, as {who:?}, {way:?}: {wrong}", road.says);
            }
            if !wrong.is_empty() {
                bad.push(format!("{} ({who:?})", road.says));
            }
        }
    }
    world::some(tried)?;
    if !bad.is_empty() {
        bail!("{} of {tried} wrong: {}", bad.len(), bad.join("; "));
    }
    Ok(())
}
