//! Kernel modules for a guest: found by name with what they need, uncompressed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::kernel::Kernel;
use crate::paths;

/// A module as the guest loads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) file: PathBuf,
    pub(crate) needs: Vec<String>,
}

/// The wanted modules and their dependencies, dependencies first. A name in `must` that the kernel's packages lack
/// is an error; the others may be built in or not there.
pub(crate) fn closure(kernel: &Kernel, wanted: &[&str], must: &[&str]) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    index(&kernel.dir.join("modules"), &mut files)?;
    let mut ordered = Vec::new();
    for name in must {
        if !files.contains_key(&normal(name)) {
            bail!("kernel {} has no module {name:?} (it may be built in)", kernel.release);
        }
    }
    for name in wanted.iter().chain(must) {
        add(kernel, &files, &normal(name), &mut ordered)?;
    }
    Ok(ordered)
}

fn add(
    kernel: &Kernel,
    files: &BTreeMap<String, PathBuf>,
    name: &str,
    ordered: &mut Vec<Module>,
) -> Result<()> {
    if ordered.iter().any(|module| module.name == name) {
        return Ok(());
    }
    let Some(source) = files.get(name) else { return Ok(()) };
    let file = uncompressed(kernel, name, source)?;
    let bytes = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
    let needs = depends(&bytes);
    for need in &needs {
        add(kernel, files, need, ordered)?;
    }
    ordered.push(Module { name: name.to_owned(), file, needs });
    Ok(())
}

fn index(dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let path = entry.with_context(|| format!("list {}", dir.display()))?.path();
        if path.is_dir() {
            index(&path, files)?;
        } else if let Some((stem, _)) = path.file_name().and_then(|name| name.to_str()?.split_once(".ko")) {
            files.insert(normal(stem), path);
        }
    }
    Ok(())
}

fn normal(name: &str) -> String {
    name.replace('-', "_")
}

fn uncompressed(kernel: &Kernel, name: &str, source: &Path) -> Result<PathBuf> {
    let program = match source.extension().and_then(|ext| ext.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return Ok(source.to_owned()),
    };
    let file = kernel.dir.join("uncompressed").join(format!("{name}.ko"));
    if !file.is_file() {
        let output = Command::new(program)
            .args(["-dc", "--"])
            .arg(source)
            .output()
            .with_context(|| format!("unpack module {name}: cannot start {program}"))?;
        if !output.status.success() {
            bail!("unpack module {name}: {program} failed on {}", source.display());
        }
        paths::write(&file, &output.stdout)?;
    }
    Ok(file)
}

/// The `depends=` entry of the module's `.modinfo` section, a list of NUL-terminated `key=value` strings.
fn depends(module: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(at) = module.windows(key.len()).position(|window| window == key) else { return Vec::new() };
    let value = module[at + key.len()..].split(|&byte| byte == 0).next().unwrap_or_default();
    let value = String::from_utf8_lossy(value);
    value.split(',').filter(|name| !name.is_empty()).map(normal).collect()
}

#[cfg(test)]
mod tests {
    use super::depends;

    #[test]
    fn dependencies_are_read_from_modinfo() {
        assert_eq!(
            depends(b"x\0alias=net\0depends=udp_tunnel,ip6-udp\0retpoline=Y\0"),
            ["udp_tunnel", "ip6_udp"]
        );
        assert!(depends(b"license=GPL\0depends=\0").is_empty());
        assert!(depends(b"").is_empty());
    }
}
