//! Sessions: one life of one agent each. A session is the topmost governed cgroup of a tree: a unit's, a
//! container's, or one that `guard run` asked for. The kernel knows it by the cgroup's id; who it acts for is known
//! here, and survives the daemon.

mod limits;
mod scope;
mod start;
mod view;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::{Daemon, Reader, chain, state};
use crate::audit::{Host, Value, Who};
use limits::Limits;

const FILE: &str = "runs.json";

/// How long a session that was asked for may take until its cgroup is there.
const PATIENCE: u64 = 60;

/// One session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    /// UUID.
    pub(super) session: String,
    pub(super) cgroup: String,
    pub(super) domain: u32,
    pub(super) principal: String,
    pub(super) purpose: String,
    pub(super) trace: String,
    /// Seconds since 1970.
    pub(super) began: u64,
    /// Asked for by `guard run`, so that the cgroup is ours to remove.
    pub(super) run: bool,
}

impl Session {
    fn who(&self) -> Who {
        Who {
            session: self.session.clone(),
            principal: self.principal.clone(),
            purpose: self.purpose.clone(),
            trace: self.trace.clone(),
            cgroup: Vec::new(),
        }
    }
}

/// All sessions.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Sessions {
    /// Ids of cgroups mean nothing after another boot.
    boot: String,
    /// By the id of the top cgroup.
    live: BTreeMap<u64, Session>,
    /// Asked for, and not seen yet.
    expected: Vec<Session>,
    #[serde(skip)]
    path: PathBuf,
}

impl Sessions {
    /// What an earlier daemon of this boot knew.
    pub(super) fn read(state: &Path) -> io::Result<Self> {
        let boot = Host::read()?.boot;
        let path = state.join(FILE);
        let known = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Self>(&text).ok());
        let none =
            Self { boot: boot.clone(), live: BTreeMap::new(), expected: Vec::new(), path: PathBuf::new() };
        let known = known.filter(|known| known.boot == boot).unwrap_or(none);
        Ok(Self { path, ..known })
    }

    /// Tells the log who the sessions are.
    pub(super) fn tell(&self, reader: &mut Reader) {
        for (id, session) in &self.live {
            reader.scribe.session(*id, session.who());
        }
        for session in &self.expected {
            reader.scribe.expect(session.cgroup.clone().into_bytes(), session.who());
        }
    }

    /// The cgroup's id and path of a session that lives.
    pub(super) fn find(&self, session: &str) -> Option<(u64, String)> {
        let (id, found) = self.live.iter().find(|(_, known)| known.session == session)?;
        Some((*id, found.cgroup.clone()))
    }

    fn write(&self) {
        if let Err(unwritten) = state::replace(&self.path, self) {
            warn!(error = %chain(&unwritten), "the sessions cannot be written down");
        }
    }
}

impl Sessions {
    /// The UUID of a session that lives, by the kernel's number.
    pub(super) fn name(&self, id: u64) -> Option<String> {
        self.live.get(&id).map(|session| session.session.clone())
    }
}

impl Daemon {
    /// Finds the sessions that have begun or ended since the last look.
    pub(super) fn look_at_sessions(&mut self, reader: &mut Reader) {
        let tops = match self.kernel.session_roots() {
            Ok(tops) => tops,
            Err(error) => return warn!(%error, "the governed cgroups cannot be read"),
        };
        let mut changed = false;
        for (id, domain) in &tops {
            if let Some(known) = self.sessions.live.get_mut(id) {
                known.domain = *domain;
                self.limits_of(*domain).apply(&self.directory(*id));
                continue;
            }
            let path = String::from_utf8_lossy(&reader.scribe.cgroup_path(*id)).into_owned();
            if path.is_empty() {
                continue;
            }
            let asked = self.sessions.expected.iter().position(|session| session.cgroup == path);
            let mut session = match asked {
                Some(at) => self.sessions.expected.remove(at),
                None => Session {
                    session: reader.scribe.uuid(*id),
                    cgroup: path,
                    began: now(),
                    ..Session::default()
                },
            };
            session.domain = *domain;
            reader.scribe.session(*id, session.who());
            info!(session = session.session, cgroup = session.cgroup, "a session begins");
            self.sessions.live.insert(*id, session);
            self.limits_of(*domain).apply(&self.directory(*id));
            changed = true;
        }
        changed |= self.forget_ended(&tops, reader);
        if changed {
            self.sessions.write();
        }
    }

