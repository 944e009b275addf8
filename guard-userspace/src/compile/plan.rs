//! Everything the kernel is told, and everything the daemon needs to render what the kernel says.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use guard_common::abi::CAPS_KEPT;
use guard_common::limits::{ARENA_WORDS, DOMAINS, POLICIES_PER_DOMAIN};
use guard_common::table::{self, DomainFlags, domain};
use sha2::{Digest, Sha256};

use super::automaton::{Full, Memo, Packer};
use super::cgroups::{Cgroups, UNIONS_TRIED};
use super::domains::{self, Domain, Domains, Warning};
use super::joins::Joins;
use super::section::Naming;
use super::unit::{Answers, Unit};
use super::{Error, IdMap, easy};
use crate::policy::model::{AuditAllows, AuditArgv, OnLoss, Opened, Policy, SECTIONS};

/// The exact contents of the policy map, and what they mean.
#[derive(Clone)]
pub struct Plan {
    /// [`ARENA_WORDS`] words, laid out as `guard_common::table` says.
    pub arena: Vec<u64>,
    pub generation: u64,
    /// In ascending order of ids.
    pub domains: Vec<Domain>,
    /// Every policy and profile; an id in the arena is an index here.
    pub units: Vec<Unit>,
    /// To be given to the next compilation.
    pub ids: IdMap,
    pub warnings: Vec<Warning>,
    /// SHA-256 over the policies' texts, by name.
    pub sha256: [u8; 32],
    /// How many words of the arena are in use.
    pub used: usize,
}

/// Without the arena: half a million numbers hide everything else.
impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { arena: _, generation, domains, units, ids, warnings, sha256, used } = self;
        f.debug_struct("Plan")
            .field("generation", generation)
            .field("domains", domains)
            .field("units", &units.iter().map(Unit::name).collect::<Vec<_>>())
            .field("ids", ids)
            .field("warnings", warnings)
            .field("sha256", sha256)
            .field("used", used)
            .finish_non_exhaustive()
    }
}

impl Plan {
    pub fn domain(&self, id: u32) -> Option<&Domain> {
        self.domains.iter().find(|domain| domain.id == id)
    }

    /// The n-th unit joined in a domain, as a decision numbers it.
    pub fn unit(&self, domain: u32, n: u8) -> Option<&Unit> {
        let unit = *self.domain(domain)?.units.get(usize::from(n))?;
        self.units.get(unit as usize)
    }

    /// The domain of a cgroup path; 0 is none.
    pub fn domain_of(&self, cgroup: &[u8]) -> u32 {
        let words = self.arena.as_slice();
        let mut state = self.arena.get(table::AT_CGROUPS as usize).copied().unwrap_or(0) as u32;
        let mut domain = 0;
        for (at, &byte) in cgroup.iter().enumerate() {
            state = table::step(words, state, byte);
            if cgroup.get(at + 1).is_none_or(|&next| next == b'/') {
                domain = table::enter(words, domain, table::answer(words, state));
            }
        }
        domain
    }

    /// What the joined units are called, as [`IdMap`] knows the domain.
    pub fn names(&self, domain: &Domain) -> Vec<String> {
        domains::names(&self.units, &domain.units)
    }
}

/// What one compilation is made of.
#[derive(Debug)]
pub(super) struct Builder {
    units: Vec<Unit>,
    cgroups: Option<Cgroups>,
    joins: Joins,
    domains: Domains,
    ids: IdMap,
    generation: u64,
}

