//! Which records a question is about.

use std::net::IpAddr;

use guard_common::abi::{Action, Reason, Verdict};

use super::clock;
use super::escape::unescape;
use super::read::Entry;
use crate::events::Peer;
use crate::policy::diag::nearest;
use crate::policy::glob::{Glob, GlobErrorKind};
use crate::policy::model::Cidr;
use crate::policy::source::Span;

/// All of it must be so. What is `None` or empty asks nothing.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Nanoseconds since 1970: not before, and before.
    pub since: Option<u64>,
    pub until: Option<u64>,
    pub kind: Option<String>,
    /// A session's UUID, or how it begins; or a W3C trace id.
    pub session: Option<String>,
    pub principal: Option<String>,
    /// A policy with its profiles, or `policy/profile`.
    pub policy: Option<String>,
    pub rule: Option<String>,
    pub verdict: Option<String>,
    pub reason: Option<String>,
    pub action: Option<String>,
    pub path: Option<Glob>,
    pub address: Option<Address>,
    pub pid: Option<u64>,
    /// Only what shadow rules, shadow policies or candidates would have decided more strictly.
    pub candidate: bool,
}

/// A network, and a port if one is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pub net: Cidr,
    pub port: Option<u16>,
}

/// What is wrong with a part of a question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("`{0}` is no time: write 2026-03-01, 2026-03-01T09:30, or how long ago: 90s, 15m, 2h, 7d")]
    Time(String),
    #[error("`{0}` is no address: write 10.1.2.3, 10.1.0.0/16, 10.1.2.3:443, [2001:db8::1]:443")]
    Address(String),
    #[error("`{0}` is no path pattern: {1}")]
    Path(String, GlobErrorKind),
    #[error("`{given}` is no {what}: write {write}")]
    Word { what: &'static str, given: String, write: String },
}

/// What `kind` says in a record, in the order of `docs/audit-format.md`.
pub const KINDS: [&str; 29] = [
    "decision",
    "enter",
    "exec",
    "exit",
    "lost",
    "corrupt",
    "clock-jump",
    "session-start",
    "session-end",
    "run",
    "session-act",
    "session-killed",
    "approval",
    "approval-passed",
    "approval-void",
    "mode",
    "gateway",
    "ftrace",
    "drill",
    "agent-outside",
    "control-refused",
    "daemon-start",
    "daemon-stop",
    "generation",
    "recovery",
    "log-resumed",
    "trim",
    "segment",
    "checkpoint",
];

/// One of the records' kinds.
pub fn kind(text: &str) -> Result<String, FilterError> {
    word("kind of record", text, KINDS)
}

pub fn verdict(text: &str) -> Result<String, FilterError> {
    word("verdict", text, Verdict::ALL.iter().map(|verdict| verdict.name()))
}

pub fn action(text: &str) -> Result<String, FilterError> {
    word("action", text, Action::ALL.iter().map(|action| action.name()))
}

/// A reason code.
pub fn reason(text: &str) -> Result<String, FilterError> {
    word("reason code", text, Reason::ALL.iter().map(|reason| reason.name()))
}

/// A word of a closed set: another one would find nothing, as if nothing had been.
fn word<'a>(
    what: &'static str,
    given: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Result<String, FilterError> {
    let known: Vec<&str> = known.into_iter().collect();
    if known.contains(&given) {
        return Ok(given.to_owned());
    }
    let write = match nearest(given, known.iter().copied()) {
        Some(nearest) => nearest.to_owned(),
        None => known.join(", "),
    };
    Err(FilterError::Word { what, given: given.to_owned(), write })
}

/// A time as [`FilterError::Time`] says it, in nanoseconds since 1970.
pub fn time(text: &str, now: u64) -> Result<u64, FilterError> {
    let wrong = || FilterError::Time(text.to_owned());
    if let Some(time) = clock::parse(text) {
        return Ok(time);
    }
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let ago = count.checked_mul(seconds * 1_000_000_000).ok_or_else(wrong)?;
    Ok(now.saturating_sub(ago))
}

/// A path pattern, as policies write them.
pub fn path(text: &str) -> Result<Glob, FilterError> {
    Glob::path(text, Span::default()).map_err(|error| FilterError::Path(text.to_owned(), error.kind))
}

impl std::str::FromStr for Address {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let wrong = || FilterError::Address(text.to_owned());
        if let Ok(peer) = text.parse::<std::net::SocketAddr>() {
            return Ok(Self { net: whole(peer.ip()), port: Some(peer.port()) });
        }
        let Some((address, prefix)) = text.split_once('/') else {
            return Ok(Self { net: whole(text.parse().map_err(|_| wrong())?), port: None });
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if prefix > whole(address).prefix {
            return Err(wrong());
        }
        Ok(Self { net: Cidr { addr: address, prefix }, port: None })
    }
}

fn whole(address: IpAddr) -> Cidr {
    let addr = address.to_canonical();
    Cidr { addr, prefix: if addr.is_ipv4() { 32 } else { 128 } }
}

