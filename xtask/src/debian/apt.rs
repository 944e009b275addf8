//! A private apt: its own suites, lists and cache under `target/apt/`, the machine's mirror and keys.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::sources;
use crate::{paths, run};

/// A private apt configuration for some suites, its package lists fetched and verified.
#[derive(Debug)]
pub(crate) struct Apt {
    config: PathBuf,
    archives: PathBuf,
}

impl Apt {
    /// `base_on_machine` resolves dependencies against what is installed here; otherwise nothing counts as installed.
    pub(crate) fn open(name: &str, suites: &[String], base_on_machine: bool) -> Result<Self> {
        if run::which("apt-get").is_none() || run::which("dpkg").is_none() {
            bail!("this machine has no apt-get and dpkg: guard's guests are made of Debian packages");
        }
        let text = stanzas(suites)?;
        let dir = paths::target().join("apt").join(format!("{name}-{}", std::process::id()));
        for sub in ["sources", "lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(sub))
                .with_context(|| format!("create {}", dir.join(sub).display()))?;
        }
        paths::write(&dir.join("sources/guard.sources"), text.as_bytes())?;
        paths::write(&dir.join("status"), b"")?;
        let status = if base_on_machine {
            PathBuf::from(machine_config("Dir::State::status/f")?)
        } else {
            dir.join("status")
        };
        let config = format!(
            "Dir::Etc::sourcelist \"/dev/null\";\nDir::Etc::sourceparts \"{d}/sources\";\n\
             Dir::Etc::preferences \"/dev/null\";\nDir::Etc::preferencesparts \"{d}/sources\";\n\
             Dir::State::lists \"{d}/lists\";\nDir::State::status \"{}\";\nDir::Cache \"{d}/cache\";\n\
             Debug::NoLocking \"1\";\nAPT::Architecture \"amd64\";\nAPT::Sandbox::User \"\";\n\
             Acquire::Languages \"none\";\nAcquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
             Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled \"false\";\n\
             APT::Update::Post-Invoke-Success \"\";\n#clear APT::Update::Post-Invoke-Success;\n\
             #clear APT::Update::Post-Invoke;\n#clear DPkg::Post-Invoke;\n\
             Acquire::Retries \"2\";\nAcquire::http::Timeout \"30\";\nAPT::Get::AllowUnauthenticated \"false\";\n",
            status.display(),
            d = dir.display()
        );
        paths::write(&dir.join("apt.conf"), config.as_bytes())?;
        let apt = Self { config: dir.join("apt.conf"), archives: dir.join("cache/archives") };
        let what =
            format!("fetch the package lists of {} from this machine's Debian mirror", suites.join(", "));
        run::quiet(&what, apt.command("apt-get").args(["update", "--error-on=any", "-qq"]))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.config).env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Names of packages that match the regular expression.
    pub(crate) fn names(&self, pattern: &str) -> Result<Vec<String>> {
        let found = run::quiet(
            "search the package lists",
            self.command("apt-cache").args(["search", "--names-only", pattern]),
        )?;
        Ok(found.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
    }

    /// Downloads exactly these packages (apt checks their hashes against the signed lists) and unpacks them.
    pub(crate) fn unpack(&self, packages: &[String], into: &Path) -> Result<()> {
        let what = format!("download {}", packages.join(", "));
        run::quiet(
            &what,
            self.command("apt-get").args(["download", "-qq"]).args(packages).current_dir(&self.archives),
        )?;
        self.unpack_archives(into)
    }

    /// The same with every dependency that is not installed on this machine.
    pub(crate) fn unpack_with_dependencies(&self, package: &str, suite: &str, into: &Path) -> Result<()> {
        run::quiet(
            &format!("download {package} and what it needs"),
            self.command("apt-get").args([
                "install",
                "-qq",
                "-y",
                "--download-only",
                "--no-install-recommends",
                "-t",
                suite,
                package,
            ]),
        )?;
        self.unpack_archives(into)
    }

    fn unpack_archives(&self, into: &Path) -> Result<()> {
        let mut count = 0;
        for entry in fs::read_dir(&self.archives).context("list the downloaded packages")? {
            let deb = entry.context("list the downloaded packages")?.path();
            if deb.extension().is_some_and(|ext| ext == "deb") {
                run::quiet(
                    &format!("unpack {}", deb.display()),
                    Command::new("dpkg").arg("-x").arg(&deb).arg(into),
                )?;
                fs::remove_file(&deb).with_context(|| format!("remove {}", deb.display()))?;
                count += 1;
            }
        }
        if count == 0 {
            bail!("apt downloaded no package");
        }
        Ok(())
    }
}

impl Drop for Apt {
    fn drop(&mut self) {
        if let Some(dir) = self.config.parent() {
            let _ = fs::remove_dir_all(dir);
        }
    }
}

/// The suites' archives as apt reads them, with the mirror and the keys of this machine's own sources.
pub(super) fn stanzas(suites: &[String]) -> Result<String> {
    let machine = sources::read_all(
        Path::new(&machine_config("Dir::Etc::sourcelist/f")?),
        Path::new(&machine_config("Dir::Etc::sourceparts/d")?),
    );
    let mut text = String::new();
    for suite in suites {
        let archive = sources::archive_for(suite, &machine)?;
        text.push_str(&format!("Types: deb\nURIs: {}\nSuites: {suite}\nComponents: main\n", archive.uri));
        if !archive.signed_by.is_empty() {
            text.push_str(&format!("Signed-By: {}\n", archive.signed_by));
        }
        text.push('\n');
    }
    Ok(text)
}

fn machine_config(key: &str) -> Result<String> {
    let text =
        run::quiet("read apt's configuration", Command::new("apt-config").args(["shell", "VALUE", key]))?;
    let value = text.trim().strip_prefix("VALUE=").unwrap_or_default().trim_matches('\'');
    Ok(value.to_owned())
}
