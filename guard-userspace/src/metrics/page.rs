//! The metrics themselves, and their text (Prometheus exposition format 0.0.4).

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use guard_common::abi::{Action, EventKind, Reason, Verdict};

use crate::audit::{Body, Record};
use crate::sinks::Standing;

/// Name, kind and meaning of every metric there is; the dashboard's test holds it to this list.
pub const NAMES: &[(&str, &str, &str)] = &[
    ("guard_decisions_recorded_total", "counter", "Decisions in the audit log."),
    ("guard_kernel_total", "counter", "What the kernel counted, recorded or not, by site."),
    ("guard_events_lost_total", "counter", "Events for which the ring had no room."),
    ("guard_records_total", "counter", "Number of the log's last record."),
    ("guard_log_writable", "gauge", "1 while the audit log can be written."),
    ("guard_queue_age_seconds", "gauge", "Age of the oldest event of the last batch when it was read."),
    ("guard_generation", "gauge", "The policy generation that decides."),
    ("guard_policy_age_seconds", "gauge", "Time since that generation was put into force."),
    ("guard_policy_info", "gauge", "One for each policy in force, with its mode."),
    ("guard_reload_refused", "gauge", "1 while the policies on disk are refused."),
    ("guard_sessions", "gauge", "Sessions that live."),
    ("guard_silenced", "gauge", "1 while kernel.ftrace_enabled keeps every program silent."),
    ("guard_sink_sent_records_total", "counter", "Records that a sink has delivered."),
    ("guard_sink_dropped_records_total", "counter", "Records that a sink left out."),
    ("guard_sink_failures_total", "counter", "Tries of a sink that failed."),
    ("guard_sink_waiting_bytes", "gauge", "Bytes that wait for a sink."),
    (
        "guard_decider_answers_total",
        "counter",
        "What the decider said of held calls; none: no answer in time.",
    ),
    ("guard_gateway_up", "gauge", "1 while the gateway answers."),
    ("guard_drill_age_seconds", "gauge", "Time since the last drill ended."),
    ("guard_drill_results", "gauge", "Outcomes of the last drill."),
];

/// Verdict, reason, action, generation, domain and policy.
type Numbers = (Verdict, Reason, Action, u64, u32, u8);

/// Decisions by verdict, reason, action and policy.
#[derive(Debug, Default)]
pub struct Decisions {
    /// By numbers, which cost no memory to look up.
    live: HashMap<Numbers, (String, u64)>,
    /// Of generations that have gone.
    before: BTreeMap<(String, Verdict, Reason, Action), u64>,
    generation: u64,
}

impl Decisions {
    /// Counts what is a decision among records that are in the log.
    pub fn count(&mut self, records: &[Record]) {
        for record in records {
            let Body::Event(record) = &record.body else { continue };
            let event = &record.event;
            if event.kind != EventKind::Decision {
                continue;
            }
            if event.generation != self.generation {
                self.fold();
                self.generation = event.generation;
            }
            let key =
                (event.verdict, event.reason, event.action, event.generation, event.domain, event.policy);
            self.live.entry(key).or_insert_with(|| (record.decided.policy.clone(), 0)).1 += 1;
        }
    }

    /// So that nothing grows with the number of reloads.
    fn fold(&mut self) {
        for ((verdict, reason, action, ..), (policy, count)) in self.live.drain() {
            *self.before.entry((policy, verdict, reason, action)).or_default() += count;
        }
    }

    fn all(&self) -> BTreeMap<(String, Verdict, Reason, Action), u64> {
        let mut all = self.before.clone();
        for ((verdict, reason, action, ..), (policy, count)) in &self.live {
            *all.entry((policy.clone(), *verdict, *reason, *action)).or_default() += count;
        }
        all
    }
}

/// What the last drill showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drill {
    pub age_seconds: u64,
    pub green: u64,
    pub gap: u64,
    pub skipped: u64,
}

/// Everything a page says but the decisions.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub kernel: Vec<(&'static str, u64)>,
    pub lost: u64,
    pub records: u64,
    pub writable: bool,
    pub queue_age: f64,
    pub generation: u64,
    pub policy_age: f64,
    /// Name and mode.
    pub policies: Vec<(String, String)>,
    pub refused: bool,
    pub sessions: u64,
    pub silenced: bool,
    pub sinks: Vec<Standing>,
    /// How often the decider said what; empty without one.
    pub decider: Vec<(&'static str, u64)>,
    /// What a probe of the gateways found last; empty without one.
    pub gateways: Vec<(String, bool)>,
    /// Empty until there has been one.
    pub drill: Option<Drill>,
}

