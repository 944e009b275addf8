//! The plan answers what the oracle answers.

use guard_common::table;
use guard_tests::oracle::generate;
use guard_tests::oracle::judge::{By, Expected, Joined, judge};
use guard_tests::oracle::lower;
use guard_tests::oracle::model::{Attempt, Document};
use guard_tests::oracle::random::Random;
use guard_userspace::compile::explain::{Cause, Question};
use guard_userspace::compile::{IdMap, Plan, compile};
use guard_userspace::policy::model;

/// Sets of policies, and attempts on each: 240,000 in all.
const SETS: u64 = 1200;
const ATTEMPTS: usize = 200;

fn plan(documents: &[Document]) -> Plan {
    let policies: Vec<_> = documents.iter().map(lower::policy).collect();
    compile(&policies, &IdMap::default(), 1).unwrap()
}

/// What is joined in a domain, as the oracle knows it.
fn joined<'a>(plan: &Plan, domain: u32, documents: &'a [Document]) -> Vec<Joined<'a>> {
    let units = plan.domain(domain).unwrap().units.iter().map(|&unit| &plan.units[unit as usize]);
    units
        .map(|unit| {
            let document = documents.iter().find(|document| document.name == unit.policy.name.value).unwrap();
            Joined { document, profile: unit.profile }
        })
        .collect()
}

/// What the plan answers, in the oracle's words.
fn answered(plan: &Plan, domain: u32, attempt: &Attempt) -> Expected {
    let question = lower::question(attempt);
    let decision = plan.decide(domain, &question);
    let unit_at = |wanted: &guard_userspace::compile::Unit| {
        let units = &plan.domain(domain).unwrap().units;
        units.iter().position(|&unit| std::ptr::eq(&plan.units[unit as usize], wanted)).unwrap()
    };
    let by = match plan.cause(domain, &decision, &question) {
        Cause::Rule { unit, index, .. } => By::Rule { unit: unit_at(unit), rule: index },
        Cause::Default { unit } => By::Default { unit: unit_at(unit) },
        Cause::Gateway { unit } => By::Gateway { unit: unit_at(unit) },
        Cause::Baseline { .. } => By::Baseline,
        Cause::WhySocket => By::Why,
        Cause::Nothing => By::Nobody,
    };
    Expected { verdict: decision.verdict(), by, shadow: decision.shadow_verdict() }
}

/// The first attempt on which plan and oracle differ.
fn difference(documents: &[Document], seed: u64, attempts: usize) -> Option<String> {
    let plan = plan(documents);
    let mut random = Random::new(seed ^ 0xa77e);
    for _ in 0..attempts {
        let attempt = generate::attempt(&mut random, documents);
        let domain = plan.domains[random.below(plan.domains.len())].id;
        let expected = judge(documents, &joined(&plan, domain, documents), &attempt);
        let answered = answered(&plan, domain, &attempt);
        if expected != answered {
            return Some(format!("{attempt:?}\nthe oracle says {expected:?}\nthe plan says   {answered:?}"));
        }
    }
    None
}

/// Leaves out what is not needed for the difference to show.
fn shrink(mut documents: Vec<Document>, seed: u64, attempts: usize) -> Vec<Document> {
    loop {
        let smaller = smaller(&documents).find(|fewer| difference(fewer, seed, attempts).is_some());
        match smaller {
            Some(fewer) => documents = fewer,
            None => return documents,
        }
    }
}

fn smaller(documents: &[Document]) -> impl Iterator<Item = Vec<Document>> + '_ {
    let without_one = (1..documents.len()).map(|at| {
        let mut fewer = documents.to_vec();
        fewer.remove(at);
        fewer
    });
    let without_rule = documents.iter().enumerate().flat_map(move |(d, document)| {
        document.sections.iter().enumerate().flat_map(move |(s, section)| {
            (0..section.rules.len()).map(move |r| {
                let mut fewer = documents.to_vec();
                fewer[d].sections[s].rules.remove(r);
                fewer
            })
        })
    });
    without_one.chain(without_rule)
}

#[test]
fn the_plan_answers_what_the_oracle_answers() {
    for seed in 0..SETS {
        let documents = generate::documents(&mut Random::new(seed));
        if difference(&documents, seed, ATTEMPTS).is_some() {
            let documents = shrink(documents, seed, ATTEMPTS);
            let difference = difference(&documents, seed, ATTEMPTS).unwrap_or_default();
            panic!("seed {seed}: {documents:#?}\n{difference}");
        }
    }
}

