//! What `tests:` and `guard policy explain` ask.

use std::net::SocketAddr;

use super::{Action, Proto};

/// Something a task tries, as `tests:` and `guard policy explain` write it. Paths are resolved, absolute, raw bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Request {
    /// `argv[0]` included, as the kernel sees it.
    Exec {
        path: Vec<u8>,
        argv: Vec<Vec<u8>>,
    },
    Load(Vec<u8>),
    Connect {
        to: SocketAddr,
        proto: Proto,
    },
    /// A unix socket: a path, or `@name`.
    ConnectUnix(Vec<u8>),
    Listen {
        port: u16,
        proto: Proto,
    },
    Write(Vec<u8>),
    Read(Vec<u8>),
}

impl Request {
    pub const fn action(&self) -> Action {
        match self {
            Self::Exec { .. } => Action::Exec,
            Self::Load(_) => Action::Load,
            Self::Connect { .. } | Self::ConnectUnix(_) => Action::Connect,
            Self::Listen { .. } => Action::Listen,
            Self::Write(_) => Action::Write,
            Self::Read(_) => Action::Read,
        }
    }
}

/// As `tests:` and the command line write it.
impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let proto = |proto: &Proto| if *proto == Proto::Udp { "udp" } else { "tcp" };
        match self {
            Self::Exec { path, argv } => {
                write!(f, "{}", String::from_utf8_lossy(path).escape_debug())?;
                argv.iter()
                    .skip(1)
                    .try_for_each(|arg| write!(f, " {}", String::from_utf8_lossy(arg).escape_debug()))
            }
            Self::Load(path) | Self::ConnectUnix(path) | Self::Write(path) | Self::Read(path) => {
                write!(f, "{}", String::from_utf8_lossy(path).escape_debug())
            }
            Self::Connect { to, proto: with } => write!(f, "{to}/{}", proto(with)),
            Self::Listen { port, proto: with } => write!(f, "{port}/{}", proto(with)),
        }
    }
}
