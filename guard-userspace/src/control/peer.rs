//! Who is at the other end, by the kernel's word.

use std::fs;

use tokio::net::UnixStream;

/// The process that connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub uid: u32,
    pub pid: u32,
    /// The user's name, or the number if it has none.
    pub user: String,
}

impl Peer {
    pub(crate) fn of(stream: &UnixStream) -> std::io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let pid = credentials
            .pid()
            .and_then(|pid| u32::try_from(pid).ok())
            .ok_or_else(|| std::io::Error::other("the peer has no process id in this namespace"))?;
        let uid = credentials.uid();
        Ok(Self { uid, pid, user: user(uid) })
    }
}

/// The name of a user. Read from the file: a static program has no other name services.
fn user(uid: u32) -> String {
    let list = fs::read_to_string("/etc/passwd").unwrap_or_default();
    name(&list, uid).unwrap_or_else(|| uid.to_string())
}

fn name(list: &str, uid: u32) -> Option<String> {
    list.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// The id of a group, if there is one of this name.
pub(super) fn group(wanted: &str) -> Option<u32> {
    let list = fs::read_to_string("/etc/group").unwrap_or_default();
    list.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == wanted).then_some(())?;
        fields.nth(1)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_as_the_list_says() {
        let list = "root:x:0:0:root:/root:/bin/sh\nbroken\ndev:x:1000:1000::/home/dev:/bin/sh\n";
        assert_eq!(name(list, 0).as_deref(), Some("root"));
        assert_eq!(name(list, 1000).as_deref(), Some("dev"));
        assert_eq!(name(list, 7), None);
    }
}
