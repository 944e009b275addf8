//! Domains keep their ids: tasks carry them, and a new plan must mean the same by them.

use std::collections::BTreeMap;

use guard_common::limits::DOMAINS;
use serde::{Deserialize, Serialize};

/// Which id stands for which policies and profiles. An id is never given to another domain, not even when
/// its own is gone: a task may still carry it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Entry>", into = "Vec<Entry>")]
pub struct IdMap {
    ids: BTreeMap<Vec<String>, u32>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    names: Vec<String>,
    id: u32,
}

impl From<Vec<Entry>> for IdMap {
    fn from(entries: Vec<Entry>) -> Self {
        // An id outside the table, or given twice, is left out: its domain gets a new one.
        let mut taken = vec![false; DOMAINS as usize];
        let mut ids = BTreeMap::new();
        for entry in entries {
            let free = taken.get_mut(entry.id as usize).filter(|taken| entry.id != 0 && !**taken);
            if let Some(slot) = free
                && ids.insert(entry.names, entry.id).is_none()
            {
                *slot = true;
            }
        }
        Self { ids }
    }
}

impl From<IdMap> for Vec<Entry> {
    fn from(map: IdMap) -> Self {
        map.ids.into_iter().map(|(names, id)| Entry { names, id }).collect()
    }
}

impl IdMap {
    /// The id of the domain with these names, which must be sorted.
    pub fn get(&self, names: &[String]) -> Option<u32> {
        self.ids.get(names).copied()
    }

    /// Drops what `keep` doesn't want: ids that no task and no cgroup carries any more.
    pub fn retain(&mut self, mut keep: impl FnMut(u32) -> bool) {
        self.ids.retain(|_, id| keep(*id));
    }

    /// Every id that is given.
    pub fn all(&self) -> impl Iterator<Item = u32> + '_ {
        self.ids.values().copied()
    }

    /// Every domain there ever was: its names and its id.
    pub(super) fn entries(&self) -> Vec<(Vec<String>, u32)> {
        self.ids.iter().map(|(names, id)| (names.clone(), *id)).collect()
    }

    /// The id of the domain with these names, the lowest free one if it is new. `None`: there is none.
    pub(super) fn assign(&mut self, names: Vec<String>) -> Option<u32> {
        if let Some(&id) = self.ids.get(&names) {
            return Some(id);
        }
        let taken: std::collections::BTreeSet<u32> = self.ids.values().copied().collect();
        let id = (1..DOMAINS).find(|id| !taken.contains(id))?;
        self.ids.insert(names, id);
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn an_id_stays_with_its_names_and_survives_being_written_down() {
        let mut ids = IdMap::default();
        assert_eq!(ids.assign(names(&["a"])), Some(1));
        assert_eq!(ids.assign(names(&["a", "b"])), Some(2));
        assert_eq!(ids.assign(names(&["a"])), Some(1));
        let text = serde_json::to_string(&ids).unwrap();
        let mut read: IdMap = serde_json::from_str(&text).unwrap();
        assert_eq!(read, ids);
        assert_eq!(read.assign(names(&["c"])), Some(3));
        read.retain(|id| id != 2);
        assert_eq!(read.assign(names(&["d"])), Some(2));
    }

    #[test]
    fn a_damaged_map_gives_no_id_twice_and_none_outside_the_table() {
        let text = r#"[{"names":["a"],"id":1},{"names":["b"],"id":1},{"names":["c"],"id":0},{"names":["d"],"id":9999}]"#;
        let ids: IdMap = serde_json::from_str(text).unwrap();
        assert_eq!(ids.get(&names(&["a"])), Some(1));
        assert_eq!(["b", "c", "d"].map(|name| ids.get(&names(&[name]))), [None; 3]);
    }
}
