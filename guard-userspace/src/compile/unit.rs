//! A unit is what answers: a policy, or one of its profiles.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use guard_common::abi::{Action, Verdict};
use guard_common::budget::Budget;
use guard_common::limits::{PROFILES, RULES};
use guard_common::table::Answer;
use sha2::{Digest as _, Sha256};

use super::Error;
use super::automaton::Memo;
use super::section::{Built, Naming, Section};
use crate::policy::model::{self, Effect, Mode, Policy, Profile, Rule, SECTIONS};
use crate::policy::source::Spanned;

/// A policy or a profile of one, with what the kernel is told of it.
#[derive(Debug, Clone)]
pub struct Unit {
    pub policy: Arc<Policy>,
    /// Index into the policy's profiles.
    pub profile: Option<usize>,
    /// Decided and recorded beside the policy it is a candidate for, never enforced.
    pub candidate: bool,
    /// Decides and records, lets through.
    pub shadow: bool,
    /// What its throttles allow; a throttle's answer carries the number of its budget, from 1.
    pub budgets: Vec<Budget>,
    /// By action: which winning rules the answers name.
    pub naming: [Naming; Action::WITH_AUTOMATON],
}

/// One section's way into the arena.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) built: Option<Built>,
    pub(super) default: Answer,
}

impl Unit {
    pub(super) fn new(policy: &Arc<Policy>, profile: Option<usize>, shadow: bool) -> Self {
        Self {
            policy: Arc::clone(policy),
            profile,
            candidate: false,
            shadow,
            budgets: Vec::new(),
            naming: [Naming::Exact; Action::WITH_AUTOMATON],
        }
    }

    /// `policy`, or `policy/profile`.
    pub fn name(&self) -> String {
        match self.profile() {
            Some(profile) => format!("{}/{}", self.policy.name.value, profile.name.value),
            None => self.policy.name.value.clone(),
        }
    }

    pub fn profile(&self) -> Option<&Profile> {
        self.profile.and_then(|index| self.policy.profiles.get(index))
    }

    /// Whether the profile says nothing of its own about `action`. It is always joined with its policy, so
    /// what it inherits is said already.
    fn is_silent(&self, action: Action) -> bool {
        self.profile().is_some_and(|profile| {
            profile.inherit
                && profile.sections.get(action).is_none()
                && !(action == Action::Connect && profile.gateway.is_some())
        })
    }

    /// The section that answers for `action`, if one is written.
    pub fn section(&self, action: Action) -> Option<&model::Section> {
        if self.is_silent(action) {
            return None;
        }
        match self.profile() {
            None => self.policy.sections.get(action),
            Some(profile) => match profile.sections.get(action) {
                None if profile.inherit => self.policy.sections.get(action),
                section => section,
            },
        }
    }

    pub fn rules(&self, action: Action) -> &[Rule] {
        self.section(action).map_or(&[], |section| &section.rules)
    }

    /// What is answered for `action` when no rule matches.
    pub fn default_effect(&self, action: Action) -> Effect {
        match self.profile() {
            None => self.policy.default_for(action),
            Some(_) if self.is_silent(action) => Effect::Allow,
            Some(profile) => match profile.sections.get(action).map(|section| section.default.as_ref()) {
                Some(Some(stated)) => stated.value.clone(),
                // Rules that it adds without a default leave the rest to the policy it is joined with.
                Some(None) if profile.inherit => Effect::Allow,
                None if profile.inherit => self.policy.default_for(action),
                Some(None) | None => Effect::unstated(action),
            },
        }
    }

    pub fn gateway(&self) -> &[Spanned<SocketAddr>] {
        match self.profile() {
            None => &self.policy.gateway,
            Some(profile) => match &profile.gateway {
                Some(stated) => stated,
                None if profile.inherit => &self.policy.gateway,
                None => &[],
            },
        }
    }

    pub(super) fn gateways(&self) -> impl Iterator<Item = SocketAddr> {
        self.gateway().iter().map(|gateway| gateway.value)
    }