#[test]
fn the_order_of_rules_means_nothing() {
    for seed in 0..150 {
        let mut random = Random::new(seed ^ 0x0def);
        let documents = generate::documents(&mut random);
        let mut shuffled = documents.clone();
        for section in shuffled.iter_mut().flat_map(|document| &mut document.sections) {
            for at in (1..section.rules.len()).rev() {
                section.rules.swap(at, random.below(at + 1));
            }
        }
        let (one, other) = (plan(&documents), plan(&shuffled));
        assert_eq!(one.ids, other.ids);
        for _ in 0..ATTEMPTS {
            let question = lower::question(&generate::attempt(&mut random, &documents));
            let domain = one.domains[random.below(one.domains.len())].id;
            let (one, other) = (one.decide(domain, &question), other.decide(domain, &question));
            assert_eq!(one.verdict(), other.verdict(), "seed {seed}: {question:?}");
            assert_eq!(one.shadow_verdict(), other.shadow_verdict(), "seed {seed}: {question:?}");
        }
    }
}

#[test]
fn one_more_rule_never_makes_an_answer_laxer_than_the_join() {
    for seed in 0..150 {
        let mut random = Random::new(seed ^ 0xadd);
        let mut documents = generate::documents(&mut random);
        documents.truncate(1);
        documents[0].shadow = false;
        let before = plan(&documents);
        let Some(at) = random.choose(&(0..documents[0].sections.len()).collect::<Vec<_>>()).copied() else {
            continue;
        };
        let action = documents[0].sections[at].action;
        let rule = generate::rule(&mut random, action, documents[0].profiles.len());
        let verdict = (!rule.shadow).then_some(rule.verdict);
        let mut more = documents.clone();
        more[0].sections[at].rules.push(rule);
        let after = plan(&more);
        for _ in 0..ATTEMPTS {
            let attempt = generate::attempt(&mut random, &more);
            let (old, new) = (answered(&before, 1, &attempt), answered(&after, 1, &attempt));
            // A rule takes the place of the default; nothing else gives way to a laxer verdict.
            let by_default = matches!(old.by, By::Default { .. });
            let join = if by_default { verdict.filter(|_| old != new) } else { None };
            let least = join.unwrap_or(old.verdict);
            assert!(new.verdict >= least, "seed {seed}: {attempt:?}\n{old:?}\n{new:?}");
        }
    }
}

#[test]
fn a_path_alone_answers_unless_it_asks_for_arguments() {
    for seed in 0..300 {
        let mut random = Random::new(seed ^ 0xa265);
        let documents = generate::documents(&mut random);
        let plan = plan(&documents);
        let mut unconditional = documents.clone();
        for section in unconditional.iter_mut().flat_map(|document| {
            let profiles = document.profiles.iter_mut().flat_map(|profile| &mut profile.sections);
            document.sections.iter_mut().chain(profiles)
        }) {
            section.rules.retain(|rule| rule.args.is_empty());
        }
        for _ in 0..ATTEMPTS {
            let attempt = generate::attempt(&mut random, &documents);
            let Attempt::Exec { path, .. } = &attempt else { continue };
            let domain = plan.domains[random.below(plan.domains.len())].id;
            let whole = lower::question(&attempt);
            let path_only = plan.decide(domain, &Question { args: None, ..whole.clone() });
            if path_only.needs_args {
                let attempt = Attempt::Exec { path: path.clone(), args: Vec::new() };
                let expected = judge(&unconditional, &joined(&plan, domain, &unconditional), &attempt);
                assert_eq!(path_only.verdict(), expected.verdict, "seed {seed}: {attempt:?}");
            } else {
                assert_eq!(path_only, plan.decide(domain, &whole), "seed {seed}: {attempt:?}");
            }
        }
    }
}

/// The kernel walks blocks of bytes; in front of the first byte it may read zeroes.
#[test]
fn zeroes_in_front_lead_nowhere() {
    for seed in 0..100 {
        let documents = generate::documents(&mut Random::new(seed));
        let plan = plan(&documents);
        let words = plan.arena.as_slice();
        let mut starts = vec![plan.arena[table::AT_CGROUPS as usize] as u32];
        for domain in &plan.domains {
            for action in model::SECTIONS {
                for n in 0..domain.units.len() as u32 {
                    let word = plan.arena[table::starts_at(domain.id, action, n) as usize];
                    starts.extend([word as u32, (word >> 32) as u32]);
                }
            }
        }
        for start in starts {
            assert_eq!(table::step(words, start, 0), start, "seed {seed}");
        }
    }
}
