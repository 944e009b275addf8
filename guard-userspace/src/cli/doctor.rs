//! `guard doctor`: what this host can enforce, and the mend for what it cannot.

use clap::Args as ClapArgs;
use guard_userspace::doctor::{self, Health};

use super::{Ending, places};

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        let findings = doctor::examine(places::cgroups().ok().as_deref());
        let able = findings.iter().all(|finding| finding.health != Health::Bad);
        if self.json {
            let answer = serde_json::json!({ "able": able, "findings": findings });
            println!("{}", serde_json::to_string_pretty(&answer)?);
        } else {
            for finding in &findings {
                let word = match finding.health {
                    Health::Good => "good",
                    Health::Weak => "weak",
                    Health::Bad => "BAD",
                };
                println!("{word:4}  {:18} {}", finding.what, finding.evidence);
                if !finding.mend.is_empty() {
                    println!("      {:18} mend: {}", "", finding.mend);
                }
            }
            println!("\n{}", if able { "this host can enforce" } else { "this host cannot enforce" });
        }
        Ok(if able { Ending::Fine } else { Ending::Cannot })
    }
}
