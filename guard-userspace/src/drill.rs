//! `guard drill`: every known way around is tried on the host itself, and must fail.
//!
//! [`catalogue`] says what is tried and what must come of it; `guard-attempt`, a program of its own, tries; [`stage`]
//! sets the scene and takes it away again; [`engine`] runs the arms, looks from outside ([`oracle`]) and judges;
//! [`report`] tells people and machines.
#![forbid(unsafe_code)]

mod arm;
pub mod catalogue;
pub mod chaos;
pub mod engine;
mod ground;
pub mod last;
pub mod measured;
mod oracle;
pub mod own;
mod records;
pub mod report;
mod stage;
mod words;

pub use engine::{Options, run};
pub use words::{Drill, Effect, End, Expect, Group, Kind, On, Profile, Residual, Stance, Tags, Tier, Way};

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// Nobody to enforce or to record.
    #[error(transparent)]
    Control(#[from] crate::control::ControlError),
    /// The log of what was refused cannot be read.
    #[error(transparent)]
    Log(#[from] crate::audit::read::ReadError),
    /// The program that makes the attempts is not there.
    #[error(
        "no `guard-attempt` beside this program or in /usr/libexec/guard: install it, or name it with --attempt"
    )]
    NoHelper,
    /// Another one is running.
    #[error("another drill is running: wait until it is done")]
    Busy,
    /// Somebody pressed Ctrl-C.
    #[error("interrupted; everything the drill made is removed")]
    Interrupted,
    /// The file whose rules are to be tried.
    #[error(transparent)]
    Own(#[from] own::OwnError),
    /// What was asked for does not exist.
    #[error("no drill is called or tagged {0:?}: `guard drill --list` names them")]
    Unknown(String),
    /// Something else on the way.
    #[error("{what}")]
    Io {
        /// The operation.
        what: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Names an operation for an error of the system.
fn doing(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> DrillError {
    move |source| DrillError::Io { what: what.into(), source }
}
