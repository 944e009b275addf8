//! What the daemon is told by signals.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{DaemonError, doing};

pub(super) struct Signals {
    pub(super) terminate: Signal,
    pub(super) interrupt: Signal,
    pub(super) hangup: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, DaemonError> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(doing("wait for SIGTERM"))?,
            interrupt: signal(SignalKind::interrupt()).map_err(doing("wait for SIGINT"))?,
            hangup: signal(SignalKind::hangup()).map_err(doing("wait for SIGHUP"))?,
        })
    }
}
