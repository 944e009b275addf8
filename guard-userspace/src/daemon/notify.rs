//! systemd's notification protocol: a datagram with a few words (`sd_notify(3)`).

use std::env;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The service is up.
pub(super) fn ready() {
    tell("READY=1\nSTATUS=enforcing");
}

/// The service is alive.
pub(super) fn alive() {
    tell("WATCHDOG=1");
}

/// Nobody to tell, or nobody who listens, is no reason to stop enforcing.
fn tell(words: &str) {
    let Some(name) = env::var_os("NOTIFY_SOCKET") else { return };
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&name),
    };
    if let (Ok(address), Ok(socket)) = (address, UnixDatagram::unbound()) {
        let _ = socket.send_to_addr(words.as_bytes(), &address);
    }
}
