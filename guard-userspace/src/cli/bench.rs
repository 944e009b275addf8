//! `guard bench`: what guard costs on this host.

use std::path::PathBuf;
use std::time::Duration;

use guard_userspace::bench::{self, Figure, Part};
use serde_json::json;

use super::{Ending, term};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The parts need no root and no daemon, and change nothing of guard's. To see what a session pays, \
                        measure `--only calls` outside, then inside: `guard run --policy P -- guard bench --only calls`."
)]
pub(crate) struct Args {
    /// Measure only this (may be given again)
    #[arg(long, value_enum, value_name = "PART")]
    only: Vec<Part>,
    /// Seconds to spend on each part
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// A directory to work in; else a new one among the temporary files
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        let parts: Vec<Part> =
            Part::ALL.into_iter().filter(|part| self.only.is_empty() || self.only.contains(part)).collect();
        let place = Place::make(self.dir.clone())?;
        let mut all = Vec::new();
        for part in parts {
            if !self.json {
                term::print(&format!("{}\n", part.title()))?;
            }
            let figures = bench::measure(part, &place.0, Duration::from_secs(self.seconds))?;
            if !self.json {
                term::print(&figures.iter().map(line).collect::<String>())?;
            }
            all.push(json!({ "part": part, "figures": figures }));
        }
        if self.json {
            term::print_json(&json!({ "parts": all }))?;
        }
        Ok(Ending::Fine)
    }
}

fn line(figure: &Figure) -> String {
    let value = match figure.value {
        value if value >= 1_000.0 => grouped(value),
        value if value >= 10.0 => format!("{value:.0}"),
        value => format!("{value:.2}"),
    };
    let mut text = format!("  {:<30} {:>12} {}\n", figure.name, value, figure.unit);
    if !figure.beside.is_empty() {
        text += &format!("  {:<30} {:>12}   {}\n", "", "", figure.beside);
    }
    text
}

fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A directory of this run's own, gone with it.
struct Place(PathBuf);

impl Place {
    fn make(within: Option<PathBuf>) -> anyhow::Result<Self> {
        use anyhow::Context as _;
        use std::os::unix::fs::DirBuilderExt as _;
        let within = within.unwrap_or_else(std::env::temp_dir);
        let path = within.join(format!("guard-bench-{}", std::process::id()));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("make {}; `--dir` names another directory", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!(grouped(1_234_567.4), "1,234,567");
        assert_eq!(grouped(999.0), "999");
    }
}
