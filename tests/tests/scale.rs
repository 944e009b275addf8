//! What compiling costs: time, memory, size.

use std::sync::Arc;
use std::time::Duration;

use guard_common::abi::Action;
use guard_common::table::DOMAINS_AT;
use guard_tests::processor_time;
use guard_userspace::compile::{IdMap, compile};
use guard_userspace::policy::glob::Glob;
use guard_userspace::policy::model::{Effect, Policy};
use guard_userspace::policy::parse;
use guard_userspace::policy::source::{Source, Span};

/// A policy without rules, to which rules are added as the parser would: its checks are not what is measured.
const FRAME: &str = r#"
version: 1
policy: large
applies_to: [{cgroup: "/agents.slice/**"}]
exec: {default: block}
connect: {default: block}
escalation: {timeout: 5m, on_timeout: block}
write: {default: block, rules: [{id: one, paths: [/x], verdict: allow}]}
"#;

/// `count` write rules as they are met in the field: most name a directory, some a file, a few a name anywhere.
fn policy(count: usize) -> Arc<Policy> {
    let parsed = parse::parse(Arc::new(Source::new("large.yaml", FRAME)));
    let mut policy = parsed.policy.unwrap_or_else(|| panic!("{:#?}", parsed.report));
    let section = policy.sections.write.as_mut().unwrap();
    let template = section.rules.remove(0);
    let mut names = Names(0x9e37_79b9_7f4a_7c15);
    for n in 0..count {
        let name = names.next();
        let path = match n % 20 {
            0..=8 => {
                let top = ["workspace", "var/lib", "opt", "srv/data"][n % 4];
                format!("/{top}/{name}/{}/**", ["src", "build", "cache"][n % 3])
            }
            9..=13 => format!("/usr/{}/{name}", ["bin", "lib/app", "share/x"][n % 3]),
            14 => format!("/etc/{name}/{{main,local,override}}.conf"),
            15 | 16 => format!("/home/*/.{name}/**"),
            17 => format!("/**/*.{name}"),
            18 => format!("/**/{name}/**"),
            _ => format!("/data/*/{name}-*.csv"),
        };
        let mut rule = template.clone();
        rule.id.value = format!("r{n}");
        rule.paths = vec![Glob::path(&path, Span::default()).unwrap()];
        rule.effect.value = [Effect::Allow, Effect::Block, Effect::Escalate][n % 3].clone();
        section.rules.push(rule);
    }
    Arc::new(policy)
}

struct Names(u64);

impl Names {
    fn next(&mut self) -> String {
        let mut name = String::new();
        for _ in 0..8 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            name.push(char::from(b'a' + (self.0 % 26) as u8));
        }
        name
    }
}

/// The most memory this process has ever held.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}

#[test]
fn five_thousand_rules_compile_in_a_second_and_256_mib() {
    for count in [1, 10, 100, 1000, 5000] {
        let policy = policy(count);
        let start = processor_time();
        let plan = compile(&[policy], &IdMap::default(), 1).unwrap();
        let took = processor_time() - start;
        println!(
            "{count} rules: {took:?}, {} states, {} words ({} KiB), {:?}",
            // Behind the header, a state is the only word whose top bit is set.
            plan.arena.iter().skip(DOMAINS_AT as usize).filter(|&&word| word >> 63 == 1).count(),
            plan.used,
            plan.used / 128,
            plan.units[0].naming[Action::Write as usize]
        );
        assert!(took < Duration::from_secs(1), "{count} rules took {took:?}");
    }
    let peak = peak();
    println!("peak {} MiB", peak >> 20);
    assert!(peak < 256 << 20, "{} MiB", peak >> 20);
}
