//! `guard audit …`: what the log says, and whether it is still what was written.

mod export;
mod filter;
mod query;
pub(super) mod replay;
mod row;
mod trace;
mod verify;

use std::path::PathBuf;

use clap::Subcommand;

use super::{Ending, places};

pub(super) use filter::time as since;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Find records by time, session, principal, policy, rule, verdict, reason, action, path or address
    Query(Box<query::Args>),
    /// Tell one session from its start to its end
    Trace(trace::Args),
    /// Decide what was recorded under another policy, and say what would change
    Replay(Box<replay::Args>),
    /// Print records for other tools
    Export(Box<export::Args>),
    /// Say whether the log is what was written: every line, checkpoint and segment
    Verify(verify::Args),
}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        match self {
            Self::Query(args) => args.run(),
            Self::Trace(args) => args.run(),
            Self::Replay(args) => args.run(),
            Self::Export(args) => args.run(),
            Self::Verify(args) => args.run(),
        }
    }
}

/// Where the log is.
#[derive(Debug, clap::Args)]
struct Where {
    /// Directory of the log's segments
    #[arg(long, value_name = "DIR", default_value = places::AUDIT)]
    dir: PathBuf,
}
