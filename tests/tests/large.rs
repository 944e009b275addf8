//! Large policies: rules that are not told apart any more, automata that are split, policies that are refused.

use std::slice::from_ref;
use std::time::Duration;

use guard_common::abi::{Action, Verdict};
use guard_common::table;
use guard_tests::oracle::judge::{By, Joined, judge};
use guard_tests::oracle::lower;
use guard_tests::oracle::model::{Attempt, Document, Profile, Rule, Section};
use guard_tests::oracle::random::Random;
use guard_tests::processor_time;
use guard_userspace::compile::explain::Cause;
use guard_userspace::compile::{Error, Naming, Plan, compile_alone};

const NAMES: &[&str] = &["src", "build", "x.log", "a-b.log", "ab.log", "aab", "lib", "keys"];

fn rule(path: String, verdict: Verdict) -> Rule {
    Rule {
        paths: vec![path],
        except: Vec::new(),
        args: Vec::new(),
        unix: Vec::new(),
        to: Vec::new(),
        ports: Vec::new(),
        verdict,
        profile: 0,
        shadow: false,
    }
}

fn document(rules: Vec<Rule>) -> Document {
    let profile = Profile { name: "profile-0".into(), inherit: true, gateway: None, sections: Vec::new() };
    Document {
        name: "large".into(),
        shadow: false,
        gateway: Vec::new(),
        sections: vec![Section { action: Action::Write, default: Some(Verdict::Block), rules }],
        profiles: vec![profile],
    }
}

fn name(random: &mut Random) -> String {
    (0..3).map(|_| char::from(b'a' + random.below(6) as u8)).collect()
}

/// Rules that overlap in many ways: too many to be told apart in one automaton.
fn many(random: &mut Random, count: usize) -> Vec<Rule> {
    (0..count)
        .map(|n| {
            let (one, two) = (name(random), name(random));
            let path = match n % 6 {
                0 | 1 => format!("/{one}/{two}/**"),
                2 => format!("/**/*.{one}"),
                3 => format!("/**/{one}/**"),
                4 => format!("/{one}/*/{two}/**"),
                _ => format!("/{one}/{two}"),
            };
            let mut rule = rule(path, Verdict::ALL[random.below(5)]);
            if n % 16 == 0 {
                rule.except = vec![format!("/**/{}", name(random))];
            }
            rule
        })
        .collect()
}

fn attempt(random: &mut Random) -> Attempt {
    let mut path = String::new();
    for _ in 0..1 + random.below(4) {
        path.push('/');
        path.push_str(&if random.once_in(4) { random.pick(NAMES).to_owned() } else { name(random) });
    }
    if random.once_in(3) {
        path.push('.');
        path.push_str(&name(random));
    }
    Attempt::File { action: Action::Write, path: path.into_bytes() }
}

fn agrees(document: &Document, plan: &Plan, attempts: usize) {
    let mut random = Random::new(7);
    for _ in 0..attempts {
        let attempt = attempt(&mut random);
        let expected = judge(from_ref(document), &[Joined { document, profile: None }], &attempt);
        let question = lower::question(&attempt);
        let decision = plan.decide(1, &question);
        assert_eq!(decision.verdict(), expected.verdict, "{attempt:?}");
        if let (Cause::Rule { index, .. }, By::Rule { rule, .. }) =
            (plan.cause(1, &decision, &question), expected.by)
        {
            assert_eq!(index, rule, "{attempt:?}");
        } else {
            assert!(!matches!(expected.by, By::Rule { .. }), "{attempt:?}: {expected:?}");
        }
    }
}

fn second_automaton(plan: &Plan) -> bool {
    plan.arena[table::starts_at(1, Action::Write, 0) as usize] >> 32 != 0
}

#[test]
fn rules_that_are_not_told_apart_are_found_again() {
    let document = document(many(&mut Random::new(1), 900));
    let plan = compile_alone(&lower::policy(&document)).unwrap();
    assert_eq!(plan.units[0].naming[Action::Write as usize], Naming::Coarse);
    assert!(!second_automaton(&plan));
    agrees(&document, &plan, 4000);
}

#[test]
fn stars_inside_of_names_get_an_automaton_of_their_own() {
    let mut random = Random::new(2);
    let mut rules = many(&mut random, 600);
    for at in 0..12 {
        let path = format!("/**/{}*{}*.log", name(&mut random), name(&mut random));
        rules.insert(at * 7, rule(path, Verdict::ALL[random.below(5)]));
    }
    let document = document(rules);
    let plan = compile_alone(&lower::policy(&document)).unwrap();
    assert!(second_automaton(&plan), "{} words", plan.used);
    agrees(&document, &plan, 4000);
}

#[test]
fn an_explosive_policy_is_refused_in_time_and_the_error_names_its_rules() {
    let mut rules: Vec<Rule> = (0..50).map(|n| rule(format!("/srv/data{n}/**"), Verdict::Allow)).collect();
    for n in 0..24u8 {
        let letter = |shift: u8| char::from(b'a' + (n + shift) % 24);
        let path = format!("/**/*{}*{}*{}*{}*z", letter(0), letter(5), letter(11), letter(17));
        rules.push(rule(path, Verdict::Block));
    }
    let policy = lower::policy(&document(rules));
    let start = processor_time();
    let error = compile_alone(&policy).unwrap_err();
    let took = processor_time() - start;
    assert!(took < Duration::from_secs(10), "{took:?}");
    let Error::Explosive { action, rules, .. } = &error else { panic!("{error}") };
    assert_eq!(*action, Action::Write);
    let guilty =
        |id: &String| id.strip_prefix("rule-").and_then(|n| n.parse().ok()).is_some_and(|n: usize| n >= 50);
    assert!(!rules.is_empty() && rules.iter().all(guilty), "{error}");
    assert!(error.to_string().contains("let their paths begin at a directory"), "{error}");
}
