//! Checks that need the whole document.
//!
//! [`whole`] finds errors and belongs to parsing; [`advice`] and [`host`] find what is legal and still worth a second
//! look, the latter by looking at this host's files.

mod advice;
mod files;
mod names;
mod reach;

use super::diag::Report;
use super::model::Policy;
use super::parse::Cx;

pub(super) fn whole(policy: &Policy, cx: &mut Cx) {
    names::check(policy, cx);
    reach::check(policy, cx);
}

/// Warnings that follow from the text alone.
pub fn advice(policy: &Policy, report: &mut Report) {
    report.diagnostics.extend(advice::warnings(policy));
    report.sort();
}

/// Warnings about paths that are missing here, or are symlinks.
pub fn host(policy: &Policy, report: &mut Report) {
    report.diagnostics.extend(files::warnings(policy));
    report.sort();
}