impl Filter {
    pub fn matches(&self, entry: &Entry<'_>) -> bool {
        let is =
            |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
        is(&self.kind, &entry.kind)
            && is(&self.verdict, &entry.verdict)
            && is(&self.action, &entry.action)
            && is(&self.rule, &entry.rule)
            && is(&self.reason, &entry.reason_code)
            && is(&self.principal, &entry.principal)
            && self.policy.as_deref().is_none_or(|wanted| is_policy(wanted, &entry.policy))
            && self.session.as_deref().is_none_or(|wanted| is_session(wanted, entry))
            && self.pid.is_none_or(|pid| entry.pid == pid && pid != 0)
            && (!self.candidate || entry.candidate_verdict.is_some())
            && self.in_time(&entry.time)
            && self.path.as_ref().is_none_or(|glob| is_path(glob, entry))
            && self.address.is_none_or(|address| address.holds(entry))
    }

    fn in_time(&self, time: &str) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        let Some(time) = clock::parse(time) else { return false };
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }
}

/// `policy`, or a profile of it.
pub fn is_policy(wanted: &str, policy: &str) -> bool {
    policy.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_session(wanted: &str, entry: &Entry<'_>) -> bool {
    !wanted.is_empty() && (entry.session.starts_with(wanted) || entry.trace == wanted)
}

fn is_path(glob: &Glob, entry: &Entry<'_>) -> bool {
    matches!(&*entry.object_kind, "path" | "socket")
        && match unescape(&entry.object) {
            Some(bytes) => glob.matches(&bytes),
            None => false,
        }
}

impl Address {
    fn holds(self, entry: &Entry<'_>) -> bool {
        if entry.object_kind != "address" {
            return false;
        }
        let Ok(peer) = entry.object.parse::<Peer>() else { return false };
        self.net.contains(peer.address.ip()) && self.port.is_none_or(|port| port == peer.address.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = br#"{"kind":"decision","record":7,"time":"2026-03-01T09:30:00.000000000Z","session":"0f0e0d0c-0b0a","principal":"dev","policy":"agent/scratch","action":"write","object_kind":"path","object":"/etc/a\\x0ab","verdict":"block","rule":"etc","reason_code":"rule","candidate_verdict":null,"pid":7,"prev":"00"}"#;

    fn says(change: impl FnOnce(&mut Filter)) -> bool {
        let mut filter = Filter::default();
        change(&mut filter);
        filter.matches(&Entry::parse(LINE).unwrap())
    }

    #[test]
    fn every_part_of_a_question_counts() {
        assert!(says(|_| {}));
        assert!(says(|filter| filter.verdict = Some("block".into())));
        assert!(!says(|filter| filter.verdict = Some("allow".into())));
        assert!(says(|filter| filter.policy = Some("agent".into())));
        assert!(says(|filter| filter.policy = Some("agent/scratch".into())));
        assert!(!says(|filter| filter.policy = Some("age".into())));
        assert!(says(|filter| filter.session = Some("0f0e".into())));
        assert!(!says(|filter| filter.session = Some(String::new())));
        assert!(says(|filter| filter.path = Some(path("/etc/*").unwrap())));
        assert!(says(|filter| filter.path = Some(path("/etc/a?b").unwrap())));
        assert!(!says(|filter| filter.path = Some(path("/usr/**").unwrap())));
        assert!(!says(|filter| filter.candidate = true));
        assert!(says(|filter| filter.since = Some(time("2026-03-01T09:30", 0).unwrap())));
        assert!(!says(|filter| filter.until = Some(time("2026-03-01T09:30", 0).unwrap())));
    }

    #[test]
    fn addresses_are_networks_with_or_without_a_port() {
        let line = br#"{"kind":"decision","object_kind":"address","object":"10.1.2.3:443/tcp"}"#;
        let entry = Entry::parse(line).unwrap();
        let holds = |text: &str| text.parse::<Address>().unwrap().holds(&entry);
        assert!(
            holds("10.1.2.3") && holds("10.1.0.0/16") && holds("10.1.2.3:443") && holds("::ffff:10.1.2.3")
        );
        assert!(!holds("10.1.2.4") && !holds("10.1.2.3:80") && !holds("2001:db8::/32"));
        assert!("10.1.2.3/33".parse::<Address>().is_err() && "host".parse::<Address>().is_err());
    }

    #[test]
    fn a_word_that_no_record_has_is_an_error_that_says_what_to_write() {
        let says = |result: Result<String, FilterError>| result.unwrap_err().to_string();
        assert_eq!(action("write"), Ok("write".into()));
        assert_eq!(says(action("wrte")), "`wrte` is no action: write write");
        assert_eq!(says(kind("decisions")), "`decisions` is no kind of record: write decision");
        let all = "`deny` is no verdict: write allow, throttle, sandbox, escalate, block";
        assert_eq!(says(verdict("deny")), all);
        assert!(says(reason("nope")).contains("no-room"));
    }

    #[test]
    fn every_kind_is_in_the_format_page_and_none_beside() {
        let page = include_str!("../../../docs/audit-format.md");
        let table = page.split("\n## Other records\n").nth(1).unwrap();
        let cells = table.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
        let mut listed: Vec<&str> =
            cells.flat_map(|cell| cell.split(", ").map(|name| name.trim_matches('`'))).collect();
        listed.retain(|name| *name != "kind");
        let before = ["decision", "enter", "exec", "exit"];
        assert_eq!([&before, listed.as_slice()].concat(), KINDS);
    }

    #[test]
    fn times_are_absolute_or_ago() {
        assert_eq!(time("90s", 100_000_000_000), Ok(10_000_000_000));
        assert_eq!(time("2026-03-01", 0), Ok(1_772_323_200_000_000_000));
        assert!(time("soon", 0).is_err() && time("é", 0).is_err() && time("", 0).is_err());
    }
}
