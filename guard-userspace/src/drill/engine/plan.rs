//! Which drills, and which arms of each.

use std::fs;

use super::Options;
use crate::drill::catalogue;
use crate::drill::{Drill, DrillError, Group, Kind, Profile, Tier, Way};

/// A drill that was asked for.
#[derive(Debug, Clone)]
pub struct Selected {
    pub drill: Drill,
    pub group: &'static Group,
    /// Why it is not run, if it is not.
    pub skip: Option<String>,
    tiers: Vec<Tier>,
}

impl Selected {
    /// Each attempt: tier, way, and whether inside. Every tier directly, after its control; then the other ways in the
    /// first of the tiers: all of them if asked for, else one, which differs from drill to drill.
    pub(super) fn arms(&self, thorough: bool) -> Vec<(Tier, Way, bool)> {
        let Some((way, others)) = self.drill.ways.split_first() else { return Vec::new() };
        let mut arms: Vec<_> =
            self.tiers.iter().flat_map(|tier| [(*tier, *way, false), (*tier, *way, true)]).collect();
        let turn = self.drill.name.bytes().map(usize::from).sum::<usize>() % others.len().max(1);
        let wanted = others.iter().enumerate().filter(|(at, _)| thorough || self.drill.every || *at == turn);
        if let Some(tier) = self.tiers.first() {
            arms.extend(wanted.map(|(_, way)| (*tier, *way, true)));
        }
        arms
    }
}

/// The drills that the options ask for, in the order of the catalogue.
pub fn select(options: &Options) -> Result<Vec<Selected>, DrillError> {
    for word in &options.only {
        let own = word == super::own::WORD && options.policy.is_some();
        if !own && !catalogue::all().any(|(group, drill)| is(group, drill, word)) {
            return Err(DrillError::Unknown(word.clone()));
        }
    }
    let wanted = |group: &Group, drill: &Drill| {
        options.only.is_empty() || options.only.iter().any(|word| is(group, drill, word))
    };
    let release = release();
    Ok(catalogue::all()
        .filter(|(group, drill)| wanted(group, drill))
        .map(|(group, drill)| {
            let tiers: Vec<Tier> = drill
                .tiers
                .iter()
                .copied()
                .filter(|tier| options.tier.is_none_or(|only| only == *tier))
                .collect();
            let skip = why_not(drill, options, release, &tiers);
            Selected { drill: *drill, group, skip, tiers }
        })
        .collect())
}

fn why_not(drill: &Drill, options: &Options, release: (u32, u32), tiers: &[Tier]) -> Option<String> {
    let (major, minor) = release;
    if release < drill.since {
        return Some(format!(
            "Linux {major}.{minor} has no such call; it came with {}.{}",
            drill.since.0, drill.since.1
        ));
    }
    if release >= drill.until {
        return Some(format!("gone since Linux {}.{}", drill.until.0, drill.until.1));
    }
    if options.profile == Profile::Chaos && drill.kind == Kind::Keep {
        return Some("what must work is not asked while everything is made to fail".to_owned());
    }
    if options.profile == Profile::Chaos && drill.of_daemon {
        return Some("the daemon comes and goes".to_owned());
    }
    if drill.profile > options.profile {
        return Some(
            "its control would change this machine; run it with --profile vm on one to throw away".to_owned(),
        );
    }
    tiers.is_empty().then(|| "not for the tier that was asked for".to_owned())
}

/// By name, group, tag, hook, CVE or number in the threat model.
fn is(group: &Group, drill: &Drill, word: &str) -> bool {
    let tags = drill.tags.unwrap_or(group.tags);
    let hook = word.strip_prefix("hook:");
    match hook {
        Some(hook) => drill.hooks.contains(&hook),
        None => {
            drill.name == word
                || group.name.eq_ignore_ascii_case(word)
                || [tags.attack, tags.owasp, drill.cve, drill.covers]
                    .iter()
                    .any(|list| list.iter().any(|tag| tag.eq_ignore_ascii_case(word)))
        }
    }
}

/// Major and minor number of the running kernel.
pub(crate) fn release() -> (u32, u32) {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = text.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