    /// A session ends when its cgroup is gone and no task carries its label any more.
    fn forget_ended(&mut self, tops: &[(u64, u32)], reader: &mut Reader) -> bool {
        let before = self.sessions.expected.len();
        self.sessions.expected.retain(|session| session.began + PATIENCE > now());
        let mut changed = self.sessions.expected.len() != before;
        let gone: Vec<u64> =
            self.sessions.live.keys().copied().filter(|id| !tops.iter().any(|(top, _)| top == id)).collect();
        if gone.is_empty() {
            return changed;
        }
        let labels = self.kernel.labels().unwrap_or_default();
        for id in gone.into_iter().filter(|id| !labels.iter().any(|(_, label)| label.session == *id)) {
            if let Some(session) = self.sessions.live.remove(&id) {
                info!(session = session.session, cgroup = session.cgroup, "a session has ended");
                reader.counts.remove(&id);
                changed = true;
            }
        }
        changed
    }

    /// Kills what has run for longer than its policy lets it.
    pub(super) fn end_overdue(&mut self, reader: &mut Reader) {
        let overdue: Vec<u64> = self
            .sessions
            .live
            .iter()
            .filter(|(_, session)| {
                let most = self.limits_of(session.domain).runtime;
                most.is_some_and(|most| session.began + most.as_secs() <= now())
            })
            .map(|(id, _)| *id)
            .collect();
        for id in overdue {
            let killed = self.kill_session(id);
            if killed == 0 {
                continue;
            }
            if let Some(session) = self.sessions.live.get(&id) {
                warn!(
                    session = session.session,
                    killed, "a session has run for as long as its policy lets it"
                );
                let facts = vec![
                    ("session", Value::Text(session.session.clone())),
                    ("cgroup", Value::Name(session.cgroup.clone().into_bytes())),
                    ("killed", Value::Number(killed as u64)),
                    ("why", Value::Text("max_runtime".to_owned())),
                ];
                reader.note("session-killed", facts);
            }
        }
    }

    /// Where the session's top cgroup is mounted.
    pub(super) fn directory(&self, id: u64) -> PathBuf {
        let path = self.sessions.live.get(&id).map_or("", |session| session.cgroup.as_str());
        // An empty path must not be the root of all cgroups.
        if path.len() < 2 { PathBuf::from("/nonexistent") } else { self.config.cgroups.join(&path[1..]) }
    }

    /// What the joined policies of a domain say together.
    fn limits_of(&self, domain: u32) -> Limits {
        let units = self.plan.domain(domain).map(|domain| domain.units.as_slice()).unwrap_or_default();
        let policies = units.iter().filter_map(|unit| self.plan.units.get(*unit as usize));
        Limits::of(policies.filter(|unit| !unit.candidate).map(|unit| &unit.policy.limits))
    }

    fn facts(&self, session: &Session) -> Vec<(&'static str, Value)> {
        let names =
            self.plan.domain(session.domain).map(|domain| self.plan.names(domain)).unwrap_or_default();
        vec![
            ("session", Value::Text(session.session.clone())),
            ("policies", Value::Text(names.join(" "))),
            ("cgroup", Value::Name(session.cgroup.clone().into_bytes())),
            ("principal", Value::Name(session.principal.clone().into_bytes())),
            ("purpose", Value::Name(session.purpose.clone().into_bytes())),
            ("trace", Value::Text(session.trace.clone())),
        ]
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
