//! The policy directory: all of it or nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Config, DaemonError, state};
use crate::compile::{self, Compiler, IdMap, Plan};
use crate::policy::diag::{Severity, Style, render};
use crate::policy::model::Policy;
use crate::policy::source::Source;
use crate::policy::{parse, read};

/// Why a set of policies is refused whole.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// The directory cannot be read.
    #[error("read the policies in {directory}")]
    Read {
        /// The directory.
        directory: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is nothing to enforce.
    #[error("no policy in {0}: write one there, for example from the shipped policies")]
    None(String),
    /// Files with errors; the text says all of them.
    #[error("{count} error(s) in the policies; `guard policy check` shows them:\n{text}")]
    Wrong {
        /// How many.
        count: usize,
        /// As `guard policy check` prints them.
        text: String,
    },
    /// They do not go together.
    #[error("compile the policies")]
    Compile(#[from] compile::Error),
}

/// Policies without an error.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub policies: Vec<Arc<Policy>>,
    /// The one of the policies before.
    compiler: Arc<Compiler>,
}

impl Loaded {
    /// Compiles them into the next generation.
    pub fn compile(&self, ids: &IdMap, generation: u64) -> Result<Plan, PolicyError> {
        Ok(self.compiler.compile(&self.policies, ids, generation)?)
    }
}

/// Reads every `*.yaml` and `*.yml` of a directory.
pub fn load(directory: &Path) -> Result<Loaded, PolicyError> {
    load_again(directory, &Loaded::default())
}

/// The same, and what is known and has not changed is neither parsed nor compiled again: the names of old generations are kept for a
/// while, and share what they have in common.
pub(super) fn load_again(directory: &Path, known: &Loaded) -> Result<Loaded, PolicyError> {
    let mut loaded = Loaded { policies: Vec::new(), compiler: Arc::clone(&known.compiler) };
    let (mut count, mut text) = (0, String::new());
    for path in files(directory).map_err(|source| read_error(directory, source))? {
        let parsed = match read::read(&path) {
            Ok(source) => match known.policies.iter().find(|policy| is_of(policy, &source)) {
                Some(same) => {
                    loaded.policies.push(Arc::clone(same));
                    continue;
                }
                None => parse::parse(source),
            },
            Err(report) => parse::Parsed { policy: None, report },
        };
        for diagnostic in &parsed.report.diagnostics {
            if diagnostic.severity() == Severity::Error {
                count += 1;
                text.push_str(&render(diagnostic, &parsed.report.source, Style::Plain));
                text.push('\n');
            }
        }
        loaded.policies.extend(parsed.policy.map(Arc::new));
    }
    if count > 0 {
        return Err(PolicyError::Wrong { count, text });
    }
    if loaded.policies.is_empty() {
        return Err(PolicyError::None(directory.display().to_string()));
    }
    Ok(loaded)
}

/// The texts of the policies that were installed last, for a start that finds worse ones.
const KEPT: &str = "policies.json";

#[derive(Serialize, Deserialize)]
struct Kept {
    file: PathBuf,
    text: String,
}

/// Keeps the directory's policies, which have just been installed. Not a drill's, which are the drill's to bring.
pub(super) fn keep(config: &Config, loaded: &Loaded) -> Result<(), DaemonError> {
    let own = |policy: &&Arc<Policy>| policy.source.path.parent() == Some(&config.policies);
    let kept: Vec<Kept> = loaded
        .policies
        .iter()
        .filter(own)
        .map(|policy| Kept { file: policy.source.path.clone(), text: policy.source.text.clone() })
        .collect();
    state::replace(&config.state.join(KEPT), &kept)
}

/// The policies that were kept, if all of them are good.
pub(super) fn kept(config: &Config) -> Option<Loaded> {
    let kept: Vec<Kept> = serde_json::from_slice(&fs::read(config.state.join(KEPT)).ok()?).ok()?;
    let mut loaded = Loaded::default();
    for Kept { file, text } in kept {
        let source = read::from_bytes(&file, text.into_bytes()).ok()?;
        let parsed = parse::parse(source);
        let wrong = parsed.report.diagnostics.iter().any(|one| one.severity() == Severity::Error);
        loaded.policies.push(Arc::new(parsed.policy.filter(|_| !wrong)?));
    }
    (!loaded.policies.is_empty()).then_some(loaded)
}

fn is_of(policy: &Policy, source: &Source) -> bool {
    policy.source.path == source.path && policy.source.text == source.text
}

fn read_error(directory: &Path, source: io::Error) -> PolicyError {
    PolicyError::Read { directory: directory.display().to_string(), source }
}

pub(super) fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // An editor's locks and half-written copies.
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Every file with its length and when it was changed.
pub(super) type Stamp = BTreeMap<PathBuf, (u64, Option<SystemTime>)>;

/// What changes when a policy file does.
pub(super) fn stamp(directory: &Path) -> Stamp {
    let files = files(directory).unwrap_or_default();
    files
        .into_iter()
        .filter_map(|path| {
            let facts = fs::metadata(&path).ok()?;
            Some((path, (facts.len(), facts.modified().ok())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "version: 1\npolicy: NAME\napplies_to: [{ cgroup: /a/** }]\nmode: enforce\n\
        exec: { default: block }\nconnect: { default: block }\nwrite: { default: block }\n";

    #[test]
    fn only_what_has_changed_is_parsed_again() {
        let directory = std::env::temp_dir().join(format!("guard-load-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("make a directory");
        let write = |name: &str, text: &str| {
            fs::write(directory.join(name), text.replace("NAME", name.trim_end_matches(".yaml")))
                .expect("write");
        };
        write("one.yaml", TEXT);
        write("two.yaml", TEXT);
        let first = load(&directory).expect("they are good");
        write("two.yaml", &TEXT.replace("enforce", "shadow"));
        let second = load_again(&directory, &first).expect("they are good");
        assert!(Arc::ptr_eq(&first.policies[0], &second.policies[0]));
        assert!(!Arc::ptr_eq(&first.policies[1], &second.policies[1]));
        assert_ne!(first.policies[1].mode, second.policies[1].mode);
        fs::remove_dir_all(&directory).expect("remove the directory");
    }
}
