//! Who hears of held calls, and which program answers them.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{Secret, Url, bytes};
use crate::approvals::parse_duration;

/// Bytes of messages that wait for the webhook, unless the file says otherwise.
const QUEUE: u64 = 1 << 20;
/// How long a decider may take, unless the file says otherwise, and at least and at most: what takes longer is for people.
const DEADLINE: Duration = Duration::from_secs(2);
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(60);
/// Calls that a decider is asked about at once, unless the file says otherwise, and at most.
const AT_ONCE: usize = 16;
const MOST_AT_ONCE: usize = 256;

/// Where signed messages about held calls go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    pub url: Url,
    pub secret: Secret,
    /// Most bytes that wait for it; beyond, messages are left out, and counted.
    pub queue_bytes: usize,
}

/// The program that is asked about every held call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decider {
    pub ask: Ask,
    /// How long it may take for one answer.
    pub deadline: Duration,
    pub at_once: usize,
}

/// How a decider is reached, and known to be the right one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// By a socket in a directory that only its owner writes to.
    Socket(PathBuf),
    /// By a port of this host, which anybody could listen on: both sides sign.
    Http(Url, Secret),
}

impl std::fmt::Display for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
            Self::Http(url, _) => write!(f, "{url}"),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookText {
    webhook: String,
    secret: PathBuf,
    queue: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeciderText {
    socket: Option<PathBuf>,
    http: Option<String>,
    secret: Option<PathBuf>,
    deadline: Option<String>,
    at_once: Option<usize>,
}

pub(super) fn webhook(text: WebhookText) -> Result<Webhook, String> {
    let queue = bytes(text.queue.as_deref(), "approvals: queue")?.unwrap_or(QUEUE);
    Ok(Webhook {
        url: Url::parse(&text.webhook)?,
        secret: Secret::read(&text.secret)?,
        queue_bytes: usize::try_from(queue).unwrap_or(usize::MAX),
    })
}

pub(super) fn decider(text: DeciderText) -> Result<Decider, String> {
    let ask = match (text.socket, text.http, text.secret) {
        (Some(path), None, None) if path.is_absolute() => Ask::Socket(path),
        (Some(path), None, None) => {
            return Err(format!("decider: `{}`: write the whole path of the socket", path.display()));
        }
        (Some(_), None, Some(_)) => {
            return Err(
                "decider: who listens on a socket is known by its directory: write `secret` with `http` only"
                    .into(),
            );
        }
        (None, Some(url), Some(secret)) => Ask::Http(loopback(&url)?, Secret::read(&secret)?),
        (None, Some(_), None) => {
            return Err(
                "decider: anybody may listen on a port: write `secret: /etc/guard/decider.secret` too, \
                        with which its answers are signed"
                    .into(),
            );
        }
        _ => return Err("decider: write one of `socket` and `http`".into()),
    };
    let deadline = text.deadline.as_deref().map_or(Ok(DEADLINE), deadline)?;
    let at_once = text.at_once.unwrap_or(AT_ONCE);
    if !(1..=MOST_AT_ONCE).contains(&at_once) {
        return Err(format!("decider: at_once: `{at_once}`: write a number from 1 to {MOST_AT_ONCE}"));
    }
    Ok(Decider { ask, deadline, at_once })
}

/// An answer from another host would lie in the hands of the network.
fn loopback(text: &str) -> Result<Url, String> {
    let url = Url::parse(text)?;
    if url.host.parse().is_ok_and(|host: IpAddr| host.is_loopback()) {
        return Ok(url);
    }
    Err(format!(
        "decider: `{text}` is not of this host alone: write http://127.0.0.1:{}{}",
        url.port, url.path
    ))
}

fn deadline(text: &str) -> Result<Duration, String> {
    let milliseconds =
        text.strip_suffix("ms").and_then(|number| number.parse().ok()).map(Duration::from_millis);
    let deadline = milliseconds.or_else(|| parse_duration(text).ok());
    deadline.filter(|deadline| (SHORTEST..=LONGEST).contains(deadline)).ok_or_else(|| {
        format!(
            "decider: deadline: `{text}`: write a time from {} ms to {} s, such as 2s",
            SHORTEST.as_millis(),
            LONGEST.as_secs()
        )
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::parse;
    use super::*;

    fn secret(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("guard-config-{name}-{}", std::process::id()));
        fs::write(&path, "0123456789abcdef0123456789abcdef\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    #[test]
    fn who_hears_and_who_answers_is_read() {
        let secret = secret("read");
        let at = secret.display();
        let text = format!(
            "approvals: {{ webhook: 'http://127.0.0.1:9000/held', secret: {at}, queue: 64KiB }}\n\
             decider: {{ http: 'http://[::1]:9191/', secret: {at}, deadline: 500ms, at_once: 4 }}\n"
        );
        let settings = parse(&text).unwrap();
        let webhook = settings.approvals.unwrap();
        assert_eq!((webhook.url.port, webhook.queue_bytes), (9000, 64 << 10));
        let decider = settings.decider.unwrap();
        assert_eq!((decider.deadline, decider.at_once), (Duration::from_millis(500), 4));
        assert_eq!(decider.ask.to_string(), "http://::1:9191/");
        let decider = parse("decider: { socket: /run/decider/socket }\n").unwrap().decider.unwrap();
        assert_eq!((decider.deadline, decider.at_once), (Duration::from_secs(2), 16));
        assert_eq!(decider.ask.to_string(), "unix:/run/decider/socket");
    }

    #[test]
    fn what_would_let_somebody_else_answer_is_refused() {
        let secret = secret("refused");
        let at = secret.display();
        for (text, says) in [
            ("decider: { }".to_owned(), "one of `socket` and `http`"),
            (format!("decider: {{ socket: /a, http: 'http://127.0.0.1/', secret: {at} }}"), "one of"),
            ("decider: { socket: run/decider }".to_owned(), "whole path"),
            (format!("decider: {{ socket: /a, secret: {at} }}"), "`http` only"),
            ("decider: { http: 'http://127.0.0.1:9191/' }".to_owned(), "write `secret:"),
            (
                format!("decider: {{ http: 'http://10.0.0.1:9191/x', secret: {at} }}"),
                "http://127.0.0.1:9191/x",
            ),
            (
                format!("decider: {{ http: 'http://localhost:9191/', secret: {at} }}"),
                "http://127.0.0.1:9191/",
            ),
            ("decider: { socket: /a, deadline: 0s }".to_owned(), "such as 2s"),
            ("decider: { socket: /a, deadline: 10ms }".to_owned(), "such as 2s"),
            ("decider: { socket: /a, deadline: 5m }".to_owned(), "such as 2s"),
            ("decider: { socket: /a, at_once: 0 }".to_owned(), "from 1 to 256"),
            ("decider: { socket: /a, at_once: 1000 }".to_owned(), "from 1 to 256"),
            ("approvals: { webhook: 'http://a/' }".to_owned(), "secret"),
            ("approvals: { webhook: 'http://a/', secret: /dev/null }".to_owned(), "no regular file"),
            (format!("approvals: {{ webhook: 'https://a/', secret: {at} }}"), "no TLS"),
        ] {
            let wrong = parse(&format!("{text}\n")).expect_err(&text);
            assert!(wrong.contains(says), "{text}: {wrong}");
        }
    }
}
