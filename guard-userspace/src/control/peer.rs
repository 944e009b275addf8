//! Who is at the other end, by the kernel's word.

use std::fs;

use procfs::process::Process;
use tokio::net::UnixStream;

/// The process that connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub uid: u32,
    pub pid: u32,
    /// The user's name, or the number if it has none.
    pub user: String,
    /// What it was when it was taken as a client: when it began, and where. Nothing if it was gone by then.
    began: Option<Life>,
}

/// A process: by its number alone it could be another one's.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Life {
    start: u64,
    cgroup: String,
}

impl Peer {
    pub(crate) fn of(stream: &UnixStream) -> std::io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let pid = credentials
            .pid()
            .and_then(|pid| u32::try_from(pid).ok())
            .ok_or_else(|| std::io::Error::other("the peer has no process id in this namespace"))?;
        let uid = credentials.uid();
        Ok(Self { uid, pid, user: user(uid), began: life(pid) })
    }

    /// The cgroups, as paths below the mount, that the process is in and was in when it became a client; none if it is gone.
    pub(crate) fn cgroups(&self) -> Option<[String; 2]> {
        let (began, now) = (self.began.as_ref()?, life(self.pid)?);
        (began.start == now.start).then(|| [began.cgroup.clone(), now.cgroup])
    }
}

fn life(pid: u32) -> Option<Life> {
    let start = || Process::new(pid.try_into().ok()?).ok()?.stat().ok().map(|stat| stat.starttime);
    let before = start()?;
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let cgroup = groups.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned();
    (start() == Some(before)).then_some(Life { start: before, cgroup })
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

    #[tokio::test]
    async fn a_peer_is_where_its_process_is_and_one_that_is_gone_is_nowhere() -> std::io::Result<()> {
        let (one, _other) = UnixStream::pair()?;
        let mut peer = Peer::of(&one)?;
        let [then, now] = peer.cgroups().unwrap_or_default();
        assert!(then == now && now.starts_with('/'), "{then:?}, {now:?}");
        let began = peer.began.clone();
        // Another process with the same number.
        peer.began.as_mut().unwrap().start += 1;
        assert_eq!(peer.cgroups(), None);
        peer.began = began;
        let mut child = std::process::Command::new("/bin/true").spawn()?;
        peer.pid = child.id();
        child.wait()?;
        assert_eq!((life(peer.pid), peer.cgroups()), (None, None));
        Ok(())
    }

    #[test]
    fn users_are_named_as_the_list_says() {
        let list = "root:x:0:0:root:/root:/bin/sh\nbroken\ndev:x:1000:1000::/home/dev:/bin/sh\n";
        assert_eq!(name(list, 0).as_deref(), Some("root"));
        assert_eq!(name(list, 1000).as_deref(), Some("dev"));
        assert_eq!(name(list, 7), None);
    }
}
