//! What came of an attempt, seen from outside every domain.

mod far;
mod outsider;
mod tree;

pub(super) use far::Far;
pub(super) use outsider::Outsider;
pub(super) use tree::snapshot;
