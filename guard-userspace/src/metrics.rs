//! What Prometheus reads: `GET /metrics`, of this host alone, and only if the configuration asks for it.

mod page;
mod serve;

pub use page::{Decisions, Drill, NAMES, Snapshot};
pub use serve::{Page, Server};
