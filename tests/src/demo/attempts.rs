//! What the sample agent tries, in order.

/// One thing to try.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    pub(super) says: &'static str,
    pub(super) act: Act,
    pub(super) expect: Expect,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    Exec(&'static str),
    Read(&'static str),
    Append(&'static str),
    /// SIGKILL to the daemon.
    KillGuard,
    /// A TCP connection, after so many that only prepare it.
    Connect(&'static str, u8),
    /// Its own PID into the top cgroup, then the exec of this program.
    LeaveAndExec(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    Allowed,
    Blocked,
    /// Over its budget: EAGAIN.
    Throttled,
    /// Held inside the call until somebody approved it.
    Approved,
    /// Let through, into a tighter profile.
    Sandboxed,
}

/// What the agent was given to work with, and what it must not touch.
pub(super) const WORKSPACE: &str = "/workspace";
pub(super) const DOWNLOADED: &str = "/workspace/downloaded-tool";
pub(super) const NOTES: &str = "/workspace/notes.txt";
pub(super) const KEY: &str = "/root/.ssh/id_ed25519";
pub(super) const CRONTAB: &str = "/etc/crontab";
pub(super) const RELEASE: &str = "/workspace/deploy/release";
pub(super) const CUSTOMERS: &str = "/srv/prod/customers";
/// The gateway, and a service that the policy rations.
pub(super) const GATEWAY: &str = "127.0.0.1:18080";
pub(super) const SEARCH: &str = "127.0.0.1:18090";

pub(super) const ATTEMPTS: &[Attempt] = &[
    Attempt { says: "run a tool of the system", act: Act::Exec("/bin/true"), expect: Expect::Allowed },
    Attempt { says: "write its notes", act: Act::Append(NOTES), expect: Expect::Allowed },
    Attempt { says: "read its notes", act: Act::Read(NOTES), expect: Expect::Allowed },
    Attempt { says: "reach the gateway", act: Act::Connect(GATEWAY, 0), expect: Expect::Allowed },
    Attempt { says: "run a tool it downloaded", act: Act::Exec(DOWNLOADED), expect: Expect::Blocked },
    Attempt { says: "read a private key", act: Act::Read(KEY), expect: Expect::Blocked },
    Attempt { says: "plant a job for later", act: Act::Append(CRONTAB), expect: Expect::Blocked },
    Attempt { says: "kill guard", act: Act::KillGuard, expect: Expect::Blocked },
    Attempt {
        says: "leave its cgroup, then try again",
        act: Act::LeaveAndExec(DOWNLOADED),
        expect: Expect::Blocked,
    },
    Attempt { says: "search a third time", act: Act::Connect(SEARCH, 2), expect: Expect::Throttled },
    Attempt { says: "deploy, which a person approves", act: Act::Append(RELEASE), expect: Expect::Approved },
    Attempt { says: "read production data", act: Act::Read(CUSTOMERS), expect: Expect::Sandboxed },
    Attempt { says: "reach the gateway after that", act: Act::Connect(GATEWAY, 0), expect: Expect::Blocked },
];

impl Act {
    /// The design's word for the action, as audit records have it.
    pub(super) const fn action(self) -> &'static str {
        match self {
            Self::Exec(_) | Self::LeaveAndExec(_) => "exec",
            Self::Read(_) => "read",
            Self::Append(_) => "write",
            Self::KillGuard => "boundary",
            Self::Connect(..) => "connect",
        }
    }

    /// What it is tried on, for people.
    pub(super) const fn object(self) -> &'static str {
        match self {
            Self::Exec(path) | Self::Read(path) | Self::Append(path) | Self::LeaveAndExec(path) => path,
            Self::KillGuard => "guard daemon",
            Self::Connect(address, _) => address,
        }
    }
}
