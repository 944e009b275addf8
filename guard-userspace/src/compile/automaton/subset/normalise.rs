//! What can no longer change a state's answer is left out of the state: this keeps the automaton small.

use guard_common::table::Answer;

use super::super::Group;
use super::super::nfa::{Best, Nfa, Node};
use super::super::symbol::SetId;

/// A shadow verdict that is no stricter than the verdict in force says nothing.
pub(super) fn answer(answer: Answer) -> Answer {
    if answer.shadow_code() <= answer.verdict_code() { answer.with_shadow(None) } else { answer }
}

pub(super) fn beats(group: &Group, base: Answer) -> bool {
    Best::of(group).beats(base)
}

/// Brings the positions `set` behind `base` into their one form: sorted, without what cannot beat the base,
/// and with what matches whatever follows moved into the base, which is returned.
pub(super) fn nodes(nfa: &Nfa, groups: &[Group], base: Answer, set: &mut Vec<u32>) -> Answer {
    set.sort_unstable();
    set.dedup();
    let node = |id: u32| &nfa.nodes[id as usize];
    let plain = set.iter().all(|&id| node(id).special.is_empty());
    let mut base = base;
    for &id in set.iter().filter(|&&id| absorbs(node(id))) {
        for item in node(id).accepts.iter().filter(|item| !item.against) {
            let group = &groups[item.group as usize];
            let final_word = !group.overrides
                && group.args.is_none()
                && (!group.excepted || !set.iter().any(|&id| has(node(id), item.group, true)));
            if final_word {
                base = answer(base.join(group.answer));
            }
        }
    }
    if plain {
        set.retain(|&id| node(id).best.beats(base));
    } else {
        retain_special(nfa, groups, base, set);
    }
    base
}

/// Whether the node stays where it is whatever byte comes.
fn absorbs(node: &Node) -> bool {
    node.looping == Some(SetId::ALL) && !node.accepts.is_empty()
}

fn has(node: &Node, group: u32, against: bool) -> bool {
    node.special.iter().any(|item| item.group == group && item.against == against)
}

/// As [`nodes`], for sets in which groups with exceptions or arguments take part.
fn retain_special(nfa: &Nfa, groups: &[Group], base: Answer, set: &mut Vec<u32>) {
    let node = |id: u32| &nfa.nodes[id as usize];
    // Groups that match, or are excepted, whatever follows, each with the node that says so.
    let mut settled: Vec<(u32, bool, u32)> = Vec::new();
    for &id in set.iter().filter(|&&id| absorbs(node(id))) {
        for item in node(id).accepts.iter().filter(|item| groups[item.group as usize].is_special()) {
            if !settled.iter().any(|&(group, against, _)| (group, against) == (item.group, item.against)) {
                settled.push((item.group, item.against, id));
            }
        }
    }
    let settles = |group: u32, against: bool| {
        settled.iter().find(|&&(g, a, _)| (g, a) == (group, against)).map(|&(_, _, id)| id)
    };
    let wanted = |id: u32| {
        node(id).best.beats(base)
            || node(id).special.iter().any(|item| {
                !item.against
                    && beats(&groups[item.group as usize], base)
                    && settles(item.group, true).is_none()
                    && settles(item.group, false).is_none_or(|settler| settler == id)
            })
    };
    let mut kept: Vec<u32> = set.iter().copied().filter(|&id| wanted(id)).collect();
    // Exceptions count for as long as something kept could make their group match, be it kept for another's
    // sake. Where a group is excepted for good, the one node that says so is enough.
    loop {
        let counts = |id: u32, group: u32| {
            settles(group, true).is_none_or(|settler| settler == id)
                && beats(&groups[group as usize], base)
                && kept.iter().any(|&other| has(node(other), group, false))
        };
        let before = kept.len();
        let exceptions = |id: u32| node(id).special.iter().any(|item| item.against && counts(id, item.group));
        let more: Vec<u32> =
            set.iter().copied().filter(|id| !kept.contains(id)).filter(|&id| exceptions(id)).collect();
        kept.extend(more);
        if kept.len() == before {
            break;
        }
    }
    kept.sort_unstable();
    *set = kept;
}
