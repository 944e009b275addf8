//! What a policy says. The parser builds it, the compiler reads it; nothing here decides anything.
//!
//! Every part that a message or `guard policy explain` may point at carries its [`Span`]. Equality between
//! models ignores spans, so "formatting kept the meaning" is `==`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

mod net;
mod request;

pub use guard_common::abi::{Action, BoundaryItem, Capability, Mode, Verdict};
pub use net::{AddrSet, Cidr, NetTarget, PortRange, PortTarget, Proto};
pub use request::Request;

use super::glob::Glob;
use super::source::{Source, Span, Spanned};

/// One policy document.
#[derive(Debug, Clone)]
pub struct Policy {
    pub name: Spanned<String>,
    /// Always 1 so far.
    pub version: u32,
    pub source: Arc<Source>,
    pub applies_to: Vec<Spanned<Selector>>,
    pub mode: Mode,
    /// Set: this document is the candidate for the named policy. It is decided on the same events and recorded
    /// beside the active verdict, never enforced.
    pub candidate_for: Option<Spanned<String>>,
    /// Always connectable, and cannot be bound by any domain. Never port 0, never an unspecified address.
    pub gateway: Vec<Spanned<SocketAddr>>,
    pub audit: Audit,
    pub sections: Sections,
    pub boundary: Boundary,
    pub limits: Limits,
    /// In the order of the file; names are unique.
    pub profiles: Vec<Profile>,
    pub escalation: Escalation,
    pub tests: Vec<Test>,
}

impl Policy {
    pub fn profile(&self, name: &str) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.name.value == name)
    }

    /// Every gateway that it or one of its profiles states.
    pub fn gateways(&self) -> impl Iterator<Item = &Spanned<SocketAddr>> {
        let profiles = self.profiles.iter().filter_map(|profile| profile.gateway.as_ref()).flatten();
        self.gateway.iter().chain(profiles)
    }

    /// What the policy itself answers for `action` when no rule matches.
    pub fn default_for(&self, action: Action) -> Effect {
        match self.sections.get(action).and_then(|section| section.default.as_ref()) {
            Some(stated) => stated.value.clone(),
            None => Effect::unstated(action),
        }
    }
}

/// Spans and source left out: two documents are equal when they say the same.
impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.version == other.version
            && self.applies_to == other.applies_to
            && self.mode == other.mode
            && self.candidate_for == other.candidate_for
            && self.gateway == other.gateway
            && self.audit == other.audit
            && self.sections == other.sections
            && self.boundary == other.boundary
            && self.limits == other.limits
            && self.profiles == other.profiles
            && self.escalation == other.escalation
            && self.tests == other.tests
    }
}

/// Which cgroups a policy governs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// Glob over cgroup v2 paths: `/agents.slice/**`.
    Cgroup(Glob),
    /// Glob over the last `.service`, `.scope` or `.slice` component of a cgroup path: `claude-*.service`.
    Unit(Glob),
}

/// The actions that a section can be about, in the order of a canonical file: all but the boundary.
pub const SECTIONS: [Action; 6] =
    [Action::Exec, Action::Load, Action::Connect, Action::Listen, Action::Write, Action::Read];

/// Actions whose default nobody may leave to chance.
pub const fn needs_default(action: Action) -> bool {
    matches!(action, Action::Exec | Action::Connect | Action::Write)
}

/// A verdict together with what it needs to be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Allow,
    Throttle(Budget),
    Sandbox { profile: Spanned<String> },
    Escalate,
    Block,
}

impl Effect {
    pub const fn verdict(&self) -> Verdict {
        match self {
            Self::Allow => Verdict::Allow,
            Self::Throttle(_) => Verdict::Throttle,
            Self::Sandbox { .. } => Verdict::Sandbox,
            Self::Escalate => Verdict::Escalate,
            Self::Block => Verdict::Block,
        }
    }

    /// What an absent section, or one without `default`, means. The parser refuses a policy in which exec, connect or
    /// write is unstated; block is what they would mean all the same.
    pub const fn unstated(action: Action) -> Self {
        match action {
            Action::Load | Action::Read => Self::Allow,
            Action::Exec | Action::Connect | Action::Listen | Action::Write | Action::Boundary => Self::Block,
        }
    }
}

/// A time as a policy writes it: `300s`, `1s500ms`.
pub fn written(time: Duration) -> String {
    match (time.as_secs(), time.subsec_millis()) {
        (seconds, 0) => format!("{seconds}s"),
        (0, millis) => format!("{millis}ms"),
        (seconds, millis) => format!("{seconds}s{millis}ms"),
    }
}

/// `rate: 600/1h, burst: 600`: `count` per `per`, with at most `burst` at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    pub count: u32,
    pub per: Duration,
    pub burst: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Audit {
    pub allows: AuditAllows,
    pub on_loss: OnLoss,
    pub argv: AuditArgv,
}

/// Which allowed actions leave a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuditAllows {
    Every,
    #[default]
    First,
    None,
}

/// What happens to an action for whose record there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnLoss {
    #[default]
    Block,
    Allow,
}

/// Arguments hold secrets, so the log has their digest unless the policy asks for the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuditArgv {
    #[default]
    Digest,
    Text,
}

/// The six rule sections; `None` where the document has no such key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sections {
    pub exec: Option<Section>,
    pub load: Option<Section>,
    pub connect: Option<Section>,
    pub listen: Option<Section>,
    pub write: Option<Section>,
    pub read: Option<Section>,
}

