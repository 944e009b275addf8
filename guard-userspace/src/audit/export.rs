//! Records in the formats of other tools.

mod ocsf;
mod otlp;

use super::clock;
use super::read::Entry;

pub use ocsf::ocsf;
pub use otlp::{otlp, otlp_batch};

/// Nanoseconds since 1970.
fn nanoseconds(entry: &Entry<'_>) -> u64 {
    clock::parse(&entry.time).unwrap_or_default()
}

/// Whether the call did not go on.
pub fn is_refused(entry: &Entry<'_>) -> bool {
    entry.errno != 0
}
