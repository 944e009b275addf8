//! How the host is set up besides its kernel: what makes a policy weaker than it reads.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Finding, Health};

/// How deep a delegated subtree lies at most: `/user.slice/user-1000.slice/user@1000.service`.
const DEEPEST: usize = 3;

/// `integrity` is fine; `confidentiality` keeps programs from reading the kernel's memory.
pub(super) fn lockdown(state: &str) -> Finding {
    let what = "lockdown";
    if state.contains("[confidentiality]") {
        let mend = "boot without lockdown=confidentiality; lockdown=integrity is fine";
        return Finding::not(
            what,
            Health::Bad,
            "confidentiality: programs may not read what they decide by",
            mend,
        );
    }
    let chosen = state.split(['[', ']']).nth(1).unwrap_or("none");
    Finding::good(what, chosen)
}

/// Controllers of cgroup v1 are not to be had for v2, by which guard sets limits.
pub(super) fn hierarchies(mounts: &str) -> Finding {
    let what = "cgroup v1";
    let old: Vec<&str> = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (at, kind) = (fields.next()?, fields.next()?);
            (kind == "cgroup").then_some(at)
        })
        .collect();
    if old.is_empty() {
        return Finding::good(what, "not mounted");
    }
    let mend = "boot with systemd.unified_cgroup_hierarchy=1: what v1 controls guard cannot limit";
    Finding::not(what, Health::Weak, format!("mounted at {}", old.join(", ")), mend)
}

/// Whoever owns a subtree names the cgroups in it, and moves processes between them.
pub(super) fn delegated(cgroups: Option<&Path>) -> Finding {
    let what = "delegated cgroups";
    let mut found = Vec::new();
    if let Some(top) = cgroups {
        owned(top, 0, &mut found);
    }
    if found.is_empty() {
        return Finding::good(what, "none that another user than root owns");
    }
    let names: Vec<String> = found
        .iter()
        .take(3)
        .map(|(path, uid)| {
            let path = cgroups.and_then(|top| path.strip_prefix(top).ok()).unwrap_or(path);
            format!("/{} (uid {uid})", path.display())
        })
        .collect();
    let more = if found.len() > 3 { format!(" and {} more", found.len() - 3) } else { String::new() };
    let mend = "select such a subtree by its own path and not by names inside it, which its owner chooses";
    Finding::not(what, Health::Weak, format!("{}{more}", names.join(", ")), mend)
}

fn owned(directory: &Path, depth: usize, found: &mut Vec<(PathBuf, u32)>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let Ok(facts) = entry.metadata() else { continue };
        if !facts.is_dir() {
            continue;
        }
        if facts.uid() != 0 {
            found.push((entry.path(), facts.uid()));
        } else if depth < DEEPEST {
            owned(&entry.path(), depth + 1, found);
        }
    }
}

/// Whoever may speak with docker's daemon is root on the host.
pub(super) fn docker(groups: &str, listens: bool) -> Finding {
    let what = "docker group";
    let members = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some("docker")).then(|| fields.nth(2).unwrap_or_default())
    });
    match members {
        None => Finding::good(what, "there is none"),
        Some("") => Finding::good(what, "nobody is in it"),
        Some(members) => {
            let now = if listens { "" } else { "; the daemon does not listen now" };
            let mend = "gpasswd -d USER docker, for each user that agents run as: they are root by it outside every domain";
            Finding::not(what, Health::Weak, format!("{members}{now}"), mend)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_confidentiality_is_bad() {
        assert_eq!(lockdown("none integrity [confidentiality]").health, Health::Bad);
        let fine = lockdown("none [integrity] confidentiality");
        assert_eq!((fine.health, &*fine.evidence), (Health::Good, "integrity"));
        assert_eq!(lockdown("").evidence, "none");
    }

    #[test]
    fn what_v1_holds_is_named() {
        let mounts = "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\ncgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0";
        let found = hierarchies(mounts);
        assert_eq!((found.health, &*found.evidence), (Health::Weak, "mounted at /sys/fs/cgroup/memory"));
        assert_eq!(hierarchies("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0").health, Health::Good);
    }

    #[test]
    fn members_of_docker_are_named() {
        let found = docker("root:x:0:\ndocker:x:998:deploy,agent\nusers:x:100:", true);
        assert_eq!((found.health, &*found.evidence), (Health::Weak, "deploy,agent"));
        assert_eq!(docker("docker:x:998:", true).health, Health::Good);
        assert_eq!(docker("dockers:x:998:deploy", true).health, Health::Good);
    }

    #[test]
    fn a_subtree_of_another_user_is_found() {
        let top = std::env::temp_dir().join(format!("guard-doctor-{}", std::process::id()));
        let theirs = top.join("user.slice/user-7.slice/user@7.service");
        fs::create_dir_all(theirs.join("inside")).unwrap();
        // Only root can give it away; whoever runs this without sees their own directory named.
        let given = std::os::unix::fs::chown(&theirs, Some(7), None).is_ok();
        let found = delegated(Some(&top));
        fs::remove_dir_all(&top).unwrap();
        assert_eq!(found.health, Health::Weak);
        let named = "/user.slice/user-7.slice/user@7.service (uid 7)";
        assert!(!given || found.evidence == named, "{}", found.evidence);
        assert_eq!(delegated(None).health, Health::Good);
    }
}
