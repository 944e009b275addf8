//! Distribution kernels by series, each cached whole under `target/kernels/<series>/`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::apt::Apt;
use crate::paths;

/// What the test matrix expects of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    /// guard must work there.
    Works,
    /// guard must refuse to enforce there, and say why.
    Refuses,
    /// guard should work there; a failure is a warning.
    Warns,
}

/// A line of kernels and where Debian keeps it.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: &'static str,
    pub(crate) promise: Promise,
    suites: &'static [&'static str],
    /// What a release of this series starts with.
    prefix: &'static str,
}

pub(crate) const SERIES: &[Series] = &[
    Series {
        name: "6.1",
        promise: Promise::Works,
        suites: &["bookworm", "bookworm-security"],
        prefix: "6.1.",
    },
    Series { name: "6.12", promise: Promise::Works, suites: &["trixie", "trixie-security"], prefix: "6.12." },
    Series { name: "7.x", promise: Promise::Works, suites: &["trixie-backports"], prefix: "7." },
    Series { name: "5.10", promise: Promise::Refuses, suites: &["bullseye-security"], prefix: "5.10." },
    Series { name: "rc", promise: Promise::Warns, suites: &["experimental"], prefix: "" },
];

pub(crate) fn series(name: &str) -> Result<&'static Series> {
    match SERIES.iter().find(|series| series.name == name) {
        Some(series) => Ok(series),
        None => {
            let known: Vec<_> = SERIES.iter().map(|series| series.name).collect();
            bail!("no kernel series is called {name:?}; write one of {}", known.join(", "))
        }
    }
}

/// For the command line: the names it takes.
pub(crate) fn names() -> clap::builder::PossibleValuesParser {
    SERIES.iter().map(|series| series.name).collect::<Vec<_>>().into()
}

/// A kernel on disk, ready to boot.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    pub(crate) series: &'static str,
    pub(crate) release: String,
    pub(crate) image: PathBuf,
    pub(crate) dir: PathBuf,
}

impl Kernel {
    pub(crate) fn get(name: &str) -> Result<Self> {
        let series = series(name)?;
        let dir = paths::target().join("kernels").join(series.name);
        if !dir.is_dir() {
            fetch(series, &dir).with_context(|| format!("get a {} kernel", series.name))?;
        }
        let release = fs::read_to_string(dir.join("release"))
            .with_context(|| format!("read which kernel {} holds; remove it to fetch anew", dir.display()))?;
        let image = dir.join("vmlinuz");
        if !image.is_file() {
            bail!("{} holds no kernel image; remove it to fetch anew", dir.display());
        }
        Ok(Self { series: series.name, release, image, dir })
    }
}

/// Removes the cached kernel, so that the next `get` fetches the newest.
pub(crate) fn forget(series: &Series) -> Result<()> {
    let dir = paths::target().join("kernels").join(series.name);
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", dir.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn fetch(series: &Series, dir: &Path) -> Result<()> {
    eprintln!("xtask: fetching the newest {} kernel of Debian {}", series.name, series.suites.join(", "));
    let suites: Vec<_> = series.suites.iter().map(|&suite| suite.to_owned()).collect();
    let apt = Apt::open(&format!("kernel-{}", series.name), &suites, false)?;
    let names = apt.names("^linux-(image|binary|modules)-[0-9].*-cloud-amd64$")?;
    let release = newest(names.iter().map(String::as_str), series.prefix)
        .with_context(|| format!("no cloud kernel {}* in {}", series.prefix, series.suites.join(", ")))?;
    // Since 7.x the image and the modules are packages of their own, and linux-image is empty.
    let split = names.contains(&format!("linux-binary-{release}"));
    let kinds: &[&str] = if split { &["binary", "modules"] } else { &["image"] };
    let packages: Vec<_> = kinds.iter().map(|kind| format!("linux-{kind}-{release}")).collect();
    paths::build_dir(dir, |part| {
        let unpacked = part.join("unpacked");
        fs::create_dir(&unpacked).context("create a directory to unpack into")?;
        apt.unpack(&packages, &unpacked)?;
        let candidates = [
            unpacked.join("boot").join(format!("vmlinuz-{release}")),
            unpacked.join("usr/lib/modules").join(&release).join("vmlinuz"),
        ];
        let image =
            candidates.iter().find(|path| path.is_file()).context("the packages hold no kernel image")?;
        fs::rename(image, part.join("vmlinuz")).context("keep the kernel image")?;
        let modules = ["lib/modules", "usr/lib/modules"]
            .iter()
            .map(|path| unpacked.join(path).join(&release).join("kernel"))
            .find(|path| path.is_dir())
            .context("the packages hold no modules")?;
        fs::rename(modules, part.join("modules")).context("keep the modules")?;
        fs::remove_dir_all(&unpacked).context("remove what is not needed")?;
        fs::write(part.join("release"), &release).context("note the kernel's release")
    })
}

/// The newest release with the prefix, from package names.
fn newest<'a>(names: impl Iterator<Item = &'a str>, prefix: &str) -> Option<String> {
    names
        .filter_map(|name| name.strip_prefix("linux-image-").or_else(|| name.strip_prefix("linux-binary-")))
        .filter(|release| release.starts_with(prefix))
        // `linux-image-6.1-cloud-amd64` only depends on the real one.
        .filter(|release| prefix.is_empty() || release.matches('.').count() >= 2)
        .max_by_key(|release| numbers(release))
        .map(str::to_owned)
}

fn numbers(release: &str) -> Vec<u64> {
    let version = release.trim_end_matches("-cloud-amd64");
    let version: String = version.chars().map(|c| if c.is_ascii_digit() { c } else { ' ' }).collect();
    version.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_release_is_found_by_number_not_by_letter() {
        let names = [
            "linux-image-6.12.96+deb13-cloud-amd64",
            "linux-image-6.12.117+deb13-cloud-amd64",
            "linux-image-6.12.115+deb13.1-cloud-amd64",
            "linux-image-6.12-cloud-amd64",
            "linux-modules-6.12.118+deb13-cloud-amd64",
            "linux-image-6.1.0-47-cloud-amd64",
        ];
        let newest = |prefix| newest(names.iter().copied(), prefix);
        assert_eq!(newest("6.12.").as_deref(), Some("6.12.117+deb13-cloud-amd64"));
        assert_eq!(newest("6.1.").as_deref(), Some("6.1.0-47-cloud-amd64"));
        assert_eq!(newest("7."), None);
    }

    #[test]
    fn an_unknown_series_is_an_error_that_lists_the_known() {
        let error = series("6.13").unwrap_err().to_string();
        assert!(error.contains("6.13") && error.contains("6.12, 7.x"), "{error}");
    }
}
