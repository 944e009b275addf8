//! Events from the kernel's ring.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use aya::maps::{MapData, RingBuf};
use tokio::io::unix::AsyncFd;

use super::{DaemonError, doing};
use crate::compile::Plan;
use crate::kernel::Kernel;
use crate::sys;

/// The ring, and where its events go.
pub struct Reader {
    /// The ring's descriptor once more: the ring itself is not one that tokio can wait on.
    wait: AsyncFd<OwnedFd>,
    ring: RingBuf<MapData>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    pub(super) fn open(kernel: &Kernel, _state: &Path) -> Result<Self, DaemonError> {
        let ring = kernel.events().map_err(doing("open the event ring"))?;
        let wait = ring
            .as_fd()
            .try_clone_to_owned()
            .and_then(sys::wait_on)
            .map_err(doing("wait for the event ring"))?;
        Ok(Self { wait, ring })
    }

    /// Waits until there is something to read.
    pub(super) async fn readable(&self) -> Result<(), DaemonError> {
        let mut ready = self.wait.readable().await.map_err(doing("wait for the event ring"))?;
        ready.clear_ready();
        Ok(())
    }

    /// Takes everything out of the ring.
    pub(super) fn drain(&mut self, _plan: &Plan) -> Result<(), DaemonError> {
        while let Some(item) = self.ring.next() {
            tracing::debug!(len = item.len(), "event");
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<(), DaemonError> {
        Ok(())
    }
}
