//! Policies of growing size: compiling takes longer, deciding must not.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use guard_common::abi::Action;

use super::{BenchError, Figure};
use crate::compile::{self, explain::Question};
use crate::policy::{model::Policy, parse, source::Source};

/// Numbers of rules, the base of the comparison first.
const SIZES: [usize; 3] = [10, 500, 5_000];
const OBJECT: &[u8] = b"/workspace/project/src/module/deep/file.rs";
/// Decisions between two looks at the clock.
const BATCH: u32 = 1_000;

pub(super) fn measure(patience: Duration) -> Result<Vec<Figure>, BenchError> {
    let (mut figures, mut base) = (Vec::new(), None);
    for rules in SIZES {
        let text = policy(rules);
        let begun = Instant::now();
        let Some(policy) = parsed(text) else { continue };
        let read = begun.elapsed();
        let begun = Instant::now();
        let plan = compile::compile_alone(&policy).map_err(|source| BenchError::Compile { rules, source })?;
        let compiled = begun.elapsed();
        let bytes = plan.used * size_of::<u64>();
        figures.push(Figure::new(format!("compile {rules} rules"), milliseconds(compiled), "ms").beside(
            format!(
                "read and checked in {:.1} ms, {} KiB for the kernel",
                milliseconds(read),
                bytes.div_ceil(1024)
            ),
        ));
        let question = Question { action: Action::Write, bytes: OBJECT.to_vec(), args: None };
        let domain = plan.ids.get(std::slice::from_ref(&policy.name.value)).unwrap_or(0);
        let (times, took) = super::repeat(patience / SIZES.len() as u32, || {
            for _ in 0..BATCH {
                let _ = black_box(plan.decide(domain, black_box(&question)));
            }
            Ok::<(), BenchError>(())
        })?;
        let each = took.as_secs_f64() * 1e9 / f64::from(times) / f64::from(BATCH);
        let base = *base.get_or_insert(each);
        figures.push(Figure::new(format!("decide under {rules} rules"), each, "ns").beside(format!(
            "{:.2}× that of {} rules",
            each / base,
            SIZES[0]
        )));
    }
    Ok(figures)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A policy with so many rules of paths that differ.
fn policy(rules: usize) -> String {
    let mut text = "version: 1\npolicy: bench\napplies_to: [{ cgroup: /bench/** }]\nmode: enforce\n\
                    exec: { default: block }\nconnect: { default: block }\nwrite:\n  default: block\n  rules:\n"
        .to_owned();
    text += "    - { id: workspace, paths: [\"/workspace/**\"], verdict: allow }\n";
    for n in 1..rules {
        let path = match n % 4 {
            0 => format!("/srv/team-{n}/data/**"),
            1 => format!("/opt/tool-{n}/config.yaml"),
            2 => format!("/home/*/project-{n}/**"),
            _ => format!("/var/lib/service-{n}/{{state,cache}}/**"),
        };
        text += &format!("    - {{ id: r{n}, paths: [\"{path}\"], verdict: block }}\n");
    }
    text
}

fn parsed(text: String) -> Option<Arc<Policy>> {
    parse::parse(Arc::new(Source::new("bench.yaml", text))).policy.map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_a_policy_that_compiles_and_decides_alike() {
        for rules in SIZES {
            let policy = parsed(policy(rules)).expect("the policy has errors");
            let plan = compile::compile_alone(&policy).unwrap();
            let domain = plan.ids.get(&["bench".to_owned()]).expect("no domain");
            let question = Question { action: Action::Write, bytes: OBJECT.to_vec(), args: None };
            assert_eq!(plan.decide(domain, &question).verdict(), guard_common::abi::Verdict::Allow);
        }
    }
}
