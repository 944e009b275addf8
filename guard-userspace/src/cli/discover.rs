//! `guard discover`: what looks like an agent and is outside every domain.

use std::collections::HashSet;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use guard_userspace::discover::{Endpoints, Sighting, look};
use guard_userspace::kernel::{Kernel, Pins};

use super::{Ending, places, term};

#[derive(Debug, clap::Args)]
#[command(after_help = "Looks at programs, interpreters' packages, names (never values) of variables, and \
    connections to models' APIs, whose names it looks up. Exit code 0 if nothing was found, 1 if something was.")]
pub(crate) struct Args {
    /// Print JSON: a list, or with --follow one object a line
    #[arg(long)]
    json: bool,
    /// Go on, and print each one that appears
    #[arg(long)]
    follow: bool,
    /// Seconds between two looks of --follow
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// Look up no names: know models' APIs by /etc/hosts alone
    #[arg(long)]
    offline: bool,
    /// Directory of pins
    #[arg(long, default_value = places::PINS)]
    pins: PathBuf,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        let endpoints = if self.offline { Endpoints::from_hosts() } else { Endpoints::resolve() };
        let mut seen = HashSet::new();
        loop {
            // Each time anew: the daemon may have started meanwhile.
            let kernel = Kernel::inspect(&Pins::at(self.pins.clone()));
            let inside = |pid| kernel.as_ref().is_some_and(|kernel| kernel.label(pid).is_some());
            let mut found = look(&endpoints, inside)?;
            found.retain(|sighting| seen.insert((sighting.pid, sighting.start)));
            self.print(&found)?;
            if !self.follow {
                return Ok(if found.is_empty() { Ending::Fine } else { Ending::Finding });
            }
            thread::sleep(Duration::from_secs(self.every));
        }
    }

    fn print(&self, found: &[Sighting]) -> anyhow::Result<()> {
        if self.json && !self.follow {
            return term::print_json(&serde_json::to_value(found)?);
        }
        for sighting in found {
            let line = if self.json { serde_json::to_string(sighting)? } else { line(sighting) };
            term::print(&format!("{line}\n"))?;
        }
        if found.is_empty() && !self.follow {
            term::print("nothing outside every domain looks like an agent\n")?;
        }
        Ok(())
    }
}

fn line(sighting: &Sighting) -> String {
    let signs: Vec<String> = sighting.signs.iter().map(ToString::to_string).collect();
    let weak = if sighting.is_sure() { "" } else { " (perhaps)" };
    let clean = |text: &str| super::ps::cut(text, 98);
    format!(
        "pid {} uid {}{weak}: {}\n  {}\n  {}",
        sighting.pid,
        sighting.uid,
        clean(&signs.join(", ")),
        clean(&sighting.exe),
        clean(&sighting.cgroup)
    )
}
