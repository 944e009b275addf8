//! What governs a cgroup, given what governs the one above and what selects its own path.

use guard_common::limits::DOMAINS;
use guard_common::table::{AT_DOMAINS, AT_JOINS, JOINS_IN_WORD};

use super::cgroups::Nested;
use super::domains::Domains;
use super::{Error, IdMap};

/// The table of `table::enter`.
#[derive(Debug, Default)]
pub(super) struct Joins {
    /// A row for each domain's id; domain 0 is outside.
    rows: Vec<(u32, Vec<u32>)>,
    width: usize,
    /// A domain without a descriptor, in which everything is blocked: where more policies meet than can be joined.
    pub(super) crowded: Option<u32>,
}

/// No policy is called this.
const CROWDED: &str = "+";

impl Joins {
    /// `domains` begins with those of the sets of `nested`, in their order.
    pub(super) fn new(nested: &Nested, domains: &Domains, ids: &mut IdMap) -> Result<Self, Error> {
        let id_of = |set: usize| domains.list[set].id;
        let width = nested.joins.first().map_or(0, Vec::len);
        let mut crowded = None;
        if nested.joins.iter().flatten().any(Option::is_none) {
            let id = ids.assign(vec![CROWDED.to_owned()]);
            crowded = Some(id.ok_or(Error::Domains { most: DOMAINS as usize - 1 })?);
        }
        let mut rows = vec![(0, (0..width).map(id_of).collect())];
        for (set, row) in nested.joins.iter().enumerate() {
            let row = row.iter().map(|joined| joined.map_or(crowded, |set| Some(id_of(set))).unwrap_or(0));
            rows.push((id_of(set), row.collect()));
        }
        if let Some(id) = crowded {
            rows.push((id, vec![id; width]));
        }
        Ok(Self { rows, width, crowded })
    }

    /// Appends the table, and tells the header where it is. A domain that no cgroup is in (a profile's) has a row
    /// that keeps it.
    pub(super) fn lay_out(&self, front: &mut Vec<u64>) {
        let (at, count) = (front.len(), front[AT_DOMAINS as usize] as usize);
        let mut entries: Vec<u32> = (0..count as u32).flat_map(|id| vec![id; self.width]).collect();
        for (id, row) in &self.rows {
            let from = *id as usize * self.width;
            entries[from..from + self.width].copy_from_slice(row);
        }
        front[AT_JOINS as usize] = at as u64 | (self.width as u64) << 32;
        front.extend(
            entries
                .chunks(JOINS_IN_WORD as usize)
                .map(|entries| entries.iter().rev().fold(0, |word, &entry| word << 16 | u64::from(entry))),
        );
    }
}
