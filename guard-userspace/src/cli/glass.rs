//! `guard freeze`, `thaw` and `kill`: a session is stopped, goes on, or ends, now.

use std::path::PathBuf;

use guard_userspace::control::{Act, Acted, Client, Request};

use super::{Ending, places, term};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The session's UUID, as `guard ps` shows it
    session: String,
    /// Why, for the record
    #[arg(long, default_value = "", value_name = "TEXT")]
    note: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Directory of sockets and runtime state
    #[arg(long, default_value = places::RUN)]
    run: PathBuf,
}

impl Args {
    pub(crate) fn run(self, act: Act) -> anyhow::Result<Ending> {
        let request = Request::Act { session: self.session, act, note: self.note };
        let acted: Acted = Client::connect(&self.run)?.ask(&request)?;
        if self.json {
            term::print_json(&serde_json::to_value(&acted)?)?;
            return Ok(Ending::Fine);
        }
        let done = match act {
            Act::Freeze => "frozen",
            Act::Thaw => "going on",
            Act::Kill => "killed",
        };
        let count = format!("{} process{}", acted.processes, if acted.processes == 1 { "" } else { "es" });
        term::print(&format!(
            "{done}: {} in {}, {count}, {} ms\n",
            acted.session, acted.cgroup, acted.milliseconds
        ))?;
        Ok(Ending::Fine)
    }
}
