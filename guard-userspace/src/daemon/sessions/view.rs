//! What `guard ps` shows.

use std::collections::{BTreeMap, HashMap};

use guard_common::abi::Verdict;

use super::super::{Daemon, Reader};
use crate::control::{DomainView, Overview, SessionView};

impl Daemon {
    /// Domains and sessions, with the tasks that the kernel has labelled.
    pub(in super::super) fn overview(&mut self, reader: &mut Reader) -> Overview {
        self.look_at_sessions(reader);
        let (mut by_session, mut by_domain) = (HashMap::<u64, usize>::new(), HashMap::<u32, usize>::new());
        for (_, label) in self.kernel.labels().unwrap_or_default() {
            *by_session.entry(label.session).or_default() += 1;
            *by_domain.entry(label.domain).or_default() += 1;
        }
        let names = |id| self.plan.domain(id).map(|domain| self.plan.names(domain)).unwrap_or_default();
        let sessions: Vec<SessionView> = self
            .sessions
            .live
            .iter()
            .map(|(id, session)| SessionView {
                session: session.session.clone(),
                domain: session.domain,
                policies: names(session.domain),
                cgroup: session.cgroup.clone(),
                principal: session.principal.clone(),
                purpose: session.purpose.clone(),
                trace: session.trace.clone(),
                began: session.began,
                tasks: by_session.get(id).copied().unwrap_or(0),
                verdicts: reader.counts.get(id).map(verdicts).unwrap_or_default(),
            })
            .collect();
        let domains = self
            .plan
            .domains
            .iter()
            .map(|domain| DomainView {
                id: domain.id,
                policies: names(domain.id),
                mode: self.mode(&domain.units),
                sessions: sessions.iter().filter(|session| session.domain == domain.id).count(),
                tasks: by_domain.get(&domain.id).copied().unwrap_or(0),
            })
            .collect();
        Overview { domains, sessions }
    }

    fn mode(&self, units: &[u32]) -> String {
        let units = units.iter().filter_map(|unit| self.plan.units.get(*unit as usize));
        let mut modes: Vec<&str> = units
            .filter(|unit| !unit.candidate)
            .map(|unit| if unit.shadow { "shadow" } else { "enforce" })
            .collect();
        modes.sort_unstable();
        modes.dedup();
        modes.join("+")
    }
}

fn verdicts(counts: &[u64; super::super::reader::VERDICTS]) -> BTreeMap<String, u64> {
    let verdicts = [Verdict::Allow, Verdict::Throttle, Verdict::Sandbox, Verdict::Escalate, Verdict::Block];
    let named = verdicts.into_iter().map(|verdict| (verdict.to_string(), counts[verdict.code() as usize]));
    named.filter(|(_, count)| *count > 0).collect()
}
