//! `guard daemon`: the service.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use guard_userspace::daemon::{self, Config};
use guard_userspace::kernel::Pins;

use super::{Ending, places};

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Directory of policies, one document a file
    #[arg(long, default_value = places::POLICIES)]
    policies: PathBuf,
    /// Directory of the audit log and keys
    #[arg(long, default_value = places::STATE)]
    state: PathBuf,
    /// Directory of sockets and runtime state
    #[arg(long, default_value = places::RUN)]
    run: PathBuf,
    /// Directory of a bpf file system to pin to
    #[arg(long, default_value = places::PINS)]
    pins: PathBuf,
    /// Stop enforcing when the daemon is told to end; without this everything keeps deciding
    #[arg(long)]
    detach: bool,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        let filter = tracing_subscriber::EnvFilter::try_from_env("GUARD_LOG")
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .init();
        let config = Config {
            policies: self.policies,
            state: self.state,
            run: self.run,
            cgroups: places::cgroups()?,
            pins: Pins::at(self.pins),
            detach: self.detach,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        match runtime.block_on(daemon::run(config)) {
            Ok(()) => Ok(Ending::Fine),
            Err(error) => Err(anyhow::anyhow!("{}", daemon::chain(&error))),
        }
    }
}
