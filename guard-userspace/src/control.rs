//! The control socket: how the commands speak with the daemon.
//!
//! A client sends a line of JSON and gets a line back ([`wire`]), as often as it likes ([`client`]). The daemon reads
//! bounded lines from a bounded number of clients and answers in its own loop ([`server`]): whoever asks sees one state
//! of things. Who may ask: root and the group of the socket; never a task inside a domain, whatever its uid.
#![forbid(unsafe_code)]

mod client;
mod peer;
mod server;
mod wire;

pub use client::{Client, ControlError};
pub use peer::Peer;
pub use server::{Call, Server};
pub(crate) use wire::is_uuid;
pub use wire::{
    Act, Acted, DomainView, DrillResult, Greeting, LONGEST, Overview, Refusal, Request, Run, SessionView,
    Started, VERSION, decode, encode, new_uuid,
};

pub(crate) use wire::Reply;

/// The socket's name in the directory of runtime state.
pub const SOCKET: &str = "control.sock";
