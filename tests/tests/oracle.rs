//! The plan answers what the oracle answers.

use guard_tests::oracle::generate;
use guard_tests::oracle::judge::{By, Expected, Joined, judge};
use guard_tests::oracle::lower;
use guard_tests::oracle::model::{Attempt, Document};
use guard_tests::oracle::random::Random;
use guard_userspace::compile::explain::Cause;
use guard_userspace::compile::{IdMap, Plan, compile};

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
        let expected = judge(&joined(&plan, domain, documents), &attempt);
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
