//! What a drill is.

use serde::Serialize;

/// As whom an attempt is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// An ordinary user.
    User,
    /// Root with the capabilities that containers have by default.
    Container,
    /// Root with all of them.
    Root,
}

impl Tier {
    pub const ALL: [Self; 3] = [Self::User, Self::Container, Self::Root];

    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Container => "container",
            Self::Root => "root",
        }
    }

    pub fn uid(self) -> u32 {
        match self {
            Self::User => 65534,
            Self::Container | Self::Root => 0,
        }
    }
}

/// By which road an attempt's task is inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// The process that was moved in.
    Direct,
    /// A thread that it starts.
    Thread,
    /// A child that it forks.
    Forked,
    /// The program that it becomes.
    Executed,
    /// Moved into a cgroup nested deep below.
    Nested,
    /// Moved in and out again before it did anything.
    Left,
    /// Born inside.
    Cloned,
    /// Born inside and moved out before it did anything.
    ClonedLeft,
    /// Moved in while it ran a launcher, which then became the attempt.
    Launched,
}

impl Way {
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Thread => "thread",
            Self::Forked => "forked",
            Self::Executed => "executed",
            Self::Nested => "nested",
            Self::Left => "left",
            Self::Cloned => "cloned",
            Self::ClonedLeft => "cloned-left",
            Self::Launched => "launched",
        }
    }

    /// The helper's word for it: the rest is the engine's to do.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Direct | Self::Nested | Self::Left | Self::Launched => "direct",
            Self::Thread => "thread",
            Self::Forked => "forked",
            Self::Executed => "executed",
            Self::Cloned | Self::ClonedLeft => "cloned",
        }
    }
}

/// Under which policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stance {
    /// Nothing of the boundary is open.
    Plain,
    /// Capabilities and tracing are open, so that the hooks behind them must refuse by themselves.
    Lax,
    /// The same, and sockets of every family.
    Raw,
    /// An operator's own policy, as it is.
    Own,
}

impl Stance {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Lax => "lax",
            Self::Raw => "raw",
            Self::Own => "own",
        }
    }
}

/// In which directory: the rules allow everything in the first, forbid changing, running and loading in the second,
/// and reading too in the third.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum On {
    Open,
    Shut,
    Blind,
}

/// What the technique amounts to when it goes through, seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Something in the directory has changed.
    Changes,
    /// The program ran.
    Runs,
    /// Bytes, a connection or a packet arrived where none should.
    Arrives,
    /// The process outside is gone or not what it was.
    Harms,
    /// The call succeeded, and that is all there is to see.
    Succeeds,
    /// Nothing but the record tells: the call ends the same either way.
    OnlyRecorded,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// It went through.
    Did,
    /// It returned this errno.
    Errno(i32),
    /// The process became another program, which ended with this status.
    Became(i32),
    /// A signal ended the process.
    Killed(i32),
    /// It did not end in time.
    Hung,
    /// What comes before the attempt failed.
    NotReady(String),
}

impl End {
    /// Whether what it lacked may be there a moment later.
    pub fn is_shortage(&self) -> bool {
        matches!(self, Self::Errno(libc::ENOSPC | libc::ENOMEM | libc::EAGAIN | libc::ENOBUFS) | Self::Hung)
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Did => f.write_str("success"),
            Self::Errno(number) => write!(f, "{}", nix::errno::Errno::from_raw(*number)),
            Self::Became(status) => write!(f, "another program (status {status})"),
            Self::Killed(signal) => write!(f, "signal {signal}"),
            Self::Hung => f.write_str("no end in time"),
            Self::NotReady(why) => write!(f, "no beginning ({why})"),
        }
    }
}

/// The record that an attempt must leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// A decision of rules: action and operation.
    Rule(&'static str, &'static str),
    /// An item of the boundary, and the operation.
    Item(&'static str, &'static str),
    /// A capability that is not kept.
    Capability(&'static str),
    /// Something that the kernel counts and does not record.
    Counter(&'static str),
    /// Nothing, and the reason why.
    Nothing(&'static str),
}

impl std::fmt::Display for Expect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rule(action, op) => write!(f, "{action} ({op})"),
            Self::Item(item, op) => write!(f, "{item} ({op})"),
            Self::Capability(name) => f.write_str(name),
            Self::Counter(name) => write!(f, "counter {name}"),
            Self::Nothing(why) => write!(f, "none: {why}"),
        }
    }
}

/// Where it may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Beside real agents: own files, own processes, the loopback device.
    Host,
    /// On a machine that may be thrown away: the control changes the machine.
    Vm,
    /// There, while the daemon is killed and everything runs short: see [`super::chaos`].
    Chaos,
}

/// Whether it must fail inside or must work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Attack,
    Keep,
}

/// What others call it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Tags {
    /// MITRE ATT&CK techniques.
    pub attack: &'static [&'static str],
    /// OWASP Top 10 for Agentic Applications, ASI01 to ASI10.
    pub owasp: &'static [&'static str],
}

/// One drill.
#[derive(Debug, Clone, Copy)]
pub struct Drill {
    /// The name of the attempt, and of the drill.
    pub name: &'static str,
    /// A sentence that is true when it is green.
    pub says: &'static str,
    /// Numbers in the threat model.
    pub covers: &'static [&'static str],
    /// The hooks that should see it; the first is the one without which it goes through.
    pub hooks: &'static [&'static str],
    /// In place of the group's.
    pub tags: Option<Tags>,
    pub cve: &'static [&'static str],
    pub kind: Kind,
    pub tiers: &'static [Tier],
    pub ways: &'static [Way],
    /// All ways each time: it is they that are tried.
    pub every: bool,
    pub stance: Stance,
    pub on: On,
    pub effect: Effect,
    /// How it ends outside.
    pub control: &'static [End],
    /// How it ends inside.
    pub refusal: &'static [End],
    /// Any of these.
    pub record: &'static [Expect],
    /// The first kernel that has it, and the first that has it no more.
    pub since: (u32, u32),
    pub until: (u32, u32),
    /// A kernel or a host without it is no failure.
    pub optional: bool,
    /// It is about the daemon's process, so it needs one.
    pub of_daemon: bool,
    pub profile: Profile,
}

/// Drills of one kind.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    pub name: &'static str,
    pub tags: Tags,
    pub drills: &'static [Drill],
}

/// A technique that nobody stops, and why.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Residual {
    pub name: &'static str,
    pub says: &'static str,
    pub covers: &'static [&'static str],
    pub why: &'static str,
}
