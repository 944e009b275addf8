//! `guard generate`: manual pages and completions, from the definitions of the command line itself.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_complete::{Shell, generate_to};

use super::{Cli, Ending};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory that is laid out as /usr/share
    share: PathBuf,
}

/// Each shell with where its completions are looked for.
const SHELLS: &[(Shell, &str)] = &[
    (Shell::Bash, "bash-completion/completions"),
    (Shell::Zsh, "zsh/vendor-completions"),
    (Shell::Fish, "fish/vendor_completions.d"),
];

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        for (shell, below) in SHELLS {
            let directory = self.share.join(below);
            fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
            let made = generate_to(*shell, &mut Cli::command(), "guard", &directory)
                .with_context(|| format!("write completions below {}", directory.display()))?;
            if *shell == Shell::Bash {
                // Found by the command's bare name.
                fs::rename(&made, directory.join("guard")).context("name the completions for bash")?;
            }
        }
        let directory = self.share.join("man/man1");
        fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        let mut cli = Cli::command();
        cli.build();
        pages(&cli, &directory).with_context(|| format!("write manual pages in {}", directory.display()))?;
        Ok(Ending::Fine)
    }
}

/// A page for the command and for each one below it.
fn pages(command: &Command, directory: &Path) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let page = clap_mangen::Man::new(command.clone()).manual("guard").date("");
    let mut text = Vec::new();
    page.render(&mut text)?;
    fs::write(directory.join(format!("{name}.1")), text)?;
    let shown = |below: &&Command| !below.is_hide_set() && below.get_name() != "help";
    command.get_subcommands().filter(shown).try_for_each(|below| pages(below, directory))
}