impl Snapshot {
    /// The text.
    pub fn page(&self, decisions: &Decisions) -> String {
        let mut out = String::with_capacity(8192);
        for (name, kind, help) in NAMES {
            let values = self.values(name, decisions);
            if values.is_empty() {
                continue;
            }
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in values {
                let _ = writeln!(out, "{name}{labels} {value}");
            }
        }
        out
    }

    fn values(&self, name: &str, decisions: &Decisions) -> Vec<(String, f64)> {
        let one = |value: f64| vec![(String::new(), value)];
        let flag = |value: bool| one(f64::from(u8::from(value)));
        let sinks = |value: fn(&Standing) -> u64| {
            self.sinks.iter().map(|sink| (labels(&[("sink", &sink.name)]), value(sink) as f64)).collect()
        };
        match name {
            "guard_decisions_recorded_total" => decisions
                .all()
                .into_iter()
                .map(|((policy, verdict, reason, action), count)| {
                    let labels = labels(&[
                        ("verdict", verdict.name()),
                        ("reason", reason.name()),
                        ("action", action.name()),
                        ("policy", &policy),
                    ]);
                    (labels, count as f64)
                })
                .collect(),
            "guard_kernel_total" => {
                self.kernel.iter().map(|(site, count)| (labels(&[("site", site)]), *count as f64)).collect()
            }
            "guard_events_lost_total" => one(self.lost as f64),
            "guard_records_total" => one(self.records as f64),
            "guard_log_writable" => flag(self.writable),
            "guard_queue_age_seconds" => one(self.queue_age),
            "guard_generation" => one(self.generation as f64),
            "guard_policy_age_seconds" => one(self.policy_age),
            "guard_policy_info" => self
                .policies
                .iter()
                .map(|(policy, mode)| (labels(&[("policy", policy), ("mode", mode)]), 1.0))
                .collect(),
            "guard_reload_refused" => flag(self.refused),
            "guard_sessions" => one(self.sessions as f64),
            "guard_silenced" => flag(self.silenced),
            "guard_sink_sent_records_total" => sinks(|sink| sink.sent),
            "guard_sink_dropped_records_total" => sinks(|sink| sink.dropped),
            "guard_sink_failures_total" => sinks(|sink| sink.failed),
            "guard_sink_waiting_bytes" => sinks(|sink| sink.waiting_bytes),
            "guard_decider_answers_total" => self
                .decider
                .iter()
                .map(|(answer, count)| (labels(&[("answer", answer)]), *count as f64))
                .collect(),
            "guard_gateway_up" => self
                .gateways
                .iter()
                .map(|(gateway, up)| (labels(&[("gateway", gateway)]), f64::from(u8::from(*up))))
                .collect(),
            "guard_drill_age_seconds" => {
                self.drill.iter().flat_map(|drill| one(drill.age_seconds as f64)).collect()
            }
            "guard_drill_results" => self
                .drill
                .iter()
                .flat_map(|drill| [("green", drill.green), ("gap", drill.gap), ("skipped", drill.skipped)])
                .map(|(outcome, count)| (labels(&[("outcome", outcome)]), count as f64))
                .collect(),
            _ => Vec::new(),
        }
    }
}

fn labels(pairs: &[(&str, &str)]) -> String {
    let mut out = String::from("{");
    for (index, (name, value)) in pairs.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        let _ = write!(out, "{name}=\"");
        for c in value.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                c => out.push(c),
            }
        }
        out.push('"');
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_value_where_there_is_one_to_tell() {
        let snapshot = Snapshot {
            kernel: vec![("blocked", 3)],
            policies: vec![("a \"b\"".into(), "shadow".into())],
            decider: vec![("approve", 5)],
            gateways: vec![("127.0.0.1:18080".into(), true)],
            drill: Some(Drill { age_seconds: 7, green: 2, gap: 0, skipped: 1 }),
            sinks: vec![Standing {
                name: "journald".into(),
                sent: 1,
                dropped: 2,
                failed: 3,
                waiting_bytes: 4,
            }],
            ..Snapshot::default()
        };
        let page = snapshot.page(&Decisions::default());
        for (name, ..) in NAMES.iter().filter(|(name, ..)| !name.starts_with("guard_decisions")) {
            assert!(page.contains(&format!("\n{name}")), "{name} in {page}");
        }
        assert!(page.contains(r#"guard_policy_info{policy="a \"b\"",mode="shadow"} 1"#), "{page}");
        assert!(page.contains("guard_kernel_total{site=\"blocked\"} 3\n"), "{page}");
    }
}
