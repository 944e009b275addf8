//! `guard policy schema`.

use guard_userspace::policy::schema;

use super::super::{Ending, term};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "For an editor with a YAML language server, save the output and begin policies with\n\
                        `# yaml-language-server: $schema=PATH`."
)]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        term::print(&schema::text())?;
        Ok(Ending::Fine)
    }
}
