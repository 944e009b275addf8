//! Which sockets are connected to a model's API: names from the host's list and its name server, sockets from procfs.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use procfs::process::Process;

/// Where models are spoken with.
const NAMES: &[&str] = &[
    "api.anthropic.com",
    "api.cohere.com",
    "api.deepseek.com",
    "api.groq.com",
    "api.mistral.ai",
    "api.openai.com",
    "api.x.ai",
    "generativelanguage.googleapis.com",
    "openrouter.ai",
];

/// A model server on this host.
const LOCAL: &[(u16, &str)] = &[(11434, "a local model (Ollama's port)")];

const PATIENCE: Duration = Duration::from_secs(2);

/// Addresses of models' APIs, with the name of each.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    addresses: HashMap<IpAddr, String>,
}

impl Endpoints {
    /// From `/etc/hosts` alone: nothing is sent.
    pub fn from_hosts() -> Self {
        let list = fs::read_to_string("/etc/hosts").unwrap_or_default();
        Self { addresses: hosts(&list) }
    }

    /// From `/etc/hosts`, and for names that are not there from the host's first name server.
    pub fn resolve() -> Self {
        let mut known = Self::from_hosts();
        let servers = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let server = servers
            .lines()
            .filter_map(|line| line.strip_prefix("nameserver"))
            .find_map(|rest| rest.trim().parse::<IpAddr>().ok());
        let Some(server) = server else { return known };
        let missing = NAMES.iter().filter(|name| !known.addresses.values().any(|have| have == *name));
        let mut found = HashMap::new();
        for name in missing.copied().collect::<Vec<_>>() {
            for kind in [A, AAAA] {
                match ask(server, name, kind) {
                    Ok(addresses) => found.extend(addresses.into_iter().map(|at| (at, name.to_owned()))),
                    // One that does not answer would not answer the others either.
                    Err(_) => {
                        known.addresses.extend(found);
                        return known;
                    }
                }
            }
        }
        known.addresses.extend(found);
        known
    }

    fn name(&self, to: SocketAddr) -> Option<String> {
        let address = to.ip().to_canonical();
        if address.is_loopback()
            && let Some((_, name)) = LOCAL.iter().find(|(port, _)| *port == to.port())
        {
            return Some((*name).to_owned());
        }
        self.addresses.get(&address).cloned()
    }
}

fn hosts(list: &str) -> HashMap<IpAddr, String> {
    let mut addresses = HashMap::new();
    for line in list.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else { continue };
        if let Some(name) = words.find(|name| NAMES.contains(name)) {
            addresses.insert(address, name.to_owned());
        }
    }
    addresses
}

const A: u16 = 1;
const AAAA: u16 = 28;

/// One question to a name server (RFC 1035).
fn ask(server: IpAddr, name: &str, kind: u16) -> io::Result<Vec<IpAddr>> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect((server, 53))?;
    let mut question = vec![0x67, 0x75, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(label.len() as u8);
        question.extend(label.as_bytes());
    }
    question.push(0);
    question.extend(kind.to_be_bytes());
    question.extend([0, 1]);
    socket.send(&question)?;
    let mut answer = [0; 1500];
    let length = socket.recv(&mut answer)?;
    read_answer(&answer[..length], question.len()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The addresses of an answer whose question has so many bytes with its head.
fn read_answer(bytes: &[u8], question: usize) -> Option<Vec<IpAddr>> {
    let number = |at: usize| Some(usize::from(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?])));
    let count = number(6)?;
    let mut at = question;
    let mut found = Vec::new();
    for _ in 0..count {
        // A name: labels, or a pointer to some.
        while *bytes.get(at)? != 0 && bytes[at] & 0xc0 == 0 {
            at += usize::from(bytes[at]) + 1;
        }
        at += if bytes[at] == 0 { 1 } else { 2 };
        let length = number(at + 8)?;
        let data = bytes.get(at + 10..at + 10 + length)?;
        match number(at)? as u16 {
            A => found.push(<[u8; 4]>::try_from(data).ok()?.into()),
            AAAA => found.push(<[u8; 16]>::try_from(data).ok()?.into()),
            _ => {}
        }
        at += 10 + length;
    }
    Some(found)
}

/// Sockets that speak with a model's API, by network namespace.
#[derive(Debug, Default)]
pub(super) struct Networks {
    known: HashMap<u64, HashMap<u64, String>>,
}

impl Networks {
    /// Inode of each such socket in the process's network namespace, with what it speaks with.
    pub(super) fn speaking(&mut self, process: &Process, endpoints: &Endpoints) -> &HashMap<u64, String> {
        use std::os::unix::fs::MetadataExt as _;
        let namespace = fs::metadata(format!("/proc/{}/ns/net", process.pid)).map_or(0, |facts| facts.ino());
        self.known.entry(namespace).or_insert_with(|| {
            let all = process.tcp().into_iter().chain(process.tcp6()).flatten();
            all.filter(|entry| entry.state == procfs::net::TcpState::Established)
                .filter_map(|entry| Some((entry.inode, endpoints.name(entry.remote_address)?)))
                .collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_list_are_read_from_hosts() {
        let list = "127.0.0.1 localhost\n10.9.9.9 x api.openai.com # y\nbroken api.x.ai\n";
        assert_eq!(hosts(list), [(IpAddr::from([10, 9, 9, 9]), "api.openai.com".to_owned())].into());
    }

    #[test]
    fn an_answer_gives_its_addresses_and_a_torn_one_nothing() {
        let mut answer = vec![0x67, 0x75, 0x81, 0x80, 0, 1, 0, 2, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1];
        let question = answer.len();
        answer.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 2, 0xc0, 12]);
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 1, 2, 3]);
        assert_eq!(read_answer(&answer, question), Some(vec![IpAddr::from([10, 1, 2, 3])]));
        for length in question..answer.len() {
            assert_eq!(read_answer(&answer[..length], question), None, "{length}");
        }
    }

    #[test]
    fn only_known_addresses_have_a_name() {
        let endpoints = Endpoints { addresses: hosts("10.9.9.9 api.x.ai") };
        let name = |to: &str| endpoints.name(to.parse().unwrap());
        assert_eq!(name("10.9.9.9:443").as_deref(), Some("api.x.ai"));
        assert_eq!(name("[::ffff:10.9.9.9]:443").as_deref(), Some("api.x.ai"));
        assert_eq!(name("10.9.9.8:443"), None);
        assert!(name("127.0.0.1:11434").is_some());
    }
}
