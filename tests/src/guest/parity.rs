//! The kernel's build of the decision answers what the host's does: made-up policies, made-up questions, the very
//! functions that the hooks call.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use guard_userspace::compile::explain::Question;
use guard_userspace::compile::{IdMap, compile};
use guard_userspace::kernel::{Asker, Pins};

use super::Test;
use crate::oracle::random::Random;
use crate::oracle::{generate, lower};

pub(super) const TESTS: &[Test] =
    &[Test::new("the kernel decides tens of thousands of made-up questions as the host does", agree)
        .within(400)];

/// Sets of policies, and questions to each: 24,000 in all.
const SETS: u64 = 80;
const QUESTIONS: usize = 300;

/// What a hook could ask: the kernel has no empty path, none that is too long, and no NUL in any string.
fn can_be(question: &Question) -> bool {
    let is_name = !matches!((question.bytes.first(), question.bytes.len()), (Some(4), 8) | (Some(6), 20));
    let args = question.args.iter().flatten();
    !question.bytes.is_empty()
        && question.bytes.len() <= 4096
        && !(is_name && question.bytes.contains(&0))
        && args.clone().all(|arg| !arg.contains(&0))
        && args.map(|arg| arg.len() + 1).sum::<usize>() < 4000
}

fn agree() -> Result<()> {
    let asker = Asker::new(Pins::at("/sys/fs/bpf/parity"))?;
    let mut asked: BTreeMap<String, usize> = BTreeMap::new();
    for seed in 0..SETS {
        let mut random = Random::new(seed ^ 0x9a41_7e51);
        let documents = generate::documents(&mut random);
        let policies: Vec<_> = documents.iter().map(lower::policy).collect();
        let plan = compile(&policies, &IdMap::default(), seed + 1)?;
        asker.install(&plan.arena)?;
        let mut left = QUESTIONS;
        while left > 0 {
            let question = lower::question(&generate::attempt(&mut random, &documents));
            if !can_be(&question) {
                continue;
            }
            left -= 1;
            let domain = plan.domains[random.below(plan.domains.len())].id;
            let host = plan.decide(domain, &question);
            let kernel = asker.ask(domain, &question).with_context(|| format!("ask {question:?}"))?;
            let facts = |decision: &guard_common::decide::Decision| {
                (decision.answer, decision.policy, decision.shadow, decision.shadow_policy)
            };
            ensure!(
                facts(&host) == facts(&kernel),
                "seed {seed}, {question:?}: the host says {host:?}, the kernel {kernel:?}"
            );
            *asked.entry(format!("{:?} {:?}", question.action, host.verdict())).or_default() += 1;
        }
    }
    println!("asked {asked:?}");
    ensure!(asked.len() >= 20, "too few kinds of questions: {asked:?}");
    Ok(())
}
