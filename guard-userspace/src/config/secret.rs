//! A secret that two programs share, in a file that nobody else reads.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

/// Fewer bytes can be guessed.
const FEWEST: usize = 32;
/// More bytes add nothing.
const MOST: usize = 4096;

/// The bytes of the file, without the newline at their end.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// Reads the file, if it is for the daemon's eyes alone.
    pub fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        if !path.is_absolute() {
            return Err(format!("secret: `{shown}`: write the whole path"));
        }
        let failed = |error: std::io::Error| format!("secret: read {shown}: {error}");
        let file = File::open(path).map_err(failed)?;
        let facts = file.metadata().map_err(failed)?;
        if !facts.is_file() {
            return Err(format!("secret: {shown} is no regular file"));
        }
        if facts.uid() != nix::unistd::geteuid().as_raw() || facts.mode() & 0o077 != 0 {
            return Err(format!("secret: others can read {shown}: chown it to root and chmod 600 it"));
        }
        let mut bytes = Vec::new();
        file.take(MOST as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        if !(FEWEST..=MOST).contains(&bytes.len()) {
            return Err(format!(
                "secret: {shown} holds {} bytes, and {FEWEST} to {MOST} are a secret: openssl rand -hex 32 makes one",
                bytes.len()
            ));
        }
        Ok(Self(bytes.into()))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    #[cfg(test)]
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_long_enough_and_nobody_elses() {
        let path = std::env::temp_dir().join(format!("guard-secret-{}", std::process::id()));
        let with = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            Secret::read(&path)
        };
        let long = "0123456789abcdef0123456789abcdef";
        let read = with(&format!("{long}\n"), 0o600).unwrap();
        assert_eq!(read.bytes(), long.as_bytes());
        assert!(!format!("{read:?}").contains("0123"), "a secret is shown to nobody");
        assert!(with(long, 0o640).unwrap_err().contains("chmod 600"));
        assert!(with("short\n", 0o600).unwrap_err().contains("openssl rand -hex 32"));
        assert!(with(&"x".repeat(5000), 0o600).unwrap_err().contains("openssl rand -hex 32"));
        fs::remove_file(&path).unwrap();
        assert!(Secret::read(&path).unwrap_err().contains("No such file"));
        assert!(Secret::read(Path::new("secret")).unwrap_err().contains("whole path"));
        assert!(Secret::read(Path::new("/dev")).unwrap_err().contains("no regular file"));
    }
}
