//! `guard learn`: a least-privilege policy from what sessions did.

use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::Context as _;
use guard_userspace::audit::filter::Filter;
use guard_userspace::audit::learn::{LearnError, Learned, Seen, learn};
use guard_userspace::audit::read::{Cursor, search};
use guard_userspace::policy::diff::{Direction, diff};
use guard_userspace::policy::model::Policy;
use serde_json::json;

use super::policy::{diff as differences, load_one};
use super::{Ending, places, term};

/// Refused calls that are listed.
const SHOWN: usize = 20;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Writes the policy to standard output and everything else to standard error; puts nothing \
                        into force. Exit code 1 if the policy is wider than --against anywhere."
)]
pub(crate) struct Args {
    /// UUIDs of the sessions or how they begin, or W3C trace ids
    #[arg(required = true, value_name = "SESSION")]
    sessions: Vec<String>,
    /// How many components of a path a pattern may leave open, where many names were seen in one directory
    #[arg(long, value_name = "N", default_value_t = 1)]
    slack: usize,
    /// The policy as it is: what it says beyond `allow` is kept, and the differences are shown
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Name of the policy; otherwise that of --against, or `learned`
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Directory of the log's segments
    #[arg(long, value_name = "DIR", default_value = places::AUDIT)]
    dir: PathBuf,
    /// Print policy, counts and differences as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        let present = match self.against.as_deref().map(load_one) {
            Some(Ok(policy)) => Some(policy),
            Some(Err(ending)) => return Ok(ending),
            None => None,
        };
        let mut seen = Seen::default();
        for session in &self.sessions {
            let before = seen.records;
            let filter = Filter { session: Some(session.clone()), ..Filter::default() };
            search(&self.dir, &filter, &mut Cursor::default(), |entry, _| {
                seen.take(entry);
                ControlFlow::Continue(())
            })?;
            if seen.records == before {
                eprintln!("no record of session `{session}`: `guard audit query` shows which there are");
                return Ok(Ending::Finding);
            }
        }
        let name = self.name.as_deref().or(present.as_ref().map(|policy| policy.name.value.as_str()));
        let learned = match learn(&seen, name.unwrap_or("learned"), self.slack, present.as_ref()) {
            Ok(learned) => learned,
            Err(nothing @ LearnError::Nothing) => {
                eprintln!("{nothing}");
                return Ok(Ending::Finding);
            }
            Err(error) => return Err(error).context("learn a policy"),
        };
        self.tell(&seen, &learned, present.as_ref())
    }

    fn tell(&self, seen: &Seen, learned: &Learned, present: Option<&Policy>) -> anyhow::Result<Ending> {
        let difference = present.map(|present| diff(present, &learned.policy));
        let wider = difference.as_ref().map_or(0, |difference| {
            difference.changes.iter().filter(|change| change.direction() == Direction::Laxer).count()
        });
        if self.json {
            term::print_json(&json!({
                "policy": learned.text,
                "objects": learned.objects,
                "patterns": learned.patterns,
                "records": seen.records,
                "shadowed": seen.shadowed,
                "guarded": seen.guarded,
                "baseline": seen.baseline,
                "refused": seen.refused.iter().map(|((action, object, rule), count)| json!({
                    "action": action, "object": object, "rule": rule, "count": count,
                })).collect::<Vec<_>>(),
                "difference": difference.as_ref().map(differences::json),
                "wider": wider,
            }))?;
        } else {
            term::print(&learned.text)?;
            eprint!("{}", self.remarks(seen, learned));
            if let Some(difference) = &difference {
                eprint!("\nagainst the present policy:\n{}", differences::text(difference));
            }
            if wider > 0 {
                eprintln!(
                    "wider than the present policy in {wider} places: a proposal, for a person to judge"
                );
            }
        }
        Ok(if wider > 0 { Ending::Finding } else { Ending::Fine })
    }

    fn remarks(&self, seen: &Seen, learned: &Learned) -> String {
        let mut out = format!(
            "{} from {}, slack {}: {} for {}\n",
            term::count(self.sessions.len(), "session"),
            term::count(seen.records as usize, "record"),
            self.slack,
            term::count(learned.patterns, "pattern"),
            term::count(learned.objects, "object"),
        );
        let notices = [
            (
                seen.shadowed,
                "calls went through because of shadow mode alone; the policy allows them: look at each",
            ),
            (
                seen.guarded,
                "calls were let through by throttle, sandbox or a person; no allow was learned from them",
            ),
            (
                seen.baseline,
                "calls were left out: guard's baseline blocks them, shadow mode let them through, and no policy can",
            ),
        ];
        for (count, what) in notices.iter().filter(|(count, _)| *count > 0) {
            out.push_str(&format!("  {count} {what}\n"));
        }
        if !seen.refused.is_empty() {
            out.push_str("refused, and refused by this policy too:\n");
            let mut refused: Vec<_> = seen.refused.iter().collect();
            refused.sort_by_key(|(what, count)| (std::cmp::Reverse(**count), *what));
            for ((action, object, rule), count) in refused.iter().take(SHOWN) {
                out.push_str(&format!("{count:>8}  {action:8} {object} ({rule})\n"));
            }
            if refused.len() > SHOWN {
                out.push_str(&format!("{:>8}  … {} more\n", "", refused.len() - SHOWN));
            }
        }
        out
    }
}
