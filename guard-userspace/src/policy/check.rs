//! Checks that need the whole document.

use super::model::Policy;
use super::parse::Cx;

pub(super) fn whole(_policy: &Policy, _cx: &mut Cx) {}
