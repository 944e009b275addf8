//! Reads the machine's apt sources, to reuse their mirror and their keys for other suites.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// One archive the machine trusts: where it is, and the key it must be signed with (as written, may be empty).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Archive {
    pub(crate) uri: String,
    pub(crate) suite: String,
    pub(crate) signed_by: String,
}

const CODENAMES: &[&str] =
    &["bullseye", "bookworm", "trixie", "forky", "duke", "sid", "oldstable", "stable", "testing", "unstable"];

/// The archive of a suite: `…-security` suites live in an archive of their own.
pub(crate) fn archive_for(suite: &str, archives: &[Archive]) -> Result<Archive> {
    let security = suite.ends_with("-security");
    let found = archives.iter().find(|archive| {
        let (name, is_security) = match archive.suite.strip_suffix("-security") {
            Some(name) => (name, true),
            None => (archive.suite.as_str(), false),
        };
        is_security == security && CODENAMES.contains(&name)
    });
    match found {
        Some(found) => Ok(Archive { suite: suite.to_owned(), ..found.clone() }),
        None => bail!(
            "no Debian {}archive in this machine's apt sources to take suite {suite} from",
            if security { "security " } else { "" }
        ),
    }
}

/// Every binary archive in the files apt itself reads.
pub(crate) fn read_all(list: &Path, parts: &Path) -> Vec<Archive> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(parts).into_iter().flatten().flatten().map(|e| e.path()).collect();
    files.sort();
    files.insert(0, list.to_owned());
    files
        .iter()
        .filter_map(|file| {
            let text = fs::read_to_string(file).ok()?;
            match file.extension()?.to_str()? {
                "list" => Some(one_line(&text)),
                "sources" => Some(deb822(&text)),
                _ => None,
            }
        })
        .flatten()
        .collect()
}

fn one_line(text: &str) -> Vec<Archive> {
    let parse = |line: &str| {
        let rest = line.trim().strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t', '[']))?;
        let (options, rest) = match rest.trim().strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let signed_by =
            options.split_whitespace().find_map(|o| o.strip_prefix("signed-by=")).unwrap_or_default();
        let mut words = rest.split_whitespace();
        Some(Archive {
            uri: words.next()?.to_owned(),
            suite: words.next()?.trim_end_matches('/').to_owned(),
            signed_by: signed_by.to_owned(),
        })
    };
    text.lines().filter_map(parse).collect()
}

fn deb822(text: &str) -> Vec<Archive> {
    let text: String =
        text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    text.split("\n\n").flat_map(stanza).collect()
}

fn stanza(text: &str) -> Vec<Archive> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((key, value)) = line.split_once(':') {
            fields.push((key.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let field =
        |key: &str| fields.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value.as_str());
    if !field("types").split_whitespace().any(|kind| kind == "deb") || field("enabled") == "no" {
        return Vec::new();
    }
    let Some(uri) = field("uris").split_whitespace().next() else { return Vec::new() };
    let archive = |suite: &str| Archive {
        uri: uri.to_owned(),
        suite: suite.trim_end_matches('/').to_owned(),
        signed_by: field("signed-by").to_owned(),
    };
    field("suites").split_whitespace().map(archive).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_are_read() {
        let listed = one_line(
            "# c\ndeb-src http://m/d bookworm main\ndeb [arch=amd64 signed-by=/k.gpg] http://m/d bookworm main\n",
        );
        assert_eq!(
            listed,
            [Archive { uri: "http://m/d".into(), suite: "bookworm".into(), signed_by: "/k.gpg".into() }]
        );
        let stanzas = deb822(
            "Types: deb\n# old\nURIs: http://m/d\nSuites: bookworm bookworm-updates\nSigned-By: /k.gpg\n\nTypes: deb-src\nURIs: u\nSuites: s\n\nTypes: deb\nURIs: http://m/s\nSuites: bookworm-security\nSigned-By:\n -----BEGIN\n .\n -----END\n",
        );
        assert_eq!(stanzas.len(), 3);
        assert_eq!(stanzas[2].signed_by, "\n -----BEGIN\n .\n -----END");
    }

    #[test]
    fn a_suite_is_taken_from_the_archive_of_its_kind() {
        let archives = deb822(
            "Types: deb\nURIs: http://m/d\nSuites: bookworm\n\nTypes: deb\nURIs: http://m/s\nSuites: bookworm-security\n",
        );
        assert_eq!(archive_for("trixie-backports", &archives).unwrap().uri, "http://m/d");
        assert_eq!(archive_for("trixie-security", &archives).unwrap().uri, "http://m/s");
        let error = archive_for("trixie-security", &archives[..1]).unwrap_err();
        assert!(error.to_string().contains("no Debian security archive"));
    }
}
