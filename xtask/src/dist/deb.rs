//! The Debian package: files laid out below a directory, and `dpkg-deb`, which orders and dates them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::sbom;
use crate::{paths, run};

/// What a package is made of.
#[derive(Debug)]
pub(crate) struct Package {
    guard: PathBuf,
    /// What `guard drill` tries its techniques with.
    attempt: PathBuf,
    pub(crate) version: String,
    /// The date of every file in it, in seconds since 1970.
    pub(crate) epoch: u64,
}

/// Where in the repository, where in the package.
const TREES: &[(&str, &str)] = &[
    ("policies/examples", "usr/share/guard/policies/examples"),
    ("docs", "usr/share/doc/guard/docs"),
    ("packaging/examples", "usr/share/doc/guard/examples"),
    ("packaging/systemd", "usr/lib/systemd/system"),
];
const FILES: &[(&str, &str)] = &[
    ("README.md", "usr/share/doc/guard/README.md"),
    ("SECURITY.md", "usr/share/doc/guard/SECURITY.md"),
    ("LICENSE", "usr/share/doc/guard/copyright"),
    ("packaging/debian/agents.yaml", "etc/guard/policies/agents.yaml"),
    ("packaging/debian/default", "etc/default/guard"),
    ("packaging/debian/sysusers.conf", "usr/lib/sysusers.d/guard.conf"),
];
const PROGRAMS: &[&str] = &["usr/bin", "usr/libexec/guard"];
const SCRIPTS: &[&str] = &["postinst", "prerm", "postrm"];
const CONFFILES: &str = "/etc/guard/policies/agents.yaml\n/etc/default/guard\n";

impl Package {
    /// Of this program, and of the one that makes a drill's attempts, which was built beside it.
    pub(crate) fn of(guard: &Path, version: String, epoch: u64) -> Self {
        Self { guard: guard.to_owned(), attempt: guard.with_file_name("guard-attempt"), version, epoch }
    }

    /// Writes the package and its list of parts into the directory; gives back the package's path.
    pub(crate) fn write(&self, directory: &Path) -> Result<PathBuf> {
        let tree = directory.join("tree");
        match fs::remove_dir_all(&tree) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove {}", tree.display()));
            }
            Ok(()) | Err(_) => {}
        }
        self.lay(&tree)?;
        let name = format!("guard_{}_amd64", self.version);
        let parts = sbom::write(&self.version, self.epoch)?;
        paths::write(&directory.join(format!("{name}.cdx.json")), parts.as_bytes())?;
        paths::write(&tree.join("usr/share/doc/guard/guard.cdx.json"), parts.as_bytes())?;
        self.control(&tree)?;
        permissions(&tree, true)?;
        let package = directory.join(format!("{name}.deb"));
        let mut dpkg = Command::new("dpkg-deb");
        // One thread: how many there are changes the bytes.
        dpkg.args(["--root-owner-group", "--threads-max=1", "-Zxz", "-z6", "--build"])
            .arg(&tree)
            .arg(&package);
        run::quiet(
            "make the Debian package",
            dpkg.env("SOURCE_DATE_EPOCH", self.epoch.to_string()).env("TZ", "UTC"),
        )?;
        Ok(package)
    }

    fn lay(&self, tree: &Path) -> Result<()> {
        let root = paths::root();
        for (from, to) in TREES {
            copy_tree(&root.join(from), &tree.join(to))?;
        }
        for entry in fs::read_dir(root.join("policies")).context("list the policies")? {
            let path = entry.context("list the policies")?.path();
            if let Some(name) = path.file_name().filter(|_| path.is_file()) {
                copy(&path, &tree.join("usr/share/guard/policies").join(name))?;
            }
        }
        for (from, to) in FILES {
            copy(&root.join(from), &tree.join(to))?;
        }
        for (program, to) in
            [(&self.guard, "usr/bin/guard"), (&self.attempt, "usr/libexec/guard/guard-attempt")]
        {
            let at = tree.join(to);
            copy(program, &at)?;
            run::quiet("strip a program", Command::new("strip").arg("--strip-all").arg(&at))?;
        }
        // From the definitions of the command line itself.
        let share = tree.join("usr/share");
        run::quiet(
            "write manual pages and completions",
            Command::new(&self.guard).arg("generate").arg(&share),
        )?;
        for page in fs::read_dir(share.join("man/man1")).context("list the manual pages")? {
            let page = page.context("list the manual pages")?.path();
            run::quiet("compress a manual page", Command::new("gzip").args(["-9", "--no-name"]).arg(&page))?;
        }
        let changes = share.join("doc/guard/changelog");
        copy(&root.join("CHANGELOG.md"), &changes)?;
        run::quiet("compress the changelog", Command::new("gzip").args(["-9", "--no-name"]).arg(&changes))
            .map(drop)
    }

    fn control(&self, tree: &Path) -> Result<()> {
        let size = size(tree)?.div_ceil(1024);
        let control = format!(
            "Package: guard\nVersion: {}\nArchitecture: amd64\nMaintainer: the guard project <guard@localhost.invalid>\n\
             Installed-Size: {size}\nSection: admin\nPriority: optional\nRecommends: systemd\n\
             Description: makes the Linux kernel say what AI agents may do\n \
             An agent's processes live in a cgroup; eBPF programs see every program, connection and file change\n \
             before it happens, and answer from policies. What is decided is in a tamper-evident log.\n",
            self.version
        );
        paths::write(&tree.join("DEBIAN/control"), control.as_bytes())?;
        paths::write(&tree.join("DEBIAN/conffiles"), CONFFILES.as_bytes())?;
        for script in SCRIPTS {
            copy(&paths::root().join("packaging/debian").join(script), &tree.join("DEBIAN").join(script))?;
        }
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("read {}", from.display()))?;
    paths::write(to, &bytes)
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("list {}", from.display()))? {
        let entry = entry.with_context(|| format!("list {}", from.display()))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() { copy_tree(&source, &target)? } else { copy(&source, &target)? }
    }
    Ok(())
}

/// The same whatever the builder's umask: everybody reads, programs and scripts can be run.
fn permissions(path: &Path, top: bool) -> Result<()> {
    let set = |mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .with_context(|| format!("set the mode of {}", path.display()))
    };
    if path.is_dir() {
        set(0o755)?;
        for entry in fs::read_dir(path).with_context(|| format!("list {}", path.display()))? {
            permissions(&entry.with_context(|| format!("list {}", path.display()))?.path(), false)?;
        }
        return Ok(());
    }
    let script = SCRIPTS.iter().any(|name| path.ends_with(Path::new("DEBIAN").join(name)));
    let program = PROGRAMS.iter().any(|at| path.parent().is_some_and(|parent| parent.ends_with(at)));
    set(if !top && (script || program) { 0o755 } else { 0o644 })
}

fn size(path: &Path) -> Result<u64> {
    let facts = fs::symlink_metadata(path).with_context(|| format!("look at {}", path.display()))?;
    if !facts.is_dir() {
        return Ok(facts.len());
    }
    let mut sum = 0;
    for entry in fs::read_dir(path).with_context(|| format!("list {}", path.display()))? {
        sum += size(&entry.with_context(|| format!("list {}", path.display()))?.path())?;
    }
    Ok(sum)
}
