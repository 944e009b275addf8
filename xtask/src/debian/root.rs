//! A Debian with systemd as a disk image, made of packages: what guests boot that need more than busybox.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::apt;
use crate::{paths, run, setup};

/// The release of the image: Debian's stable, whose kernel is one of the matrix.
const SUITE: &str = "trixie";

/// What every root has: a system that boots, and what agents and their containers are made of.
const PACKAGES: &[&str] = &[
    "ca-certificates",
    "crun",
    "curl",
    "dbus",
    "gcc",
    "git",
    "iproute2",
    "kmod",
    "libc6-dev",
    "libpam-systemd",
    "nodejs",
    "openssl",
    "podman",
    "procps",
    "python3",
    "runc",
    "squid",
    "systemd-sysv",
];

/// Started by their packages' scripts on a real machine; a test that wants one starts it.
const MASKED: &[&str] = &[
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
    "squid.service",
];

/// In MiB. The file is sparse, and so is every guest's copy.
const SIZE: u32 = 3072;

/// Changes when the way the image is made does: an old image is then not used any more.
const RECIPE: u32 = 2;

/// An image on disk; guests write to a copy of their own that goes with them.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    pub(crate) image: PathBuf,
}

impl Root {
    /// The image with the usual packages and these; made when it is not there.
    pub(crate) fn get(more: &[String]) -> Result<Self> {
        let mut packages: Vec<&str> =
            PACKAGES.iter().copied().chain(more.iter().map(String::as_str)).collect();
        packages.sort_unstable();
        packages.dedup();
        let dir = paths::target().join("roots").join(name(&packages));
        if !dir.is_dir() {
            make(&packages, &dir).context("make a Debian root for guests")?;
        }
        Ok(Self { image: dir.join("root.ext4") })
    }
}

/// Removes every image, so that the next `get` makes them of today's packages.
pub(crate) fn forget() -> Result<()> {
    let dir = paths::target().join("roots");
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", dir.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The names in short: FNV-1a, which stays the same between builds of this program.
fn name(packages: &[&str]) -> String {
    let text = packages.join(" ");
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{SUITE}-{RECIPE}-{hash:016x}")
}

fn make(packages: &[&str], dir: &Path) -> Result<()> {
    let uid = run::quiet("ask who is running this", Command::new("id").arg("-u"))?;
    let root = uid.trim() == "0";
    let tools: &[&str] =
        if root { &["mmdebstrap", "e2fsprogs"] } else { &["mmdebstrap", "e2fsprogs", "fakeroot"] };
    setup::packages(tools)?;
    eprintln!(
        "xtask: making a Debian {SUITE} root for guests of {} packages and what they need",
        packages.len()
    );
    paths::build_dir(dir, |part| {
        let sources = part.join("root.sources");
        fs::write(&sources, apt::stanzas(&[SUITE.to_owned()])?).context("write where packages come from")?;
        let archive = part.join("root.tar");
        let mut bootstrap = Command::new("mmdebstrap");
        // Inside a user namespace where this is not root: packages' scripts run as they would.
        bootstrap.arg(if root { "--mode=root" } else { "--mode=unshare" });
        bootstrap.args(["--quiet", "--variant=minbase", "--format=tar", "--dpkgopt=force-unsafe-io"]);
        for path in ["doc", "locale", "man"] {
            bootstrap.arg(format!("--dpkgopt=path-exclude=/usr/share/{path}/*"));
        }
        bootstrap.arg(format!("--include={}", packages.join(",")));
        bootstrap.arg(format!("--customize-hook={}", settle()));
        bootstrap.args([SUITE, "-"]).arg(&sources).env("LC_ALL", "C").stdin(Stdio::null());
        let file = File::create(&archive).with_context(|| format!("create {}", archive.display()))?;
        let made = bootstrap.stdout(file).output().context("start mmdebstrap")?;
        if !made.status.success() {
            bail!("mmdebstrap failed ({}): {}", made.status, String::from_utf8_lossy(&made.stderr).trim());
        }
        let unpacked = part.join("unpacked");
        let mut image = Command::new(if root { "sh" } else { "fakeroot" });
        image.args(if root { &["-c"][..] } else { &["--", "sh", "-c"] }).arg(IMAGE).arg("image");
        image.arg(&archive).arg(&unpacked).arg(part.join("root.ext4")).arg(format!("{SIZE}M"));
        run::quiet("make a file system of the packages", &mut image)?;
        fs::remove_file(&sources)
            .and_then(|()| fs::remove_file(&archive))
            .context("remove what is not needed")
    })
}

/// Unpacks the archive and makes the image of it, then forgets what it unpacked.
const IMAGE: &str = "set -e; PATH=$PATH:/sbin:/usr/sbin; mkdir \"$2\"; tar -C \"$2\" --numeric-owner -xpf \"$1\"; \
     mke2fs -q -t ext4 -O ^has_journal -E root_owner=0:0 -d \"$2\" \"$3\" \"$4\"; chmod -R u+w \"$2\"; rm -rf \"$2\"";

/// What is done to the root when its packages are configured. No trace is left of where they came from.
fn settle() -> String {
    let masks: Vec<_> =
        MASKED.iter().map(|unit| format!("ln -sf /dev/null \"$1/etc/systemd/system/{unit}\"; ")).collect();
    format!(
        "set -e; rm -f \"$1\"/etc/apt/sources.list \"$1\"/etc/apt/sources.list.d/*; \
         echo guest > \"$1/etc/hostname\"; mkdir -p \"$1/.guest\"; rm -f \"$1/etc/resolv.conf\"; \
         echo '127.0.0.1 localhost guest' > \"$1/etc/hosts\"; echo '::1 localhost' >> \"$1/etc/hosts\"; \
         echo {MACHINE} > \"$1/etc/machine-id\"; {}",
        masks.concat()
    )
}

/// With a machine's name the first boot is like every other.
const MACHINE: &str = "67756172646775617264677561726467";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_known_by_its_packages() {
        assert_ne!(name(&["a", "b"]), name(&["a", "c"]));
        assert_eq!(name(&["a"]), name(&["a"]));
        assert!(PACKAGES.is_sorted());
    }
}
