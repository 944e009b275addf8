//! `guard policy fmt FILES`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use guard_userspace::policy::{fmt, read};

use super::super::{Ending, term};
use super::{ending, files, print_errors};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Policy files, or directories of them
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Change nothing; name the files that are not canonical
    #[arg(long)]
    check: bool,
    /// Print the canonical form instead of writing it to the file
    #[arg(long, conflicts_with = "check")]
    stdout: bool,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        let mut worst = Ending::Fine;
        for path in files(&self.files) {
            let source = match read::read(&path) {
                Ok(source) => source,
                Err(report) => {
                    print_errors(&report);
                    worst = worst.max(ending(&report));
                    continue;
                }
            };
            let text = match fmt::canonical(&source) {
                Ok(text) => text,
                Err(error) => {
                    eprintln!("guard: cannot format {}: {error}", path.display());
                    worst = worst.max(Ending::Finding);
                    continue;
                }
            };
            if self.stdout {
                term::print(&text)?;
            } else if text != source.text {
                term::print(&format!("{}\n", path.display()))?;
                if self.check {
                    worst = worst.max(Ending::Finding);
                } else {
                    replace(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
                }
            }
        }
        Ok(worst)
    }
}

/// The new text whole or not at all: a policy cut short by a full disk would be a hole.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    // A symlink is followed, so that the link stays and its file changes.
    let path = path.canonicalize()?;
    let name = path.file_name().context("the path has no file name")?.to_string_lossy().into_owned();
    let beside = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let written = (|| {
        let mut file = std::fs::File::create_new(&beside)?;
        file.set_permissions(std::fs::metadata(&path)?.permissions())?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, &path)
    })();
    if written.is_err() {
        drop(std::fs::remove_file(&beside));
    }
    Ok(written?)
}
