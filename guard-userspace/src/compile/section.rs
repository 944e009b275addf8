//! One section of one unit: rules, gateway and baseline in, at most two automata out.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use guard_common::abi::{Action, Verdict};
use guard_common::table::Answer;

use super::automaton::{Args, Budget, Dfa, FragmentId, Group, Language, Map, Memo, Overflow, Readings};
use super::{address, baseline, glob};
use crate::policy::glob::{Flavor, Glob, Token};
use crate::policy::model::{Proto, Rule};
use crate::policy::source::Spanned;

mod wild;

/// Up to here an automaton's answers name the winning rule whatever its verdict.
const EXACT: Budget = Budget { states: 60_000, work: 6_000_000 };
/// Up to here an automaton is built at all. An arena has room for about this many states.
const COARSE: Budget = Budget { states: 150_000, work: 30_000_000 };

/// Everything that is asked for one action.
#[derive(Debug, Clone, Copy)]
pub(super) struct Section<'a> {
    pub(super) action: Action,
    pub(super) rules: &'a [Rule],
    pub(super) gateway: &'a [Spanned<SocketAddr>],
    /// Every gateway that nobody may pose as: its own, and those of whatever else is loaded.
    pub(super) guarded: &'a BTreeSet<SocketAddr>,
    /// Whether the baseline is joined in. A profile is only ever joined with its policy, which has it.
    pub(super) baseline: bool,
    /// For each rule, what its answer carries: its verdict and the number of its profile or budget.
    pub(super) effects: &'a [(Verdict, u8)],
}

/// Which winning rules the answers name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// Every one.
    Exact,
    /// Those whose verdict needs a rule to be carried out; the others are found again by asking every rule.
    Coarse,
}

#[derive(Debug)]
pub(super) struct Built {
    pub(super) first: Arc<Dfa>,
    pub(super) second: Option<Arc<Dfa>>,
    pub(super) naming: Naming,
}

/// No automaton within the budget; the rules to blame, worst first.
#[derive(Debug)]
pub(super) struct Explosive {
    pub(super) rules: Vec<usize>,
}

/// Which rules go into an automaton.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    All,
    /// Rules that know where they begin, or find out at a `/`.
    Tame,
    /// Rules with a star inside a component that may be anywhere.
    Wild,
}

impl Section<'_> {
    /// The automata, naming every rule if that is affordable.
    pub(super) fn build(&self, most: Naming, memo: &mut Memo) -> Result<Built, Explosive> {
        if most == Naming::Exact
            && let Ok(first) = self.automaton(Naming::Exact, Part::All, EXACT, memo)
        {
            return Ok(Built { first, second: None, naming: Naming::Exact });
        }
        let naming = Naming::Coarse;
        let blame = match self.automaton(naming, Part::All, COARSE, memo) {
            Ok(first) => return Ok(Built { first, second: None, naming }),
            Err(explosive) => explosive,
        };
        if !self.rules.iter().any(wild::is_wild) {
            return Err(blame);
        }
        let second = self.automaton(naming, Part::Wild, COARSE, memo)?;
        let first = self.automaton(naming, Part::Tame, COARSE, memo)?;
        Ok(Built { first, second: Some(second), naming })
    }

    fn automaton(
        &self,
        naming: Naming,
        part: Part,
        budget: Budget,
        memo: &mut Memo,
    ) -> Result<Arc<Dfa>, Explosive> {
        let (language, rules) = self.language(naming, part)?;
        memo.joined(&language, budget).map_err(|Overflow { blame }| {
            let mut guilty: Vec<usize> = Vec::new();
            for rule in blame.iter().flat_map(|&group| rules.get(group as usize)).flatten() {
                if !guilty.contains(rule) {
                    guilty.push(*rule);
                }
            }
            // Too much before there was anything to tell apart: it can be any of them.
            if guilty.is_empty() {
                guilty = rules.iter().flatten().copied().collect();
                guilty.sort_unstable();
                guilty.dedup();
            }
            Explosive { rules: guilty }
        })
    }

    /// What the automaton is built from, and the rules behind each of its groups.
    fn language(&self, naming: Naming, part: Part) -> Result<(Language, Vec<Vec<usize>>), Explosive> {
        let mut writer = Writer { language: Language::new(), ids: Map::default(), args: Map::default() };
        let mut rules: Vec<Vec<usize>> = Vec::new();
        for (index, rule) in self.rules.iter().enumerate() {
            let taken = match part {
                Part::All => true,
                Part::Tame => !wild::is_wild(rule),
                Part::Wild => wild::is_wild(rule),
            };
            if taken {
                let effect = self.effects[index];
                let group =
                    writer.rule(rule, index, effect, naming).ok_or(Explosive { rules: vec![index] })?;
                rules.resize_with(writer.language.groups.len(), Vec::new);
                rules[group as usize].push(index);
            }
        }
        // What has the last word must have it in both automata.
        self.last_words(&mut writer.language);
        if self.baseline && part != Part::Wild {
            add_baseline(&mut writer.language, self.action);
            self.guard_gateways(&mut writer.language);
        }
        Ok((writer.language, rules))
    }

    /// Peers that are always connectable.
    fn last_words(&self, language: &mut Language) {
        if self.action != Action::Connect {
            return;
        }
        let mut add = |rule: u16, write: &dyn Fn(&mut Language, FragmentId) -> FragmentId| {
            let answer = Answer::new(Verdict::Allow, rule, 0);
            let group = language.group(Group { answer, overrides: true, excepted: false, args: None });
            let end = language.fragments.accept(group, false);
            let root = write(language, end);
            language.roots.push(root);
        };
        add(Answer::RULE_BASELINE, &|language, end| {
            language.fragments.bytes(baseline::WHY_SOCKET.as_bytes(), end)
        });
        for gateway in self.gateway {
            add(Answer::RULE_GATEWAY, &|language, end| {
                // What guards egress speaks TCP; a datagram to the same port is somebody else's.
                address::socket(&mut language.fragments, gateway.value, Proto::Tcp, end)
            });
        }
    }

    /// Nobody inside a domain may pose as a gateway, neither on its address nor on all of the host's.
    fn guard_gateways(&self, language: &mut Language) {
        if self.action != Action::Listen || self.guarded.is_empty() {
            return;
        }
        let end = block(language, false);
        for gateway in self.guarded {
            for ip in [gateway.ip(), [0; 4].into(), [0; 16].into()] {
                let address = SocketAddr::new(ip, gateway.port());
                let root = address::socket(&mut language.fragments, address, Proto::Any, end);
                language.roots.push(root);
            }
        }
    }
}

