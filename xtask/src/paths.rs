//! Where things are: everything this program makes is under `target/`, so that `cargo clean` undoes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

/// The top of the repository this program was built in.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

pub(crate) fn target() -> PathBuf {
    root().join("target")
}

pub(crate) fn tools() -> PathBuf {
    target().join("tools")
}

/// Flags by which the compiler writes no path of this machine into what it makes from `source`: not where the checkout
/// is, nor where cargo keeps its crates, whose directory is named after the registry.
pub(crate) fn remaps(source: &Path) -> Vec<String> {
    let flag = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    let mut flags = vec![flag(source, "/guard")];
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let Some(home) = home else { return flags };
    // Of several that fit, the compiler takes the last.
    flags.push(flag(&home, "/cargo"));
    let registries = fs::read_dir(home.join("registry/src")).into_iter().flatten().flatten();
    let mut registries: Vec<PathBuf> = registries.map(|entry| entry.path()).collect();
    registries.sort();
    flags.extend(registries.iter().map(|registry| flag(registry, "/cargo")));
    flags
}

/// A name beside `path` that no other process uses: build there, then `rename` into place.
pub(crate) fn beside(path: &Path) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{name}.{}.{count}.part", std::process::id()))
}

/// Makes a whole directory at once: `fill` gets a temporary one, which takes the final name only if it succeeds.
pub(crate) fn build_dir(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let part = beside(path);
    fs::create_dir_all(&part).with_context(|| format!("create {}", part.display()))?;
    let filled = fill(&part).and_then(|()| match fs::rename(&part, path) {
        // Another process was faster; its result is as good.
        Err(_) if path.is_dir() => fs::remove_dir_all(&part).context("remove a spare copy"),
        renamed => renamed.with_context(|| format!("put {} in place", path.display())),
    });
    if filled.is_err() {
        let _ = fs::remove_dir_all(&part);
    }
    filled
}

/// Writes a whole file at once.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    }
    let part = beside(path);
    let written = fs::write(&part, bytes).and_then(|()| fs::rename(&part, path));
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written.with_context(|| format!("write {}", path.display()))
}
