//! What a rule's paths are on this host. Rules match resolved paths, so one that names a symlink matches nothing.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use crate::policy::diag::{Code, Diagnostic};
use crate::policy::glob::{Glob, Token};
use crate::policy::model::{Policy, Rule, Sections};

pub(super) fn warnings(policy: &Policy) -> Vec<Diagnostic> {
    let profiles = policy.profiles.iter().map(|profile| &profile.sections);
    let sections = std::iter::once(&policy.sections).chain(profiles);
    let rules = sections.flat_map(Sections::iter).flat_map(|(_, section)| &section.rules);
    let mut told: BTreeSet<PathBuf> = BTreeSet::new();
    let mut found = Vec::new();
    for rule in rules {
        for glob in names(rule) {
            let Some((path, whole)) = fixed_part(glob) else { continue };
            // Said once for each path; the next rule that names it has the same cure.
            if told.insert(path.clone()) {
                found.extend(warning(rule, glob, path, whole));
            }
        }
    }
    found
}

fn names(rule: &Rule) -> impl Iterator<Item = &Glob> {
    rule.paths.iter().chain(rule.unix.iter().filter(|name| !name.text.starts_with('@')))
}

fn warning(rule: &Rule, glob: &Glob, path: PathBuf, whole: bool) -> Option<Diagnostic> {
    let rule = &rule.id.value;
    match fs::canonicalize(&path) {
        Ok(real) if real == path => None,
        Ok(real) => {
            let rest = glob.text.get(path.as_os_str().len()..).unwrap_or("");
            let instead = format!("{}{rest}", real.display());
            let message =
                format!("the rule `{rule}` names {}, which resolves to {}", path.display(), real.display());
            Some(Diagnostic::new(Code::SymlinkPath, glob.span, message).help(format!(
                "rules match resolved paths, so this one matches nothing here: write `{instead}`"
            )))
        }
        // Somebody else's directory: nothing can be said without root.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => None,
        Err(_) => {
            let what = if whole { "file" } else { "directory" };
            let message = format!(
                "the rule `{rule}` names {}, and there is no such {what} on this host",
                path.display()
            );
            Some(
                Diagnostic::new(Code::MissingPath, glob.span, message)
                    .help("correct the path, or leave it if it will exist where the policy is used"),
            )
        }
    }
}

/// The directory part before the first wildcard, or the whole path if there is none. `/` says nothing.
fn fixed_part(glob: &Glob) -> Option<(PathBuf, bool)> {
    let Some(Token::Literal(bytes)) = glob.tokens.first() else { return None };
    let whole = glob.tokens.len() == 1;
    let end = if whole { bytes.len() } else { bytes.iter().rposition(|byte| *byte == b'/')? };
    (end > 1).then(|| (PathBuf::from(OsString::from_vec(bytes[..end].to_vec())), whole))
}
