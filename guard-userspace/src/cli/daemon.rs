//! `guard daemon`: the service.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use guard_userspace::compile::IdMap;
use guard_userspace::config::{self, ConfigError, Settings};
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
    /// The configuration; without this /etc/guard/guard.yaml, if it is there
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Say whether configuration and policies are fit to start with, and do nothing
    #[arg(long)]
    check: bool,
    /// Ask each gateway for a way to this host, as a client would (CONNECT), not only whether it listens
    #[arg(long, value_name = "HOST:PORT")]
    probe: Option<String>,
    /// Where the kernel runs no BPF security module, enforce the network alone, and say so everywhere
    #[arg(long)]
    allow_partial: bool,
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
        let settings = config::load(self.config.as_deref());
        if self.check {
            return self.say(settings);
        }
        let settings = settings.map_err(|error| anyhow::anyhow!("{}", daemon::chain(&error)))?;
        let config = Config {
            policies: self.policies,
            state: self.state,
            run: self.run,
            cgroups: places::cgroups()?,
            pins: Pins::at(self.pins),
            detach: self.detach,
            settings,
            probe: self.probe,
            allow_partial: self.allow_partial,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        match runtime.block_on(daemon::run(config)) {
            Ok(()) => Ok(Ending::Fine),
            Err(error) => Err(anyhow::anyhow!("{}", daemon::chain(&error))),
        }
    }

    /// Everything that is wrong, at once.
    fn say(&self, settings: Result<Settings, ConfigError>) -> anyhow::Result<Ending> {
        let mut wrong = Vec::new();
        if let Err(error) = &settings {
            wrong.push(daemon::chain(error));
        }
        let compiled = daemon::load_policies(&self.policies)
            .and_then(|loaded| loaded.compile(&IdMap::default(), 0).map(|plan| plan.units.len()));
        if let Err(error) = &compiled {
            wrong.push(daemon::chain(error));
        }
        wrong.iter().for_each(|what| eprintln!("guard: {what}"));
        if wrong.is_empty() {
            super::term::print("the configuration and the policies are fit to start with\n")?;
        }
        Ok(if wrong.is_empty() { Ending::Fine } else { Ending::Finding })
    }
}
