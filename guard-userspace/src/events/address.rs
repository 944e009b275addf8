//! The address keys of `guard_common::key`, as people write addresses.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use guard_common::key;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// The protocol of a key. A number without a name is written as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol(pub u8);

/// Peer or local address of a connect or listen event: `10.1.2.3:443/tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub address: SocketAddr,
    pub protocol: Protocol,
}

impl Peer {
    /// Reads a key; `None` for bytes that are none.
    pub fn from_key(bytes: &[u8]) -> Option<Self> {
        let (address, rest): (IpAddr, &[u8]) = match *bytes {
            [key::V4, a, b, c, d, ref rest @ ..] => ([a, b, c, d].into(), rest),
            [key::V6, ref rest @ ..] => {
                let (address, rest) = rest.split_first_chunk::<16>()?;
                ((*address).into(), rest)
            }
            _ => return None,
        };
        let &[protocol, high, low] = rest else { return None };
        let address = SocketAddr::new(address, u16::from_be_bytes([high, low]));
        Some(Self { address, protocol: Protocol(protocol) })
    }

    /// The key, for the automata.
    pub fn to_key(self) -> Vec<u8> {
        let port = self.address.port();
        match self.address.ip().to_canonical() {
            IpAddr::V4(ip) => key::v4(ip.octets(), self.protocol.0, port).to_vec(),
            IpAddr::V6(ip) => key::v6(ip.octets(), self.protocol.0, port).to_vec(),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.address)?;
        match self.protocol.0 {
            TCP => f.write_str("tcp"),
            UDP => f.write_str("udp"),
            other => write!(f, "{other}"),
        }
    }
}

/// Not `address:port/protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address, a port and a protocol")]
pub struct NoPeer;

impl FromStr for Peer {
    type Err = NoPeer;

    fn from_str(text: &str) -> Result<Self, NoPeer> {
        let (address, protocol) = text.rsplit_once('/').ok_or(NoPeer)?;
        let protocol = match protocol {
            "tcp" => TCP,
            "udp" => UDP,
            other => other.parse().map_err(|_| NoPeer)?,
        };
        Ok(Self { address: address.parse().map_err(|_| NoPeer)?, protocol: Protocol(protocol) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_texts_are_the_same_peer() {
        for text in ["10.1.2.3:443/tcp", "[2001:db8::1]:53/udp", "0.0.0.0:0/132"] {
            let peer: Peer = text.parse().unwrap();
            assert_eq!(peer.to_string(), text);
            assert_eq!(Peer::from_key(&peer.to_key()), Some(peer));
        }
    }

    #[test]
    fn a_path_is_no_peer() {
        assert_eq!(Peer::from_key(b"/run/nscd/socket"), None);
        assert_eq!(Peer::from_key(&[4, 1, 2]), None);
        assert!("/etc/passwd".parse::<Peer>().is_err());
    }
}
