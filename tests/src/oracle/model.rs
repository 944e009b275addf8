//! What a policy says, as the oracle sees it: patterns are text.

use std::net::IpAddr;

use guard_common::abi::{Action, Verdict};

#[derive(Debug, Clone)]
pub struct Document {
    pub name: String,
    pub shadow: bool,
    pub gateway: Vec<(IpAddr, u16)>,
    pub sections: Vec<Section>,
    pub profiles: Vec<Profile>,
}

#[derive(Debug, Clone)]
pub struct Profile {
    pub name: String,
    pub inherit: bool,
    pub gateway: Option<Vec<(IpAddr, u16)>>,
    pub sections: Vec<Section>,
}

#[derive(Debug, Clone)]
pub struct Section {
    pub action: Action,
    pub default: Option<Verdict>,
    pub rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
pub struct Rule {
    pub paths: Vec<String>,
    pub except: Vec<String>,
    pub args: Vec<String>,
    pub unix: Vec<String>,
    pub to: Vec<Target>,
    /// Of a listen rule; their addresses mean nothing.
    pub ports: Vec<Target>,
    pub verdict: Verdict,
    /// Index of the profile a sandbox leads to.
    pub profile: usize,
    pub shadow: bool,
}

/// Addresses, ports and protocol.
#[derive(Debug, Clone)]
pub struct Target {
    /// `None`: every address.
    pub net: Option<(IpAddr, u8)>,
    pub ports: Vec<(u16, u16)>,
    /// The number of the protocol; `None`: any.
    pub proto: Option<u8>,
}

/// What a task tries.
#[derive(Debug, Clone)]
pub enum Attempt {
    Exec { path: Vec<u8>, args: Vec<Vec<u8>> },
    File { action: Action, path: Vec<u8> },
    Unix(Vec<u8>),
    Net { action: Action, address: IpAddr, port: u16, proto: u8 },
}

impl Attempt {
    pub fn action(&self) -> Action {
        match self {
            Self::Exec { .. } => Action::Exec,
            Self::Unix(_) => Action::Connect,
            Self::File { action, .. } | Self::Net { action, .. } => *action,
        }
    }
}
