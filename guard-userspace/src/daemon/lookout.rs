//! Looks for agents that are outside every domain now and then, and records each that appears.

use std::collections::HashSet;

use tokio::task::JoinHandle;
use tracing::warn;

use super::Reader;
use crate::audit::Value;
use crate::discover::{Endpoints, Sighting, look};
use crate::kernel::Kernel;

/// Looks in a thread of its own, so that the events do not wait.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    looking: Option<JoinHandle<Vec<Sighting>>>,
    /// By process and start: each is recorded once.
    told: HashSet<(u32, u64)>,
}

impl Lookout {
    /// Begins a look, unless one is under way. The host's own list of names is enough here: a daemon that asks a name
    /// server every minute would be a surprise.
    pub(super) fn look(&mut self) {
        if self.looking.is_none() {
            self.looking = Some(tokio::task::spawn_blocking(|| {
                look(&Endpoints::from_hosts(), |_| false).unwrap_or_default()
            }));
        }
    }

    /// What a look found, when it is done.
    pub(super) async fn found(&mut self) -> Vec<Sighting> {
        let Some(looking) = &mut self.looking else { return std::future::pending().await };
        let found = looking.await;
        self.looking = None;
        found.unwrap_or_default()
    }

    /// Records those that are new, outside every domain, and sure.
    pub(super) fn report(&mut self, found: Vec<Sighting>, kernel: &Kernel, reader: &mut Reader) {
        let now: HashSet<(u32, u64)> = found.iter().map(|sighting| (sighting.pid, sighting.start)).collect();
        self.told.retain(|known| now.contains(known));
        for sighting in found.into_iter().filter(Sighting::is_sure) {
            let who = (sighting.pid, sighting.start);
            if self.told.contains(&who) || kernel.label(sighting.pid).is_some() {
                continue;
            }
            self.told.insert(who);
            let signs: Vec<String> = sighting.signs.iter().map(ToString::to_string).collect();
            warn!(
                pid = sighting.pid,
                exe = sighting.exe,
                "an agent outside every domain: {}",
                signs.join(", ")
            );
            reader.note(
                "agent-outside",
                vec![
                    ("pid", Value::Number(u64::from(sighting.pid))),
                    ("uid", Value::Number(u64::from(sighting.uid))),
                    ("exe", Value::Name(sighting.exe.into_bytes())),
                    ("cgroup", Value::Name(sighting.cgroup.into_bytes())),
                    ("signs", Value::Text(signs.join(", "))),
                ],
            );
        }
    }
}