impl Sections {
    pub const fn get(&self, action: Action) -> Option<&Section> {
        match action {
            Action::Exec => self.exec.as_ref(),
            Action::Load => self.load.as_ref(),
            Action::Connect => self.connect.as_ref(),
            Action::Listen => self.listen.as_ref(),
            Action::Write => self.write.as_ref(),
            Action::Read => self.read.as_ref(),
            Action::Boundary => None,
        }
    }

    /// Puts a section into its place; the boundary has none.
    pub fn set(&mut self, action: Action, section: Option<Section>) {
        match action {
            Action::Exec => self.exec = section,
            Action::Load => self.load = section,
            Action::Connect => self.connect = section,
            Action::Listen => self.listen = section,
            Action::Write => self.write = section,
            Action::Read => self.read = section,
            Action::Boundary => {}
        }
    }

    /// The sections that are there, in canonical order.
    pub fn iter(&self) -> impl Iterator<Item = (Action, &Section)> {
        SECTIONS.into_iter().filter_map(|action| self.get(action).map(|section| (action, section)))
    }
}

#[derive(Debug, Clone)]
pub struct Section {
    pub span: Span,
    /// Only allow, escalate or block: a throttle or sandbox needs a rule to be named by.
    pub default: Option<Spanned<Effect>>,
    pub rules: Vec<Rule>,
}

impl PartialEq for Section {
    fn eq(&self, other: &Self) -> bool {
        self.default == other.default && self.rules == other.rules
    }
}

impl Eq for Section {}

/// One rule. Which of the matching fields may be set depends on the section; the others are empty:
/// exec has `paths`, `except` and `args`; load, write and read have `paths` and `except`; connect has `to` and
/// `unix` (the rule matches when any of either does) and `except` over the `unix` names; listen has `ports`.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Unique within the whole document.
    pub id: Spanned<String>,
    pub span: Span,
    pub paths: Vec<Glob>,
    pub except: Vec<Glob>,
    /// Patterns for the first, second … argument that is not an option (does not begin with `-`); a prefix. An argument
    /// right behind an option without `=` may be that option's value: a rule stricter than allow matches if
    /// any reading of the line matches, an allow only if every reading does.
    pub args: Vec<Glob>,
    pub to: Vec<NetTarget>,
    /// Names of unix sockets: a path, or `@name` for an abstract one.
    pub unix: Vec<Glob>,
    pub ports: Vec<PortTarget>,
    pub effect: Spanned<Effect>,
    pub reason: Option<Spanned<String>>,
    pub remedy: Option<Spanned<String>>,
    /// Decide and record this rule, let it through.
    pub shadow: bool,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.paths == other.paths
            && self.except == other.except
            && self.args == other.args
            && self.to == other.to
            && self.unix == other.unix
            && self.ports == other.ports
            && self.effect == other.effect
            && self.reason == other.reason
            && self.remedy == other.remedy
            && self.shadow == other.shadow
    }
}

impl Eq for Rule {}

/// Everything that can break the boundary is blocked inside a domain, except what is named here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Boundary {
    pub allow: Vec<Spanned<Opened>>,
}

/// One item of `boundary: allow:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Opened {
    Item(BoundaryItem),
    Capability(Capability),
}

impl Opened {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Item(item) => item.name(),
            Self::Capability(capability) => capability.name(),
        }
    }

    /// All there are.
    pub fn all() -> impl Iterator<Item = Self> {
        let items = BoundaryItem::ALL.iter().copied().map(Self::Item);
        items.chain(Capability::ALL.iter().copied().map(Self::Capability))
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|opened| opened.name() == name)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    pub max_runtime: Option<Spanned<Duration>>,
    pub max_tasks: Option<Spanned<u64>>,
    pub max_memory: Option<Spanned<u64>>,
    pub max_bytes_out: Option<Spanned<u64>>,
}

/// A tighter life that a `sandbox` verdict moves a task's tree into, one way.
///
/// A profile is joined with the policy it belongs to, the stricter answer wins: entering one can only take away. With
/// `inherit: true` it may leave sections unstated; without, exec, connect and write must state their default.
#[derive(Debug, Clone)]
pub struct Profile {
    pub name: Spanned<String>,
    pub span: Span,
    pub inherit: bool,
    /// `None`: the policy's gateway if `inherit`, else none. `Some(vec![])`: none.
    pub gateway: Option<Vec<Spanned<SocketAddr>>>,
    pub sections: Sections,
}

impl PartialEq for Profile {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.inherit == other.inherit
            && self.gateway == other.gateway
            && self.sections == other.sections
    }
}

impl Eq for Profile {}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escalation {
    /// Stated wherever some rule or default escalates; the parser sees to it.
    pub timeout: Option<Spanned<Duration>>,
    pub on_timeout: OnTimeout,
    pub max_pending: u32,
    pub max_pending_per_session: u32,
}

impl Default for Escalation {
    fn default() -> Self {
        Self { timeout: None, on_timeout: OnTimeout::Block, max_pending: 32, max_pending_per_session: 4 }
    }
}

/// A request that nobody answered is never let through; the key exists so that a reader sees it stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnTimeout {
    #[default]
    Block,
}

/// One line of `tests:`.
#[derive(Debug, Clone)]
pub struct Test {
    pub name: Spanned<String>,
    pub span: Span,
    pub request: Spanned<Request>,
    pub expect: Spanned<Verdict>,
    pub rule: Option<Spanned<String>>,
    /// Ask as a task that already lives in this profile.
    pub profile: Option<Spanned<String>>,
}

impl PartialEq for Test {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.request == other.request
            && self.expect == other.expect
            && self.rule == other.rule
            && self.profile == other.profile
    }
}
