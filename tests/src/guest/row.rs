//! A technique as a row of a table: tried outside as the control, inside where the policy forbids it, and inside
//! where the policy allows it, as an ordinary user and as root, by a process, its thread and its child.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Result, bail};

use super::agent::{End, REFUSED, Way, Who, attempt_after};
use super::ground::{At, Kind, RAN};
use super::stage::{Stage, kernel_is_at_least};

/// Descriptors and other things that are made before the domain is entered.
pub(super) type Before = fn(&At) -> io::Result<Vec<OwnedFd>>;

/// One technique.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    says: &'static str,
    act: fn(&At, &[OwnedFd]) -> io::Result<()>,
    before: Before,
    who: &'static [Who],
    since: (u32, u32),
    kind: Kind,
    goes: Goes,
    refusal: End,
    allowed: Allowed,
}

/// What the technique amounts to when it goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goes {
    /// Something in the directory has changed.
    Changes,
    /// The program ran.
    Runs,
    /// The call succeeded; there is nothing to see afterwards.
    Succeeds,
}

/// Whether it goes through inside, where the policy allows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Allowed {
    Yes,
    /// It is another's to say: the boundary forbids it anywhere.
    Never,
}

fn nothing(_: &At) -> io::Result<Vec<OwnedFd>> {
    Ok(Vec::new())
}

impl Row {
    const fn new(
        says: &'static str,
        act: fn(&At, &[OwnedFd]) -> io::Result<()>,
        goes: Goes,
        kind: Kind,
    ) -> Self {
        Self {
            says,
            act,
            before: nothing,
            who: &Who::BOTH,
            since: (6, 1),
            kind,
            goes,
            refusal: REFUSED,
            allowed: Allowed::Yes,
        }
    }

    /// A way to change something in the directory.
    pub(super) const fn write(says: &'static str, act: fn(&At, &[OwnedFd]) -> io::Result<()>) -> Self {
        Self::new(says, act, Goes::Changes, Kind::Shut)
    }

    /// A way to become a program of the directory.
    pub(super) const fn run(says: &'static str, act: fn(&At, &[OwnedFd]) -> io::Result<()>) -> Self {
        Self::new(says, act, Goes::Runs, Kind::Shut)
    }

    /// A way to map code of the directory.
    pub(super) const fn load(says: &'static str, act: fn(&At, &[OwnedFd]) -> io::Result<()>) -> Self {
        Self::new(says, act, Goes::Succeeds, Kind::Shut)
    }

    /// A way to read a file of the directory.
    pub(super) const fn read(says: &'static str, act: fn(&At, &[OwnedFd]) -> io::Result<()>) -> Self {
        Self::new(says, act, Goes::Succeeds, Kind::Blind)
    }

    /// A call that must not come through, and leaves nothing to look at where it does.
    pub(super) const fn call(says: &'static str, act: fn(&At, &[OwnedFd]) -> io::Result<()>) -> Self {
        Self::new(says, act, Goes::Succeeds, Kind::Shut)
    }

    /// Made outside, handed in.
    pub(super) const fn before(self, before: Before) -> Self {
        Self { before, ..self }
    }

    pub(super) const fn as_root(self) -> Self {
        Self { who: &[Who::Root], ..self }
    }

    pub(super) const fn since(self, major: u32, minor: u32) -> Self {
        Self { since: (major, minor), ..self }
    }

    /// How it ends when it is refused, if not with EPERM.
    pub(super) const fn ends(self, refusal: End) -> Self {
        Self { refusal, ..self }
    }

    /// The boundary forbids it even where the policy lets write.
    pub(super) const fn never(self) -> Self {
        Self { allowed: Allowed::Never, ..self }
    }

    fn arm(&self, cgroup: Option<&Path>, kind: Kind, who: Who, way: Way) -> Result<Arm> {
        let at = At::fresh(kind, who)?;
        let mut was = Vec::new();
        let end = attempt_after(
            cgroup,
            who,
            way,
            || (self.before)(&at),
            |_| {
                was = at.snapshot()?;
                Ok(())
            },
            |fds| (self.act)(&at, &fds),
        )?;
        let is = at.snapshot()?;
        Ok(Arm { end, changed: is != was, news: is.into_iter().filter(|line| !was.contains(line)).collect() })
    }

    fn went(&self, arm: &Arm) -> bool {
        match self.goes {
            Goes::Changes => arm.changed && arm.end == End::Did,
            Goes::Runs => arm.end == End::Became(RAN),
            Goes::Succeeds => arm.end == End::Did,
        }
    }

    fn refused(&self, arm: &Arm) -> bool {
        arm.end == self.refusal && !arm.changed
    }

    /// What is wrong, for each of the arms.
    fn judge(&self, cgroup: &Path, who: Who, way: Way) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        let control = self.arm(None, self.kind, who, way)?;
        if !self.went(&control) {
            wrong.push(format!("the control outside {control}"));
        }
        let inside = self.arm(Some(cgroup), self.kind, who, way)?;
        if !self.refused(&inside) {
            wrong.push(format!("inside it {inside}"));
        }
        let allowed = self.arm(Some(cgroup), Kind::Open, who, way)?;
        match self.allowed {
            Allowed::Yes if !self.went(&allowed) => wrong.push(format!("where it is allowed it {allowed}")),
            Allowed::Never if !self.refused(&allowed) => {
                wrong.push(format!("where the rules allow it, it {allowed}"));
            }
            Allowed::Yes | Allowed::Never => {}
        }
        Ok(wrong)
    }
}

/// What came of one attempt.
struct Arm {
    end: End,
    changed: bool,
    news: Vec<String>,
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ended with {:?}", self.end)?;
        if self.changed {
            write!(f, " and there is news")?;
            for news in self.news.iter().take(2) {
                write!(f, " [{}]", news.chars().take(160).collect::<String>())?;
            }
        }
        Ok(())
    }
}

/// Tries every row. All that is wrong is printed.
pub(super) fn try_all(rows: &[Row]) -> Result<()> {
    let stage = Stage::set()?;
    let cgroup = stage.cgroup("box")?;
    let (mut bad, mut tried) = (Vec::new(), 0);
    for (n, row) in rows.iter().filter(|row| kernel_is_at_least(row.since)).enumerate() {
        for who in row.who {
            tried += 1;
            let way = Way::ALL[(n + usize::from(*who == Who::Root)) % Way::ALL.len()];
            let wrong =
                row.judge(cgroup.path(), *who, way).unwrap_or_else(|error| vec![format!("{error:#}")]);
            for wrong in &wrong {
                println!("{}, as {who:?}, {way:?}: {wrong}", row.says);
            }
            if !wrong.is_empty() {
                bad.push(format!("{} ({who:?})", row.says));
            }
        }
    }
    if tried == 0 {
        bail!("no row makes sense on this kernel");
    }
    if !bad.is_empty() {
        bail!("{} of {tried} wrong: {}", bad.len(), bad.join("; "));
    }
    Ok(())
}
