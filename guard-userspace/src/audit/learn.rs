//! A least-privilege policy from what a session did.
//!
//! Only calls that went through, and that a plain `allow` let through, become rules. What the present policy blocks,
//! throttles, sandboxes or escalates stays as it is written there: the strictest rule wins, so what is learned can
//! only narrow it. Where recorded behaviour goes beyond the present policy (it was in shadow mode), the outcome is
//! wider than it, and `guard policy diff` says so; nothing here is ever put into force.

mod paths;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use guard_common::abi::{Action, Reason, Verdict};

use super::escape::unescape;
use super::read::Entry;
use crate::compile::baseline;
use crate::compile::explain::{Compiled, Question};
use crate::events::Peer;
use crate::policy::fmt::{FmtError, canonical};
use crate::policy::model::Policy;
use crate::policy::parse;
use crate::policy::source::Source;

pub use paths::{MANY, patterns};

/// Why no policy was written.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    #[error(
        "no allowed call of these sessions is recorded: write `audit: {{ allows: first }}` into their policy, and let them run again"
    )]
    Nothing,
    #[error("what was learned is no policy: {0}")]
    Wrong(String),
    #[error("what was learned would not allow {0}, which was seen")]
    Lost(String),
    #[error("bring what was learned into its canonical form")]
    Form(#[from] FmtError),
    #[error("compile what was learned")]
    Compile(#[from] crate::compile::Error),
}

/// What was recorded of some sessions.
#[derive(Debug, Default)]
pub struct Seen {
    /// By action: objects as the automata are asked about them.
    pub allowed: BTreeMap<Action, BTreeSet<Vec<u8>>>,
    /// Peers that were reached because they are the gateway.
    pub gateways: BTreeSet<String>,
    /// Cgroups of the sessions.
    pub cgroups: BTreeSet<String>,
    /// Calls that did not go through, by what they are called in the log, with how often.
    pub refused: BTreeMap<(String, String, String), u64>,
    /// Calls that another verdict than `allow` let through.
    pub guarded: u64,
    /// Calls that went through because of shadow mode alone.
    pub shadowed: u64,
    /// Calls that guard's baseline blocks as soon as something enforces; no policy opens them.
    pub baseline: u64,
    pub records: u64,
}

impl Seen {
    /// Takes note of one record.
    pub fn take(&mut self, entry: &Entry<'_>) {
        self.records += 1;
        if entry.kind == "session-start" && !entry.cgroup.is_empty() {
            self.cgroups.insert(entry.cgroup.clone().into_owned());
        }
        if !entry.is_decision() {
            return;
        }
        let (Some(action), reason) =
            (Action::from_name(&entry.action), Reason::from_name(&entry.reason_code))
        else {
            return;
        };
        if entry.errno != 0 {
            let key = (
                entry.action.clone().into_owned(),
                entry.object.clone().into_owned(),
                entry.rule.clone().into_owned(),
            );
            *self.refused.entry(key).or_default() += 1;
            return;
        }
        self.shadowed += u64::from(entry.shadowed);
        if Verdict::from_name(&entry.verdict) != Some(Verdict::Allow) || reason == Some(Reason::Approved) {
            self.guarded += 1;
            return;
        }
        let object = match &*entry.object_kind {
            "path" | "socket" => unescape(&entry.object),
            "address" => entry.object.parse::<Peer>().ok().map(Peer::to_key),
            _ => None,
        };
        match (reason, object) {
            (Some(Reason::Gateway), _) => {
                let peer = entry.object.rsplit_once('/').map_or(&*entry.object, |(peer, _)| peer);
                self.gateways.insert(peer.to_owned());
            }
            (Some(Reason::Baseline | Reason::SameSession), _) | (_, None) => {}
            // Let through by shadow mode alone, and no rule can let it through.
            (_, Some(object)) if baseline::line_for(action, &object).is_some() => {
                self.baseline += 1;
                self.shadowed -= u64::from(entry.shadowed);
            }
            (_, Some(object)) => {
                self.allowed.entry(action).or_default().insert(object);
            }
        }
    }
}

/// What was learned.
#[derive(Debug)]
pub struct Learned {
    /// In canonical form.
    pub text: String,
    pub policy: Arc<Policy>,
    /// How many patterns stand for how many objects.
    pub patterns: usize,
    pub objects: usize,
}

/// Writes the policy. `slack` is how many components of a path a pattern may leave open.
pub fn learn(seen: &Seen, name: &str, slack: usize, present: Option<&Policy>) -> Result<Learned, LearnError> {
    if seen.allowed.is_empty() {
        return Err(LearnError::Nothing);
    }
    let (document, patterns) = text::document(seen, name, slack, present);
    let rough = Arc::new(Source::new(Path::new("learned"), document.to_string()));
    let wrong = |parsed: &parse::Parsed| {
        let first = parsed.report.diagnostics.first();
        LearnError::Wrong(first.map_or_else(|| "not read".to_owned(), |found| found.message.clone()))
    };
    let parsed = parse::parse(Arc::clone(&rough));
    if parsed.policy.is_none() {
        return Err(wrong(&parsed));
    }
    let text = canonical(&rough)?;
    let parsed = parse::parse(Arc::new(Source::new(Path::new("learned"), text.clone())));
    let Some(policy) = parsed.policy else { return Err(wrong(&parsed)) };
    let policy = Arc::new(policy);
    prove(seen, &policy, present)?;
    let objects = seen.allowed.values().map(BTreeSet::len).sum();
    Ok(Learned { text, policy, patterns, objects })
}

/// Asks the learned policy about everything that was seen: it must allow it, unless a rule that was there before
/// says more.
fn prove(seen: &Seen, policy: &Arc<Policy>, present: Option<&Policy>) -> Result<(), LearnError> {
    let compiled = Compiled::new(policy)?;
    let domain = compiled.domain(None);
    for (action, objects) in &seen.allowed {
        for object in objects {
            let question = Question { action: *action, bytes: object.clone(), args: None };
            let decision = compiled.plan().decide(domain, &question);
            let kept = present.is_some()
                && (decision.needs_args
                    || compiled
                        .plan()
                        .matching(domain, &question)
                        .iter()
                        .any(|(_, rule)| !text::is_learned(rule)));
            if decision.verdict() != Verdict::Allow && !kept {
                return Err(LearnError::Lost(super::escape::escape(object)));
            }
        }
    }
    Ok(())
}