impl Builder {
    /// All loaded policies, each where its selectors say.
    pub(super) fn loaded(policies: &[Arc<Policy>], previous: &IdMap, generation: u64) -> Result<Self, Error> {
        let mut sorted: Vec<&Arc<Policy>> = policies.iter().collect();
        sorted.sort_by(|a, b| a.name.value.cmp(&b.name.value));
        if let Some(same) = sorted.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(Error::Duplicate { policy: same[0].name.value.clone() });
        }
        let (candidates, active): (Vec<_>, Vec<_>) =
            sorted.into_iter().partition(|policy| policy.candidate_for.is_some());
        let mut units = units(&active);
        let mut candidate_of = vec![Vec::new(); active.len()];
        for policy in candidates {
            let target = policy.candidate_for.as_ref().map_or("", |name| name.value.as_str());
            let of = active.iter().position(|active| active.name.value == target).ok_or_else(|| {
                Error::UnknownCandidate { candidate: policy.name.value.clone(), policy: target.to_owned() }
            })?;
            candidate_of[of].push(units.len() as u32);
            units.push(Unit { candidate: true, ..Unit::new(policy, None, true) });
        }
        let cgroups = Cgroups::new(&active.iter().map(|policy| policy.as_ref()).collect::<Vec<_>>())?;
        let joined = |set: &[u32]| -> Vec<u32> {
            let candidates = set.iter().flat_map(|&policy| &candidate_of[policy as usize]);
            set.iter().chain(candidates).copied().collect()
        };
        if let Some(crowd) = cgroups.sets.iter().position(|set| joined(set).len() > POLICIES_PER_DOMAIN) {
            let set = joined(&cgroups.sets[crowd]);
            return Err(Error::Crowded {
                policies: set.iter().map(|&unit| units[unit as usize].name()).collect(),
                cgroup: cgroups.example(crowd),
                most: POLICIES_PER_DOMAIN,
            });
        }
        let mut last = None;
        for most in UNIONS_TRIED {
            let nested = cgroups.nested(most, |set| joined(set).len() <= POLICIES_PER_DOMAIN);
            let sets: Vec<Vec<u32>> = nested.sets.iter().map(|set| joined(set)).collect();
            let mut ids = previous.clone();
            let built = Domains::new(&units, &sets, &mut ids)
                .and_then(|domains| Ok((Joins::new(&nested, &domains, &mut ids)?, domains)));
            match built {
                Ok((joins, domains)) => {
                    return Ok(Self { units, cgroups: Some(cgroups), joins, domains, ids, generation });
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(Error::Domains { most: DOMAINS as usize - 1 }))
    }

    /// One policy for itself, wherever it applies and in force whatever its mode: what its author asks about.
    pub(super) fn alone(policy: &Arc<Policy>) -> Result<Self, Error> {
        let mut units = units(&[policy]);
        units.iter_mut().for_each(|unit| unit.shadow = false);
        let profiles = (1..units.len() as u32).map(|profile| vec![0, profile]);
        let sets: Vec<Vec<u32>> = std::iter::once(vec![0]).chain(profiles).collect();
        let mut ids = IdMap::default();
        let domains = Domains::new(&units, &sets, &mut ids)?;
        Ok(Self { units, cgroups: None, joins: Joins::default(), domains, ids, generation: 0 })
    }

    pub(super) fn finish(mut self, memo: &mut Memo) -> Result<Plan, Error> {
        match self.lay_out(Naming::Exact, memo) {
            // Automata that do not tell every rule apart are smaller.
            Err(Error::Arena { .. }) => self.lay_out(Naming::Coarse, memo),
            result => result,
        }
    }

    fn lay_out(&mut self, most: Naming, memo: &mut Memo) -> Result<Plan, Error> {
        let mut answers: Vec<Vec<Answers>> = Vec::new();
        let guarded = self.gateways();
        for unit in &mut self.units {
            unit.budgets.clear();
            // What a candidate would do changes nothing for others.
            let own;
            let guarded = if unit.candidate {
                own = guarded.iter().copied().chain(unit.gateways()).collect();
                &own
            } else {
                &guarded
            };
            let row = SECTIONS.iter().map(|&action| unit.answers(action, most, guarded, memo));
            answers.push(row.collect::<Result<_, _>>()?);
        }
        let sha256 = self.sha256();
        let mut front = self.front(&sha256);
        self.joins.lay_out(&mut front);
        let tables = self.tables(&mut front);
        let full = |Full| Error::Arena { words: ARENA_WORDS as usize };
        let mut packer = Packer::new(front).map_err(full)?;
        let mut starts: Vec<Vec<(u64, u64)>> = Vec::new();
        for unit in answers {
            let mut row = Vec::new();
            for Answers { built, default } in unit {
                let mut start = 0;
                if let Some(built) = built {
                    start = u64::from(packer.add(built.first).map_err(full)?);
                    if let Some(second) = built.second {
                        start |= u64::from(packer.add(second).map_err(full)?) << 32;
                    }
                }
                row.push((start, u64::from(default.0)));
            }
            starts.push(row);
        }
        let cgroups = match &self.cgroups {
            Some(cgroups) => packer.add(Arc::clone(&cgroups.dfa)).map_err(full)?,
            None => table::DEAD,
        };
        let used = packer.used();
        let mut arena = packer.finish();
        arena[table::AT_CGROUPS as usize] = u64::from(cgroups);
        for domain in &self.domains.list {
            self.describe(domain, &starts, &tables, &mut arena);
            if !domain.left {
                let units = domain.units.iter().map(|&unit| &self.units[unit as usize]);
                easy::list(domain.id, units, tables.easy_of(domain.id), &mut arena);
            }
        }
        let mut domains = self.domains.list.clone();
        domains.sort_by_key(|domain| domain.id);
        Ok(Plan {
            arena,
            generation: self.generation,
            domains,
            units: self.units.clone(),
            ids: self.ids.clone(),
            warnings: self.domains.warnings.clone(),
            sha256,
            used,
        })
    }

    /// All that tasks of a domain are sent to, whichever domain that is: whoever else took such an address would have what they
    /// send.
    fn gateways(&self) -> BTreeSet<SocketAddr> {
        let units = self.units.iter().filter(|unit| !unit.candidate);
        units.flat_map(Unit::gateways).collect()
    }

    fn sha256(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for unit in self.units.iter().filter(|unit| unit.profile.is_none()) {
            let text = &unit.policy.source.text;
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        hash.finalize().into()
    }

    /// The dead state's row, the header, and room for the descriptors.
    fn front(&self, sha256: &[u8; 32]) -> Vec<u64> {
        let domains = self.domains.list.iter().map(|domain| domain.id);
        let count = domains.chain(self.joins.crowded).max().map_or(1, |last| last + 1);
        let mut front = vec![0; table::domain_at(count) as usize];
        front[table::AT_MAGIC as usize] = table::MAGIC;
        front[table::AT_GENERATION as usize] = self.generation;
        front[table::AT_DOMAINS as usize] = u64::from(count);
        for (index, bytes) in sha256.chunks_exact(8).enumerate() {
            let word = bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
            front[table::AT_SHA256 as usize + index] = word;
        }
        front
    }

    /// Appends the rows of budgets and profiles.
    fn tables(&self, front: &mut Vec<u64>) -> Tables {
        let mut tables = Tables::default();
        for unit in &self.units {
            // Numbers begin at 1, so the row is said to begin one entry earlier.
            tables.budgets.push(front.len() as u64 - u64::from(table::BUDGET_WORDS));
            for budget in &unit.budgets {
                front.extend([budget.interval, budget.burst, budget.window, budget.rule]);
            }
        }
        for domain in &self.domains.list {
            let mut rows = Vec::new();
            for sandboxes in &domain.sandboxes {
                let Some(&(last, _)) = sandboxes.last() else {
                    rows.push(0);
                    continue;
                };
                let row = front.len() - 1;
                rows.push(row as u64);
                front.resize(row + 1 + usize::from(last), 0);
                for &(number, id) in sandboxes {
                    front[row + usize::from(number)] = u64::from(id);
                }
            }
            tables.profiles.push((domain.id, rows));
            tables.easy.push((domain.id, front.len()));
            front.resize(front.len() + table::EASY * table::KEY_WORDS, 0);
        }
        tables
    }

    fn describe(&self, plan: &Domain, starts: &[Vec<(u64, u64)>], tables: &Tables, arena: &mut [u64]) {
        let at = table::domain_at(plan.id) as usize;
        if plan.left {
            let policies = (plan.units.len() as u64) << DomainFlags::POLICIES_SHIFT;
            arena[at + domain::FLAGS as usize] = DomainFlags::LEFT | policies;
            for (n, &unit) in plan.units.iter().enumerate() {
                arena[at + domain::POLICIES as usize + n] = u64::from(unit);
            }
            return;
        }
        let facts = self.facts(plan);
        arena[at + domain::FLAGS as usize] = facts.flags;
        arena[at + domain::BOUNDARY as usize] = facts.boundary;
        arena[at + domain::CAPS as usize] = facts.caps;
        arena[at + domain::BYTES_OUT as usize] = facts.bytes_out;
        let profiles = tables.profiles.iter().find(|(id, _)| *id == plan.id).map(|(_, rows)| rows);
        for (n, &unit) in plan.units.iter().enumerate() {
            let flags = if self.units[unit as usize].shadow { table::POLICY_SHADOW } else { 0 };
            arena[at + domain::POLICIES as usize + n] = u64::from(flags) << 32 | u64::from(unit);
            arena[at + domain::PROFILES as usize + n] = profiles.map_or(0, |rows| rows[n]);
            arena[at + domain::BUDGETS as usize + n] = tables.budgets[unit as usize];
            for (action, &(start, default)) in SECTIONS.iter().zip(&starts[unit as usize]) {
                let at = table::starts_at(plan.id, *action, n as u32) as usize;
                arena[at] = start;
                arena[at + 1] = default;
            }
        }
    }

    fn facts(&self, plan: &Domain) -> Facts {
        let joined = plan.units.iter().map(|&unit| &self.units[unit as usize]);
        let active: Vec<&Unit> = joined.filter(|unit| !unit.candidate).collect();
        let enforced: Vec<&Unit> = active.iter().copied().filter(|unit| !unit.shadow).collect();
        // A policy in shadow takes nothing away from those in force.
        let speaking = if enforced.is_empty() { &active } else { &enforced };
        let mut facts = Facts { flags: DomainFlags::LIVE, boundary: u64::MAX, caps: u64::MAX, bytes_out: 0 };
        for policy in speaking.iter().map(|unit| &unit.policy) {
            let (mut items, mut caps) = (0, 0);
            for opened in &policy.boundary.allow {
                match opened.value {
                    Opened::Item(item) => items |= item.bit(),
                    Opened::Capability(capability) => caps |= capability.bit(),
                }
            }
            facts.boundary &= items;
            facts.caps &= caps;
            if let Some(most) = &policy.limits.max_bytes_out {
                // 0 means "no limit" in the arena; a policy that says 0 lets not even a byte out.
                let most = most.value.max(1);
                facts.bytes_out = if facts.bytes_out == 0 { most } else { facts.bytes_out.min(most) };
            }
        }
        facts.caps |= CAPS_KEPT;
        let mut set = |flag: u64, on: bool| facts.flags |= if on { flag } else { 0 };
        set(DomainFlags::SHADOW, enforced.is_empty());
        let all = |test: &dyn Fn(&Policy) -> bool| active.iter().all(|unit| test(&unit.policy));
        set(DomainFlags::ALLOWS_EVERY, !all(&|policy| policy.audit.allows != AuditAllows::Every));
        set(DomainFlags::ALLOWS_NONE, all(&|policy| policy.audit.allows == AuditAllows::None));
        set(DomainFlags::LOSS_ALLOWS, all(&|policy| policy.audit.on_loss == OnLoss::Allow));
        set(DomainFlags::ARGV_TEXT, !all(&|policy| policy.audit.argv != AuditArgv::Text));
        facts.flags |= (plan.units.len() as u64) << DomainFlags::POLICIES_SHIFT;
        facts
    }
}

/// Where the rows of each unit, and of each unit in each domain, begin.
#[derive(Debug, Default)]
struct Tables {
    budgets: Vec<u64>,
    profiles: Vec<(u32, Vec<u64>)>,
    /// By domain.
    easy: Vec<(u32, usize)>,
}

impl Tables {
    /// Where the domain's easy peers are listed.
    fn easy_of(&self, domain: u32) -> Option<usize> {
        self.easy.iter().find(|(id, _)| *id == domain).map(|&(_, row)| row)
    }
}

#[derive(Debug)]
struct Facts {
    flags: u64,
    boundary: u64,
    caps: u64,
    bytes_out: u64,
}

/// Policies in the order given, then their profiles.
fn units(policies: &[&Arc<Policy>]) -> Vec<Unit> {
    let own = policies.iter().map(|policy| Unit::new(policy, None, Unit::shadow_by_mode(policy)));
    let profiles = policies.iter().flat_map(|policy| {
        (0..policy.profiles.len())
            .map(|profile| Unit::new(policy, Some(profile), Unit::shadow_by_mode(policy)))
    });
    own.chain(profiles).collect()
}
