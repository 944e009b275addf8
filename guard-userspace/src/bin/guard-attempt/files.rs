//! Files: opening, naming, changing, reading what the rules do not give.

pub(crate) mod inherited;
pub(crate) mod meta;
pub(crate) mod names;
pub(crate) mod open;
pub(crate) mod read;
pub(crate) mod strange;
pub(crate) mod uring;
