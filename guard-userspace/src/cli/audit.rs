//! `guard audit …`: what the log says, and whether it is still what was written.

mod verify;

use std::path::PathBuf;

use clap::Subcommand;

use super::{Ending, places};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say whether the log is what was written: every line, checkpoint and segment
    Verify(verify::Args),
}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        match self {
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
