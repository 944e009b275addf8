//! What came of a drill.

use std::time::Duration;

use serde::Serialize;

use super::plan::Selected;
use super::{Options, Tried};
use crate::drill::chaos::Disturbed;
use crate::drill::{End, Expect, Kind, Profile, Residual, Tier, Way, catalogue};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    Green,
    Gap,
    Skipped,
    NotCovered,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Gap => "gap",
            Self::Skipped => "skipped",
            Self::NotCovered => "not covered",
        }
    }
}

/// One attempt of one drill.
#[derive(Debug, Clone, Serialize)]
pub struct Arm {
    pub tier: Tier,
    pub way: Way,
    pub inside: bool,
    pub end: End,
    pub effect: bool,
    pub wrong: Option<String>,
}

impl Arm {
    pub(super) fn of(one: &Tried, wrong: Option<String>) -> Self {
        let (tier, way, inside) = (one.tier, one.way, one.inside);
        Self { tier, way, inside, end: one.ended.end.clone(), effect: one.effect, wrong }
    }
}

/// One drill, judged.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    pub id: String,
    pub name: String,
    pub group: String,
    pub kind: Kind,
    pub status: Status,
    /// What is wrong, or why it is skipped or not covered.
    pub why: Vec<String>,
    pub hooks: Vec<&'static str>,
    pub attack: Vec<&'static str>,
    pub owasp: Vec<&'static str>,
    pub cve: Vec<&'static str>,
    pub covers: Vec<&'static str>,
    pub record: Vec<Expect>,
    pub arms: Vec<Arm>,
}

impl Outcome {
    pub(super) fn new(selected: &Selected, status: Status, why: Vec<String>, arms: Vec<Arm>) -> Self {
        let drill = &selected.drill;
        let tags = drill.tags.unwrap_or(selected.group.tags);
        Self {
            id: drill.name.to_owned(),
            name: drill.says.to_owned(),
            group: selected.group.name.to_owned(),
            kind: drill.kind,
            status,
            why,
            hooks: drill.hooks.to_vec(),
            attack: tags.attack.to_vec(),
            owasp: tags.owasp.to_vec(),
            cve: drill.cve.to_vec(),
            covers: drill.covers.to_vec(),
            record: drill.record.to_vec(),
            arms,
        }
    }

    fn residual(residual: &Residual) -> Self {
        Self {
            id: residual.name.to_owned(),
            name: residual.says.to_owned(),
            group: "Not covered".to_owned(),
            kind: Kind::Attack,
            status: Status::NotCovered,
            why: vec![residual.why.to_owned()],
            hooks: Vec::new(),
            attack: Vec::new(),
            owasp: Vec::new(),
            cve: Vec::new(),
            covers: residual.covers.to_vec(),
            record: Vec::new(),
            arms: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub green: usize,
    pub gap: usize,
    pub skipped: usize,
    pub not_covered: usize,
}

/// The whole result.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub summary: Summary,
    /// Seconds since 1970.
    pub time: u64,
    pub host: String,
    pub kernel: String,
    pub version: &'static str,
    pub generation: u64,
    pub policy_sha256: String,
    pub enforcing: bool,
    /// What `guard status` had to say against it.
    pub reasons: Vec<String>,
    pub profile: Profile,
    /// What was done to the host meanwhile, with the profile for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chaos: Option<Disturbed>,
    pub milliseconds: u128,
    /// How many attempts were made, controls included.
    pub attempts: usize,
    pub drills: Vec<Outcome>,
}

impl Report {
    pub(super) fn new(
        options: &Options,
        mut drills: Vec<Outcome>,
        chaos: Option<Disturbed>,
        took: Duration,
    ) -> Self {
        if options.only.is_empty() {
            drills.extend(catalogue::RESIDUAL.iter().map(Outcome::residual));
        }
        let count = |status| drills.iter().filter(|drill| drill.status == status).count();
        let summary = Summary {
            green: count(Status::Green),
            gap: count(Status::Gap),
            skipped: count(Status::Skipped),
            not_covered: count(Status::NotCovered),
        };
        let line = |path| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let status = crate::status::Status::ask(&options.pins, &options.run);
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            summary,
            time: since.map_or(0, |since| since.as_secs()),
            host: line("/proc/sys/kernel/hostname"),
            kernel: line("/proc/sys/kernel/osrelease"),
            version: env!("CARGO_PKG_VERSION"),
            generation: status.generation,
            policy_sha256: status.policy_sha256,
            enforcing: status.enforcing,
            reasons: status.reasons,
            profile: options.profile,
            chaos,
            milliseconds: took.as_millis(),
            attempts: drills.iter().map(|drill| drill.arms.len()).sum(),
            drills,
        }
    }
}
