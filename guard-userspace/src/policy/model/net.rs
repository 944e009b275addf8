//! Addresses and ports as rules name them.

use std::net::IpAddr;

use crate::policy::source::Span;

/// `10.1.0.0/16:443/tcp`: the destinations of a connect rule.
#[derive(Debug, Clone)]
pub struct NetTarget {
    pub span: Span,
    pub text: String,
    pub addr: AddrSet,
    /// Sorted, disjoint, never empty; no port written means one range over all of them.
    pub ports: Vec<PortRange>,
    pub proto: Proto,
}

impl PartialEq for NetTarget {
    fn eq(&self, other: &Self) -> bool {
        self.addr == other.addr && self.ports == other.ports && self.proto == other.proto
    }
}

impl Eq for NetTarget {}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddrSet {
    /// `*`: every IPv4 and every IPv6 address.
    Any,
    Net(Cidr),
}

/// A network. Host bits are zero, and an IPv4-mapped IPv6 network is the IPv4 one, so an IPv6 network here never
/// means a mapped address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    pub addr: IpAddr,
    pub prefix: u8,
}

impl Cidr {
    pub fn contains(self, addr: IpAddr) -> bool {
        match (self.addr, addr.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(addr)) => {
                (u32::from(net) ^ u32::from(addr)).leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(net), IpAddr::V6(addr)) => {
                (u128::from(net) ^ u128::from(addr)).leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// Whether all of `other` is in here.
    pub fn contains_net(self, other: Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.addr)
    }
}

/// Both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

impl PortRange {
    pub const ALL: Self = Self { first: 0, last: u16::MAX };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Proto {
    Tcp,
    Udp,
    #[default]
    Any,
}

/// `8000-8999/tcp`: the local ports of a listen rule.
#[derive(Debug, Clone)]
pub struct PortTarget {
    pub span: Span,
    pub text: String,
    pub ports: Vec<PortRange>,
    pub proto: Proto,
}

impl PartialEq for PortTarget {
    fn eq(&self, other: &Self) -> bool {
        self.ports == other.ports && self.proto == other.proto
    }
}

impl Eq for PortTarget {}
