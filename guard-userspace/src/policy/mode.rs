//! The mode of a policy, changed in its file: one word, and nothing else of the text.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::model::{Mode, Policy};
use super::parse;
use super::source::Source;

/// The mode to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wanted {
    Enforce,
    Shadow,
}

impl Wanted {
    pub fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
        }
    }

    fn mode(self) -> Mode {
        match self {
            Self::Enforce => Mode::Enforce,
            Self::Shadow => Mode::Shadow,
        }
    }
}

/// Why a mode could not be changed; the file is as it was.
#[derive(Debug, Error)]
pub enum ModeError {
    /// The file cannot be read or written.
    #[error("{what} {path}")]
    Io {
        /// The operation.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It has errors, or is another policy by now.
    #[error("{path} does not hold the policy {policy:?} without errors: `guard policy check` shows them")]
    Policy {
        /// The file.
        path: PathBuf,
        /// The policy.
        policy: String,
    },
    /// No line can be changed without changing more.
    #[error(
        "{path} has no single line `mode: enforce` or `mode: shadow` of its own: write `mode: {wanted}` there by hand"
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// What to write.
        wanted: &'static str,
    },
}

/// Changes the mode in a policy's file; gives back the text that was there.
pub fn set(path: &Path, policy: &str, wanted: Wanted) -> Result<String, ModeError> {
    let before = fs::read_to_string(path).map_err(|source| io_error("read", path, source))?;
    let wrong = || ModeError::Policy { path: path.to_owned(), policy: policy.to_owned() };
    let old = parsed(path, &before).filter(|old| old.name.value == policy).ok_or_else(wrong)?;
    if old.mode == wanted.mode() {
        return Ok(before);
    }
    let line = || ModeError::Line { path: path.to_owned(), wanted: wanted.name() };
    let after = changed(&before, wanted).ok_or_else(line)?;
    // Whatever else the text might mean, it must say the same but for the mode.
    let mut expected = Policy::clone(&old);
    expected.mode = wanted.mode();
    if parsed(path, &after).as_deref() != Some(&expected) {
        return Err(line());
    }
    write(path, &after)?;
    Ok(before)
}

/// Writes the text back that was there.
pub fn put_back(path: &Path, text: &str) -> Result<(), ModeError> {
    write(path, text)
}

fn parsed(path: &Path, text: &str) -> Option<Arc<Policy>> {
    let parsed = parse::parse(Arc::new(Source::new(path, text)));
    let errors =
        parsed.report.diagnostics.iter().any(|found| found.severity() == super::diag::Severity::Error);
    parsed.policy.filter(|_| !errors).map(Arc::new)
}

/// The text with the one top-level `mode` changed; none if there is not exactly one.
fn changed(text: &str, wanted: Wanted) -> Option<String> {
    let mut after = String::with_capacity(text.len() + 1);
    let mut found = 0;
    for line in text.split_inclusive('\n') {
        let word = line.strip_prefix("mode:").map(|rest| rest.trim_start().len());
        let at = word.map_or(0, |rest| line.len() - rest);
        let old = ["enforce", "shadow"].into_iter().find(|old| word.is_some() && line[at..].starts_with(old));
        match old {
            Some(old) => {
                found += 1;
                after.push_str(&line[..at]);
                after.push_str(wanted.name());
                after.push_str(&line[at + old.len()..]);
            }
            None => after.push_str(line),
        }
    }
    (found == 1).then_some(after)
}

/// In one step, with the owner and the permissions that were there.
fn write(path: &Path, text: &str) -> Result<(), ModeError> {
    let failed = |source| io_error("write", path, source);
    let facts = fs::metadata(path).map_err(failed)?;
    // Not `*.yaml`: nobody takes it for a policy.
    let new = path.with_extension("yaml.new");
    let written = (|| {
        let mut file = fs::File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(facts.permissions())?;
        chown(&new, Some(facts.uid()), Some(facts.gid()))?;
        file.sync_all()?;
        fs::rename(&new, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written.map_err(failed)
}

fn io_error(what: &'static str, path: &Path, source: io::Error) -> ModeError {
    ModeError::Io { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "version: 1\npolicy: p\napplies_to: [{ cgroup: \"/p/**\" }]\nmode: shadow   # until March\n\
        exec: { default: allow }\nconnect: { default: block }\nwrite:\n  default: block\n";

    fn file(name: &str, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("guard-mode-{}-{name}.yaml", std::process::id()));
        fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn one_word_changes_and_nothing_else() {
        let path = file("word", TEXT);
        let before = set(&path, "p", Wanted::Enforce).unwrap();
        assert_eq!(before, TEXT);
        assert_eq!(fs::read_to_string(&path).unwrap(), TEXT.replace("mode: shadow ", "mode: enforce "));
        put_back(&path, &before).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), TEXT);
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn the_mode_that_is_there_is_left_alone() {
        let path = file("same", TEXT);
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        set(&path, "p", Wanted::Shadow).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), modified);
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_cannot_be_changed_safely_is_refused_and_stays() {
        for (name, text) in [
            ("quoted", TEXT.replace("mode: shadow", "\"mode\": shadow")),
            ("broken", TEXT.replace("exec:", "exe:")),
            ("other", TEXT.replace("policy: p", "policy: q")),
        ] {
            let path = file(name, &text);
            let refused = set(&path, "p", Wanted::Enforce).unwrap_err();
            assert!(refused.to_string().contains(&*path.to_string_lossy()), "{refused}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            fs::remove_file(path).unwrap();
        }
    }
}
