//! Do the gateways answer? A gateway that is down lets nothing out, and the agent is told so at once.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Loaded;

/// How often a gateway that answers is asked, and one that does not.
const UP: Duration = Duration::from_secs(5);
const DOWN: Duration = Duration::from_secs(1);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the kernel believes that a gateway is down, if nobody says so again.
pub(super) const BELIEVED: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const ANSWER: usize = 512;

/// What `guard status` says of one gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayState {
    pub address: SocketAddr,
    /// Not known before the first answer.
    pub up: Option<bool>,
    /// Why it counts as down.
    pub why: Option<String>,
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// The policies that name it.
    pub policies: Vec<String>,
}

/// The gateways of all policies.
#[derive(Debug)]
pub(super) struct Gateways {
    known: BTreeMap<SocketAddr, Watched>,
    /// `host:port` to ask each gateway for, if a connection alone is not enough.
    target: Option<String>,
    results: mpsc::Receiver<Answer>,
    tell: mpsc::Sender<Answer>,
}

#[derive(Debug)]
struct Watched {
    state: GatewayState,
    asked: Option<Instant>,
    waiting: bool,
}

/// What came of asking one gateway.
#[derive(Debug)]
pub(super) struct Answer {
    address: SocketAddr,
    outcome: Result<(), String>,
}

/// What the daemon has to do about an answer.
#[derive(Debug)]
pub(super) struct News {
    pub(super) address: SocketAddr,
    pub(super) up: bool,
    /// It was otherwise before, or for another reason.
    pub(super) changed: bool,
    pub(super) why: Option<String>,
}

impl Gateways {
    pub(super) fn new(target: Option<String>) -> Self {
        let (tell, results) = mpsc::channel(64);
        Self { known: BTreeMap::new(), target, results, tell }
    }

    /// Watches the gateways of these policies; gives those that are no longer watched.
    pub(super) fn follow(&mut self, loaded: &Loaded) -> Vec<SocketAddr> {
        let mut named: BTreeMap<SocketAddr, Vec<String>> = BTreeMap::new();
        for policy in &loaded.policies {
            for gateway in policy.gateways() {
                let address = SocketAddr::new(gateway.value.ip().to_canonical(), gateway.value.port());
                let names = named.entry(address).or_default();
                if !names.contains(&policy.name.value) {
                    names.push(policy.name.value.clone());
                }
            }
        }
        let gone: Vec<_> =
            self.known.keys().filter(|address| !named.contains_key(address)).copied().collect();
        self.known.retain(|address, _| named.contains_key(address));
        for (address, policies) in named {
            let state = GatewayState { address, up: None, why: None, since: now(), policies: Vec::new() };
            let watched = self.known.entry(address).or_insert(Watched { state, asked: None, waiting: false });
            watched.state.policies = policies;
        }
        gone
    }

    /// Asks those whose turn it is.
    pub(super) fn ask(&mut self) {
        for watched in self.known.values_mut() {
            let pause = if watched.state.up == Some(false) { DOWN } else { UP };
            if watched.waiting || watched.asked.is_some_and(|asked| asked.elapsed() < pause) {
                continue;
            }
            (watched.asked, watched.waiting) = (Some(Instant::now()), true);
            let (address, target, tell) = (watched.state.address, self.target.clone(), self.tell.clone());
            tokio::spawn(async move {
                let outcome = match timeout(PATIENCE, probe(address, target.as_deref())).await {
                    Ok(outcome) => outcome.map_err(|error| error.to_string()),
                    Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
                };
                // Nobody listens when the daemon ends.
                let _ = tell.send(Answer { address, outcome }).await;
            });
        }
    }

    /// The next answer.
    pub(super) async fn answer(&mut self) -> Answer {
        match self.results.recv().await {
            Some(answer) => answer,
            // Not while `self` holds a sender.
            None => std::future::pending().await,
        }
    }

    /// Takes an answer; none if the gateway is not watched any more.
    pub(super) fn learn(&mut self, answer: Answer) -> Option<News> {
        let watched = self.known.get_mut(&answer.address)?;
        watched.waiting = false;
        let (up, why) = (answer.outcome.is_ok(), answer.outcome.err());
        if watched.state.up != Some(up) {
            watched.state.since = now();
        }
        let changed = watched.state.up != Some(up) || watched.state.why != why;
        (watched.state.up, watched.state.why) = (Some(up), why.clone());
        Some(News { address: answer.address, up, changed, why })
    }

    pub(super) fn states(&self) -> Vec<GatewayState> {
        self.known.values().map(|watched| watched.state.clone()).collect()
    }
}

/// Connects and, if there is a target, asks for a way to it as a client would (CONNECT, RFC 9110 section 9.3.6).
async fn probe(gateway: SocketAddr, target: Option<&str>) -> io::Result<()> {
    let mut stream = TcpStream::connect(gateway).await?;
    let Some(target) = target else { return Ok(()) };
    stream.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    while answer.len() < ANSWER && !answer.contains(&b'\n') {
        let mut part = [0; 128];
        match stream.read(&mut part).await? {
            0 => break,
            length => answer.extend_from_slice(&part[..length]),
        }
    }
    let line = String::from_utf8_lossy(answer.split(|byte| *byte == b'\n').next().unwrap_or_default());
    match line.split(' ').nth(1) {
        Some(code) if line.starts_with("HTTP/1.") && code.starts_with('2') && code.len() == 3 => Ok(()),
        _ => Err(io::Error::other(format!("CONNECT {target} was answered by {:?}", line.trim_end()))),
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn server(answer: &'static [u8]) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 256];
            let _ = stream.read(&mut asked).await;
            let _ = stream.write_all(answer).await;
        });
        address
    }

    #[tokio::test]
    async fn only_a_way_to_the_target_counts_as_an_answer() {
        let target = Some("example.org:443");
        let good = server(b"HTTP/1.1 200 Connection established\r\n\r\n").await;
        probe(good, target).await.unwrap();
        for bad in [&b"HTTP/1.1 403 Forbidden\r\n\r\n"[..], b"HTTP/1.1 2000 x\r\n", b"", b"SSH-2.0-x\r\n"] {
            let refused = probe(server(bad).await, target).await.unwrap_err();
            assert!(refused.to_string().contains("CONNECT example.org:443"), "{refused}");
        }
    }

    #[tokio::test]
    async fn a_connection_alone_is_enough_without_a_target() {
        probe(server(b"").await, None).await.unwrap();
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        probe(closed, None).await.unwrap_err();
    }
}