    /// The profiles (from 1) that rules of this unit sandbox into.
    pub(super) fn sandboxes(&self) -> Vec<u8> {
        let mut numbers = Vec::new();
        for &action in &SECTIONS {
            for rule in self.rules(action).iter().filter(|rule| !rule.shadow) {
                if let Effect::Sandbox { profile } = &rule.effect.value {
                    numbers.extend(self.profile_number(&profile.value));
                }
            }
        }
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    fn profile_number(&self, name: &str) -> Option<u8> {
        let index = self.policy.profiles.iter().position(|profile| profile.name.value == name)?;
        u8::try_from(index + 1).ok()
    }

    pub(super) fn answers(
        &mut self,
        action: Action,
        most: Naming,
        guarded: &BTreeSet<SocketAddr>,
        memo: &mut Memo,
    ) -> Result<Answers, Error> {
        let default = Answer::new(self.default_effect(action).verdict(), Answer::RULE_DEFAULT, 0);
        if self.is_silent(action) {
            return Ok(Answers { built: None, default });
        }
        let effects = self.effects(action)?;
        let section = Section {
            action,
            rules: self.rules(action),
            gateway: self.gateway(),
            guarded,
            baseline: self.profile.is_none(),
            effects: &effects,
        };
        let built = section.build(most, memo).map_err(|explosive| Error::Explosive {
            policy: self.name(),
            action,
            rules: explosive
                .rules
                .iter()
                .take(3)
                .filter_map(|&index| self.rules(action).get(index))
                .map(|rule| rule.id.value.clone())
                .collect(),
        })?;
        self.naming[action as usize] = built.naming;
        Ok(Answers { built: Some(built), default })
    }

    /// For each rule its verdict and the number its answer carries.
    fn effects(&mut self, action: Action) -> Result<Vec<(Verdict, u8)>, Error> {
        let too_many = |what, most| Error::TooMany { policy: self.policy.name.value.clone(), what, most };
        if self.rules(action).len() > RULES {
            return Err(too_many("rules in one section", RULES));
        }
        if self.policy.profiles.len() > PROFILES {
            return Err(too_many("profiles", PROFILES));
        }
        let mut budgets = std::mem::take(&mut self.budgets);
        let mut effects = Vec::new();
        for rule in self.rules(action) {
            let number = match &rule.effect.value {
                Effect::Allow | Effect::Escalate | Effect::Block => 0,
                Effect::Sandbox { profile } => {
                    self.profile_number(&profile.value).ok_or_else(|| Error::UnknownProfile {
                        policy: self.policy.name.value.clone(),
                        profile: profile.value.clone(),
                    })?
                }
                Effect::Throttle(stated) => {
                    budgets.push(budget(*stated, self.rule_key(action, rule)));
                    u8::try_from(budgets.len())
                        .map_err(|_| too_many("rules that throttle", usize::from(u8::MAX)))?
                }
            };
            effects.push((rule.effect.verdict(), number));
        }
        self.budgets = budgets;
        Ok(effects)
    }

    /// A rule by a number that stays its own through every generation: what is spent stays spent.
    fn rule_key(&self, action: Action, rule: &Rule) -> u64 {
        let mut hash = Sha256::new();
        for part in [self.name().as_str(), action.name(), rule.id.value.as_str()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().iter().take(8).fold(0, |key, &byte| key << 8 | u64::from(byte))
    }

    /// Whether the unit's policy is decided in shadow.
    pub(super) fn shadow_by_mode(policy: &Policy) -> bool {
        policy.mode == Mode::Shadow
    }
}

/// Rounded so that what is let through is never more than what is written, and of a quota never less.
fn budget(stated: model::Budget, rule: u64) -> Budget {
    let per = u64::try_from(stated.per.as_nanos()).unwrap_or(u64::MAX);
    let quota = stated.burst == stated.count;
    let interval = match (u64::from(stated.count), quota) {
        (0, _) => u64::MAX,
        (count, true) => (per / count).max(1),
        (count, false) => per.div_ceil(count).max(1),
    };
    let burst = interval.saturating_mul(u64::from(stated.burst));
    Budget { interval, burst, window: if quota { per } else { 0 }, rule }
}
