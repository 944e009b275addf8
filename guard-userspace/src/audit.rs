//! Events → records → a log that cannot be changed unseen, and everything that reads it back.
//!
//! In the order of the data's way: [`Scribe`] (an event and what its numbers are called → [`Record`]) → `line` (→ one
//! line of JSON) → [`Log`] (→ hash chain, segments, checkpoints) → [`verify`], and
//! [`read`] with [`filter`] for whoever asks.
//! The format is `docs/audit-format.md`; the verifier in `tests/verify` was written from that page alone.

mod cgroups;
mod clock;
mod escape;
pub mod export;
pub(crate) mod fast;
mod files;
pub mod filter;
mod head;
mod identity;
pub mod index;
pub mod learn;
mod line;
mod log;
mod names;
mod pieces;
mod programs;
pub mod read;
mod reasons;
mod record;
pub mod replay;
pub mod report;
mod scribe;
mod seal;
mod sessions;
pub mod verify;

pub use clock::{Clock, timestamp};
pub use escape::{escape, unescape, visible};
pub use head::Head;
pub use identity::{Genesis, Identity, IdentityError};
pub use log::{Log, LogError, LogStatus, Opened, Options};
pub use names::{Cause, Names, PlanNames, Who};
pub use reasons::sentence;
pub use record::{Argv, Body, EventRecord, Note, Record, Value};
pub use scribe::{HeldCall, Host, Scribe};
pub use seal::{Hash, hash};
pub use sessions::{Life, populated};
