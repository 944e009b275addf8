//! Green only with a control that worked, no effect, the right end and the record.

use super::result::{Arm, Outcome, Status};
use super::{Selected, Tried};
use crate::drill::records::Records;
use crate::drill::{Drill, Effect, End, Expect, Kind};

/// What a kernel says that does not have the thing at all.
const MISSING: &[i32] = &[
    libc::ENOSYS,
    libc::EAFNOSUPPORT,
    libc::EPROTONOSUPPORT,
    libc::ESOCKTNOSUPPORT,
    libc::EOPNOTSUPP,
    libc::ENOPROTOOPT,
    libc::ENODEV,
    libc::ENXIO,
    libc::ENOENT,
    libc::ENOTTY,
    libc::EINVAL,
    libc::EIO,
    libc::EACCES,
];

/// Without a log nothing is said of records: chaos takes them away.
pub(super) fn judge(
    selected: &Selected,
    tried: &[Tried],
    records: &Records,
    log_reached: Option<bool>,
) -> Outcome {
    let drill = &selected.drill;
    if let Some(why) = &selected.skip {
        return Outcome::new(selected, Status::Skipped, vec![why.clone()], Vec::new());
    }
    let mut failed = tried.iter().filter(|one| !one.inside && !drill.control.contains(&one.ended.end));
    if drill.optional
        && let Some(why) = failed.find_map(missing)
    {
        return Outcome::new(selected, Status::Skipped, vec![why], Vec::new());
    }
    let mut wrong = Vec::new();
    let mut arms = Vec::new();
    for one in tried {
        let found = if one.inside { attempt(drill, one, records, log_reached) } else { control(drill, one) };
        arms.push(Arm::of(one, found.clone()));
        let whose = if one.inside { "inside" } else { "control" };
        wrong.extend(
            found.map(|what| format!("{} as {}, {}: {what}", whose, one.tier.name(), one.way.name())),
        );
    }
    let status = if wrong.is_empty() { Status::Green } else { Status::Gap };
    Outcome::new(selected, status, wrong, arms)
}

fn missing(one: &Tried) -> Option<String> {
    match &one.ended.end {
        End::Errno(number) if MISSING.contains(number) => {
            Some(format!("this host has no such thing: outside it ends with {}", one.ended.end))
        }
        // A kernel without 32-bit calls.
        End::Killed(libc::SIGSEGV) => Some("this kernel has no 32-bit calls".to_owned()),
        End::NotReady(why) => Some(format!("it cannot be prepared here: {why}")),
        End::Did | End::Errno(_) | End::Became(_) | End::Killed(_) | End::Hung => None,
    }
}

/// What is wrong with the control.
fn control(drill: &Drill, one: &Tried) -> Option<String> {
    if !drill.control.contains(&one.ended.end) {
        return Some(format!("it does not work outside either: {}", one.ended.end));
    }
    let seen = matches!(drill.effect, Effect::Changes | Effect::Arrives | Effect::Harms);
    (seen && !one.effect && drill.kind == Kind::Attack).then(|| "it had no effect outside".to_owned())
}

/// What is wrong with the attempt.
fn attempt(drill: &Drill, one: &Tried, records: &Records, log_reached: Option<bool>) -> Option<String> {
    match drill.kind {
        Kind::Keep => {
            let fine = drill.control.contains(&one.ended.end);
            (!fine).then(|| {
                format!("it must work, and ended with {}; {}", one.ended.end, records.tell(&one.ended))
            })
        }
        Kind::Attack => {
            if one.effect {
                let news = one.news.first().map(|line| format!(" ({line})")).unwrap_or_default();
                return Some(format!(
                    "it went through: {}{news}; {}",
                    one.ended.end,
                    records.tell(&one.ended)
                ));
            }
            if !drill.refusal.contains(&one.ended.end) {
                return Some(format!(
                    "no effect, but it ended with {}; {}",
                    one.ended.end,
                    records.tell(&one.ended)
                ));
            }
            let log_reached = log_reached?;
            let counted = drill.record.iter().any(|expect| matches!(expect, Expect::Counter(_)));
            if counted && one.counted == 0 {
                return Some("refused, but not counted".to_owned());
            }
            if records.holds(&one.ended, drill.record) {
                return None;
            }
            let wanted: Vec<String> = drill.record.iter().map(ToString::to_string).collect();
            let late = if log_reached { "" } else { "; the log takes no records" };
            Some(format!(
                "refused, but the record is not {}: {}{late}",
                wanted.join(" or "),
                records.tell(&one.ended)
            ))
        }
    }
}
