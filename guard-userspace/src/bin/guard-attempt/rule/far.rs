//! The far end of a request, outside: what arrives here, or changes, has gone through.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::{Asked, family};
use crate::net::{bind, listen, socket};
use crate::sys::{Arg, call, v4, v6};

/// What is in a file before.
pub(super) const BEFORE: &[u8] = b"before\n";

pub(super) enum Far {
    /// Nothing to see but how the call ended.
    Nothing,
    File(PathBuf),
    Stream(OwnedFd),
    Datagram(OwnedFd),
}

impl Far {
    pub(super) fn of(asked: &Asked) -> io::Result<Self> {
        Ok(match asked {
            Asked::Exec(..) | Asked::Load(_) | Asked::Read(_) | Asked::Listen(..) => Self::Nothing,
            Asked::Write(path) => Self::File(path.clone()),
            Asked::Connect(to, kind) => {
                // The port, whatever the address.
                let port = u16::from_be_bytes([to[2], to[3]]);
                let here = if family(to) == libc::AF_INET6 { v6([0; 16], port) } else { v4([0; 4], port) };
                let socket = socket(family(to), *kind | libc::SOCK_NONBLOCK, 0)?;
                bind(&socket, &here)?;
                if *kind == libc::SOCK_STREAM {
                    listen(&socket)?;
                    Self::Stream(socket)
                } else {
                    Self::Datagram(socket)
                }
            }
            Asked::Unix(name) => {
                let socket = socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
                bind(&socket, name)?;
                listen(&socket)?;
                Self::Stream(socket)
            }
        })
    }

    pub(super) fn effect(&mut self) -> bool {
        match self {
            Self::Nothing => false,
            Self::File(path) => fs::read(path).map_or(true, |now| now != BEFORE),
            Self::Stream(socket) => {
                call(libc::SYS_accept4, &mut [(&*socket).into(), Arg::Num(0), Arg::Num(0), Arg::Num(0)])
                    .is_ok()
            }
            Self::Datagram(socket) => {
                let mut bytes = [0u8; 64];
                let into = bytes.as_mut_slice().into();
                call(libc::SYS_read, &mut [(&*socket).into(), into, 64.into()]).is_ok()
            }
        }
    }
}
