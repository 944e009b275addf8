//! Checks that need the whole document.
//!
//! [`whole`] finds errors and belongs to parsing; [`advice`] and [`host`] find what is legal and still worth a second
//! look, the latter by looking at this host's files.

mod advice;
mod files;
mod names;
mod reach;

use std::sync::Arc;

use super::diag::{Code, Diagnostic, Report};
use super::model::{Policy, Rule, Sections};
use super::parse::Cx;
use crate::compile;

/// Rules that a message lists.
const SHOWN: usize = 5;

pub(super) fn whole(policy: &Policy, cx: &mut Cx) {
    names::check(policy, cx);
    reach::check(policy, cx);
}

/// Warnings that follow from the text alone.
pub fn advice(policy: &Policy, report: &mut Report) {
    report.diagnostics.extend(advice::warnings(policy));
    report.sort();
}

/// Whether the policy can be compiled by itself; what several make together is known only where they are loaded.
pub fn compiles(policy: &Arc<Policy>, report: &mut Report) {
    let Err(error) = compile::compile_alone(policy) else { return };
    let (message, help) = match &error {
        compile::Error::Explosive { action, rules, .. } => (
            match rules.as_slice() {
                [] => format!("the {action} rules together can match in too many ways at once"),
                rules => format!("the {action} rules {} can match in too many ways at once", names(rules)),
            },
            "let their paths begin at a directory instead of `/**/`, or use one `*` in a component, at its beginning: \
             `/**/*.log` instead of `/**/a*b*.log`"
                .to_owned(),
        ),
        other => (other.to_string(), "make the policy smaller, or split it in two".to_owned()),
    };
    let first = match &error {
        compile::Error::Explosive { rules, .. } => rules.first().and_then(|id| find(policy, id)),
        _ => None,
    };
    let span = first.map_or(policy.name.span, |rule| rule.id.span);
    report.diagnostics.push(Diagnostic::new(Code::CannotCompile, span, message).help(help));
    report.sort();
}

fn names(rules: &[String]) -> String {
    let shown: Vec<String> = rules.iter().take(SHOWN).map(|id| format!("`{id}`")).collect();
    match rules.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn find<'a>(policy: &'a Policy, id: &str) -> Option<&'a Rule> {
    let profiles = policy.profiles.iter().map(|profile| &profile.sections);
    let mut all = std::iter::once(&policy.sections).chain(profiles).flat_map(Sections::iter);
    all.find_map(|(_, section)| section.rules.iter().find(|rule| rule.id.value == id))
}

/// Warnings about paths that are missing here, or are symlinks.
pub fn host(policy: &Policy, report: &mut Report) {
    report.diagnostics.extend(files::warnings(policy));
    report.sort();
}