/// A group that blocks as the baseline does; returns the end of its patterns.
fn block(language: &mut Language, excepted: bool) -> FragmentId {
    let answer = Answer::new(Verdict::Block, Answer::RULE_BASELINE, 0);
    let group = language.group(Group { answer, overrides: false, excepted, args: None });
    language.fragments.accept(group, false)
}

fn add_baseline(language: &mut Language, action: Action) {
    let mut plain = None;
    for line in baseline::lines(action) {
        let end = if line.except.is_empty() {
            *plain.get_or_insert_with(|| block(language, false))
        } else {
            let end = block(language, true);
            let against = language.fragments.accept(language.groups.len() as u32 - 1, true);
            add_globs(language, baseline::globs(line.except), against);
            end
        };
        add_globs(language, baseline::globs(line.paths), end);
    }
}

fn add_globs(language: &mut Language, globs: impl Iterator<Item = Glob>, end: FragmentId) {
    for pattern in globs {
        let root = glob::glob(&mut language.fragments, &pattern, end);
        language.roots.push(root);
    }
}

type Patterns<'a> = Vec<(Flavor, &'a [Token])>;

fn patterns(globs: &[Glob]) -> Patterns<'_> {
    globs.iter().map(|glob| (glob.flavor, glob.tokens.as_slice())).collect()
}

/// Rules with the same key are one group: an automaton that does not tell them apart is smaller.
#[derive(PartialEq, Eq, Hash)]
struct Key<'a> {
    answer: u32,
    /// Set if the rule must be told apart.
    rule: Option<usize>,
    except: Patterns<'a>,
    args: Option<u32>,
}

struct Writer<'a> {
    language: Language,
    ids: Map<Key<'a>, u32>,
    args: Map<(Patterns<'a>, Readings), u32>,
}

impl<'a> Writer<'a> {
    /// Adds a rule and returns its group; `None` if its arguments need too many states.
    fn rule(&mut self, rule: &'a Rule, index: usize, effect: (Verdict, u8), naming: Naming) -> Option<u32> {
        let (verdict, number) = effect;
        let needs_rule = matches!(verdict, Verdict::Throttle | Verdict::Sandbox);
        let name = if naming == Naming::Exact || needs_rule { index as u16 } else { Answer::RULE_UNKNOWN };
        let answer = if rule.shadow {
            Answer::NONE.with_shadow(Some(verdict))
        } else {
            Answer::new(verdict, name, number)
        };
        let args = match rule.args.as_slice() {
            [] => None,
            args => Some(self.arguments(args, verdict)?),
        };
        let key = Key {
            answer: answer.0,
            rule: (naming == Naming::Exact && !rule.shadow).then_some(index),
            except: patterns(&rule.except),
            args,
        };
        let language = &mut self.language;
        let group = *self.ids.entry(key).or_insert_with(|| {
            language.group(Group { answer, overrides: false, excepted: !rule.except.is_empty(), args })
        });
        let end = language.fragments.accept(group, false);
        let against = language.fragments.accept(group, true);
        for pattern in rule.paths.iter().chain(&rule.unix) {
            let root = glob::glob(&mut language.fragments, pattern, end);
            language.roots.push(root);
        }
        for pattern in &rule.except {
            let root = glob::glob(&mut language.fragments, pattern, against);
            language.roots.push(root);
        }
        for target in &rule.to {
            let root = address::target(&mut language.fragments, target, end);
            language.roots.push(root);
        }
        for target in &rule.ports {
            let root = address::ports(&mut language.fragments, target, end);
            language.roots.push(root);
        }
        Some(group)
    }

    fn arguments(&mut self, args: &'a [Glob], verdict: Verdict) -> Option<u32> {
        let readings = if verdict == Verdict::Allow { Readings::Every } else { Readings::Any };
        let key = (patterns(args), readings);
        if let Some(&id) = self.args.get(&key) {
            return Some(id);
        }
        let id = self.language.args.len() as u32;
        self.language.args.push(Args::new(args, readings)?);
        self.args.insert(key, id);
        Some(id)
    }
}
