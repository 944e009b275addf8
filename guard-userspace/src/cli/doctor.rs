//! `guard doctor`: what this host can enforce, and the mend for what it cannot.

use clap::Args as ClapArgs;
use guard_userspace::doctor::{self, Fixed, Health};

use super::{Ending, places, term};

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Do first what is safe, sysctls and mounts, until the next boot; each is said
    #[arg(long)]
    fix: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        let mut findings = doctor::examine(places::cgroups().ok().as_deref());
        let fixed = if self.fix { Fixed::all(&findings) } else { Vec::new() };
        if !fixed.is_empty() {
            findings = doctor::examine(places::cgroups().ok().as_deref());
        }
        let able = findings.iter().all(|finding| finding.health != Health::Bad);
        if self.json {
            let answer = serde_json::json!({ "able": able, "findings": findings, "fixed": fixed });
            term::show(&format!("{}\n", serde_json::to_string_pretty(&answer)?))?;
        } else {
            let mut text = String::new();
            for Fixed { what, did, error } in &fixed {
                let outcome = error.as_ref().map_or("done".to_owned(), |error| format!("FAILED, {error}"));
                text.push_str(&format!("fix   {what:18} {did}: {outcome}\n"));
            }
            for finding in &findings {
                let word = match finding.health {
                    Health::Good => "good",
                    Health::Weak => "weak",
                    Health::Bad => "BAD",
                };
                text.push_str(&format!("{word:4}  {:18} {}\n", finding.what, finding.evidence));
                if !finding.mend.is_empty() {
                    text.push_str(&format!("      {:18} mend: {}\n", "", finding.mend));
                }
            }
            text.push_str(if able { "\nthis host can enforce\n" } else { "\nthis host cannot enforce\n" });
            term::show(&text)?;
        }
        Ok(if able { Ending::Fine } else { Ending::Cannot })
    }
}
