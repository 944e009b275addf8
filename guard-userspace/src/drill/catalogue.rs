//! The drills, by group. A new one is a line here, and an attempt of the same name in `guard-attempt`.

mod build;
mod escape;
mod exec;
mod files;
mod inherited;
mod ipc;
mod keep;
mod kernel;
mod knobs;
mod net;
mod odd;
mod residual;
mod tasks;
mod unix;

use super::{Drill, Group};

pub use residual::RESIDUAL;

pub const GROUPS: &[&Group] = &[
    &escape::IDENTITY,
    &files::OPENING,
    &files::READING,
    &files::NAMES,
    &files::METADATA,
    &files::URING,
    &files::STRANGE,
    &inherited::DESCRIPTORS,
    &inherited::VIEWS,
    &exec::RUNNING,
    &exec::LOADING,
    &net::LEAVING,
    &net::BEFORE,
    &net::LISTENING,
    &net::OPTIONS,
    &odd::FAMILIES,
    &unix::SOCKETS,
    &ipc::SHARED,
    &kernel::NAMESPACES,
    &kernel::MOUNTS,
    &kernel::OWNERS,
    &knobs::KNOBS,
    &knobs::GUARD,
    &tasks::SIGNALS,
    &tasks::TRACES,
    &keep::KEEP,
];

/// Every drill with its group, in order.
pub fn all() -> impl Iterator<Item = (&'static Group, &'static Drill)> {
    GROUPS.iter().flat_map(|group| group.drills.iter().map(|drill| (*group, drill)))
}

pub fn find(name: &str) -> Option<&'static Drill> {
    all().map(|(_, drill)| drill).find(|drill| drill.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::drill::{Expect, Kind};
    use crate::kernel::hooks::HOOKS;

    #[test]
    fn names_are_unique_and_every_drill_says_something() {
        let mut names = BTreeSet::new();
        for (group, drill) in all() {
            assert!(names.insert(drill.name), "{} is there twice", drill.name);
            assert!(drill.says.len() > 8 && !drill.says.ends_with('.'), "{}", drill.name);
            assert!(!drill.tiers.is_empty() && !drill.ways.is_empty(), "{}", drill.name);
            let tags = drill.tags.unwrap_or(group.tags);
            assert!(!tags.attack.is_empty() && !tags.owasp.is_empty(), "{}", drill.name);
        }
        let attacks = all().filter(|(_, drill)| drill.kind == Kind::Attack).count();
        assert!(attacks >= 150, "{attacks} techniques");
    }

    #[test]
    fn every_attack_expects_a_record_and_names_real_hooks() {
        for (_, drill) in all().filter(|(_, drill)| drill.kind == Kind::Attack) {
            assert!(!drill.record.is_empty() && !drill.hooks.is_empty(), "{}", drill.name);
            for hook in drill.hooks {
                assert!(HOOKS.iter().any(|known| known.name == *hook), "{}: {hook}", drill.name);
            }
            for expect in drill.record {
                match expect {
                    Expect::Rule(action, op) => {
                        assert!(guard_common::abi::Action::ALL.iter().any(|known| known.name() == *action));
                        assert!(guard_common::abi::Op::ALL.iter().any(|known| known.name() == *op), "{op}");
                    }
                    Expect::Item(item, op) => {
                        assert!(
                            guard_common::abi::BoundaryItem::ALL.iter().any(|known| known.name() == *item)
                        );
                        assert!(guard_common::abi::Op::ALL.iter().any(|known| known.name() == *op), "{op}");
                    }
                    Expect::Capability(name) => {
                        assert!(guard_common::abi::Capability::ALL.iter().any(|known| known.name() == *name));
                    }
                    Expect::Counter(name) => {
                        assert!(guard_common::abi::Site::ALL.iter().any(|known| known.name() == *name));
                    }
                    Expect::Nothing(why) => assert!(!why.is_empty()),
                }
            }
        }
    }
}
