//! Which units are joined where, and where a sandbox leads.

use guard_common::limits::{DOMAINS, POLICIES_PER_DOMAIN};

use super::unit::Unit;
use super::{Error, IdMap};

/// A set of tasks under the same units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    pub id: u32,
    /// The joined units in the order of their answers: policies by name, profiles, candidates.
    pub units: Vec<u32>,
    /// For each joined unit: by profile number the id of the domain that its sandbox leads to.
    pub sandboxes: Vec<Vec<(u8, u32)>>,
    /// A policy of it has gone, and these are the others: nothing is decided here any more.
    pub left: bool,
}

/// Something that is decided otherwise than its author may expect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    #[error(
        "a task under {domain:?} that a rule sandboxes into `{profile}` is blocked instead: no more than \
         {POLICIES_PER_DOMAIN} policies and profiles can be joined"
    )]
    NoRoomForProfile { domain: Vec<String>, profile: String },
}

#[derive(Debug, Default)]
pub(super) struct Domains {
    pub(super) list: Vec<Domain>,
    pub(super) warnings: Vec<Warning>,
}

impl Domains {
    /// The domains of `sets` (of units), and those that sandboxes lead to.
    pub(super) fn new(units: &[Unit], sets: &[Vec<u32>], ids: &mut IdMap) -> Result<Self, Error> {
        let mut this = Self::default();
        for set in sets {
            this.add(units, set.clone(), ids)?;
        }
        let mut at = 0;
        this.lead_all(units, &mut at, ids)?;
        // Tasks may live in a domain that no cgroup has any more, and in a sandbox that no rule leads to. Where a policy
        // of it has gone, what is left says which domains are as tight; of a profile nothing else is.
        for (known, id) in ids.entries() {
            let left: Vec<u32> = known.iter().filter_map(|name| unit_named(units, name)).collect();
            let whole = left.len() == known.len();
            let profiles = known.iter().any(|name| name.contains('/'));
            let there = this.list.iter().any(|domain| domain.id == id);
            if left.is_empty() || left.len() > POLICIES_PER_DOMAIN || profiles && !whole || there {
                continue;
            }
            if whole {
                this.add(units, left, ids)?;
            } else {
                let sandboxes = vec![Vec::new(); left.len()];
                this.list.push(Domain { id, units: left, sandboxes, left: true });
            }
        }
        this.lead_all(units, &mut at, ids)?;
        Ok(this)
    }

    /// Follows the sandboxes of every domain from the index `at` on.
    fn lead_all(&mut self, units: &[Unit], at: &mut usize, ids: &mut IdMap) -> Result<(), Error> {
        while *at < self.list.len() {
            let units_of = if self.list[*at].left { 0 } else { self.list[*at].units.len() };
            for n in 0..units_of {
                self.lead_on(units, *at, n, ids)?;
            }
            *at += 1;
        }
        Ok(())
    }

    /// The index of the domain that joins `set`.
    fn add(&mut self, units: &[Unit], mut set: Vec<u32>, ids: &mut IdMap) -> Result<usize, Error> {
        set.sort_unstable();
        if let Some(index) = self.list.iter().position(|domain| !domain.left && domain.units == set) {
            return Ok(index);
        }
        let id = ids.assign(names(units, &set)).ok_or(Error::Domains { most: DOMAINS as usize - 1 })?;
        let sandboxes = vec![Vec::new(); set.len()];
        self.list.push(Domain { id, units: set, sandboxes, left: false });
        Ok(self.list.len() - 1)
    }

    fn lead_on(&mut self, units: &[Unit], at: usize, n: usize, ids: &mut IdMap) -> Result<(), Error> {
        let from = self.list[at].units.clone();
        let unit = &units[from[n] as usize];
        if unit.candidate || unit.shadow {
            return Ok(());
        }
        for number in unit.sandboxes() {
            let Some(profile) = profile_unit(units, unit, number) else { continue };
            let mut to = from.clone();
            if !to.contains(&profile) {
                to.push(profile);
            }
            if to.len() > POLICIES_PER_DOMAIN {
                let profile = units[profile as usize].name();
                let warning = Warning::NoRoomForProfile { domain: names(units, &from), profile };
                if !self.warnings.contains(&warning) {
                    self.warnings.push(warning);
                }
                continue;
            }
            let index = self.add(units, to, ids)?;
            let id = self.list[index].id;
            self.list[at].sandboxes[n].push((number, id));
        }
        Ok(())
    }
}

/// What a domain is known by: candidates come and go without making it another one.
pub(super) fn names(units: &[Unit], set: &[u32]) -> Vec<String> {
    let mut names: Vec<String> = set
        .iter()
        .map(|&unit| &units[unit as usize])
        .filter(|unit| !unit.candidate)
        .map(Unit::name)
        .collect();
    names.sort_unstable();
    names
}

fn unit_named(units: &[Unit], name: &str) -> Option<u32> {
    units.iter().position(|unit| !unit.candidate && unit.name() == name).map(|index| index as u32)
}

pub(super) fn profile_unit(units: &[Unit], of: &Unit, number: u8) -> Option<u32> {
    let same_policy = |unit: &Unit| std::sync::Arc::ptr_eq(&unit.policy, &of.policy);
    let wanted = Some(usize::from(number).checked_sub(1)?);
    units.iter().position(|unit| unit.profile == wanted && same_policy(unit)).map(|index| index as u32)
}
