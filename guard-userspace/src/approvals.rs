//! Calls that wait for an answer, and the answers.
//!
//! The kernel stops a call and says so in an event; the daemon keeps it in a bounded [`Queue`] with the facts that an
//! approver needs ([`facts`], never the agent's own words), until somebody answers or the time is up. The answer goes
//! into a map, bound to the digest that the kernel made of the call, and the process is continued: it makes the call
//! again and finds it.

pub mod decider;
mod duration;
pub mod facts;
mod message;
mod queue;
mod request;
pub(crate) mod sign;

pub use duration::{NoDuration, parse_duration};
pub use message::{Event, Outcome, message, question};
pub use queue::{Again, Arrival, Bounds, Pending, Queue};
pub use request::Request;
pub(crate) use request::object;
