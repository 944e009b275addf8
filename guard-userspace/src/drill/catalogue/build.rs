//! How a row is written: one call for what most drills of a family share, and one more for each thing that differs.

use crate::drill::{Drill, Effect, End, Expect, Kind, On, Profile, Stance, Tags, Tier, Way};

pub(super) const DID: &[End] = &[End::Did];
pub(super) const EPERM: &[End] = &[End::Errno(libc::EPERM)];
/// Where procfs answers for another's files.
pub(super) const NOT_SEEN: &[End] = &[End::Errno(libc::EPERM), End::Errno(libc::EACCES)];
/// A move that would change which rules apply; a program copies instead.
pub(super) const STAYS: &[End] = &[End::Errno(libc::EPERM), End::Errno(libc::EXDEV)];
pub(super) const RAN: &[End] = &[End::Became(7)];

const EVER: (u32, u32) = (u32::MAX, 0);

/// Every way that needs nothing of the drill.
pub(super) const WAYS: &[Way] = &[Way::Direct, Way::Thread, Way::Forked, Way::Executed, Way::Nested];
/// What was made outside is not there after an exec.
pub(super) const HANDED: &[Way] = &[Way::Direct, Way::Thread, Way::Forked, Way::Nested];
pub(super) const DIRECT: &[Way] = &[Way::Direct];

pub(super) const ANYBODY: &[Tier] = &Tier::ALL;
pub(super) const ROOTS: &[Tier] = &[Tier::Container, Tier::Root];
pub(super) const ROOT: &[Tier] = &[Tier::Root];

pub(super) type Names = &'static [&'static str];

const fn attack(name: &'static str, says: &'static str, covers: Names, hooks: Names) -> Drill {
    Drill {
        name,
        says,
        covers,
        hooks,
        tags: None,
        cve: &[],
        kind: Kind::Attack,
        tiers: ANYBODY,
        ways: WAYS,
        every: false,
        stance: Stance::Plain,
        on: On::Open,
        effect: Effect::Succeeds,
        control: DID,
        refusal: EPERM,
        record: &[],
        since: (0, 0),
        until: EVER,
        optional: false,
        of_daemon: false,
        profile: Profile::Host,
    }
}

/// A change in the forbidden directory.
pub(super) const fn write(
    name: &'static str,
    says: &'static str,
    covers: Names,
    hooks: Names,
    record: &'static [Expect],
) -> Drill {
    Drill { on: On::Shut, effect: Effect::Changes, record, ..attack(name, says, covers, hooks) }
}

/// Reading in the directory that is forbidden to read.
pub(super) const fn read(
    name: &'static str,
    says: &'static str,
    covers: Names,
    hooks: Names,
    record: &'static [Expect],
) -> Drill {
    Drill { on: On::Blind, record, ..attack(name, says, covers, hooks) }
}

/// Running what is forbidden to run.
pub(super) const fn runs(
    name: &'static str,
    says: &'static str,
    covers: Names,
    hooks: Names,
    record: &'static [Expect],
) -> Drill {
    Drill { on: On::Shut, effect: Effect::Runs, control: RAN, record, ..attack(name, says, covers, hooks) }
}

/// Mapping code that is forbidden to load.
pub(super) const fn loads(
    name: &'static str,
    says: &'static str,
    covers: Names,
    hooks: Names,
    record: &'static [Expect],
) -> Drill {
    Drill { on: On::Shut, record, ..attack(name, says, covers, hooks) }
}

/// Something that must not arrive.
pub(super) const fn out(
    name: &'static str,
    says: &'static str,
    covers: Names,
    hooks: Names,
    record: &'static [Expect],
) -> Drill {
    Drill { effect: Effect::Arrives, record, ..attack(name, says, covers, hooks) }
}

/// A call that must not succeed.
pub(super) const fn call(
    name: &'static str,
    says: &'static str,
    covers: Names,
    hooks: Names,
    record: &'static [Expect],
) -> Drill {
    Drill { record, ..attack(name, says, covers, hooks) }
}

/// What must keep working.
pub(super) const fn keep(name: &'static str, says: &'static str) -> Drill {
    const BOTH: &[Tier] = &[Tier::User, Tier::Root];
    Drill { kind: Kind::Keep, tiers: BOTH, refusal: DID, ..attack(name, says, &[], &[]) }
}

impl Drill {
    pub(super) const fn by(self, tiers: &'static [Tier]) -> Self {
        Self { tiers, ..self }
    }

    pub(super) const fn ways(self, ways: &'static [Way]) -> Self {
        Self { ways, ..self }
    }

    /// All ways each time.
    pub(super) const fn every(self) -> Self {
        Self { every: true, ..self }
    }

    /// With what was made outside.
    pub(super) const fn handed(self) -> Self {
        Self { ways: HANDED, ..self }
    }

    pub(super) const fn lax(self) -> Self {
        Self { stance: Stance::Lax, ..self }
    }

    /// Where the operator opened sockets of every family too.
    pub(super) const fn raw(self) -> Self {
        Self { stance: Stance::Raw, ..self }
    }

    pub(super) const fn on(self, on: On) -> Self {
        Self { on, ..self }
    }

    pub(super) const fn effect(self, effect: Effect) -> Self {
        Self { effect, ..self }
    }

    pub(super) const fn control(self, control: &'static [End]) -> Self {
        Self { control, ..self }
    }

    pub(super) const fn ends(self, refusal: &'static [End]) -> Self {
        Self { refusal, ..self }
    }

    pub(super) const fn since(self, major: u32, minor: u32) -> Self {
        Self { since: (major, minor), ..self }
    }

    pub(super) const fn if_any(self) -> Self {
        Self { optional: true, ..self }
    }

    pub(super) const fn of_daemon(self) -> Self {
        Self { of_daemon: true, ..self }
    }

    pub(super) const fn vm(self) -> Self {
        Self { profile: Profile::Vm, ..self }
    }

    pub(super) const fn cve(self, cve: Names) -> Self {
        Self { cve, ..self }
    }

    pub(super) const fn tags(self, attack: Names, owasp: Names) -> Self {
        Self { tags: Some(Tags { attack, owasp }), ..self }
    }
}
