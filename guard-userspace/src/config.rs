//! `/etc/guard/guard.yaml`: what the daemon does besides enforcing and recording. Without the file it does
//! neither more nor less than that.

mod approvals;
mod secret;
mod url;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use crate::audit::Options;

pub use approvals::{Ask, Decider, Webhook};
pub use secret::Secret;
pub use url::Url;

/// Why the configuration is refused whole.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{}: {text}", path.display())]
    Wrong { path: PathBuf, text: String },
}

/// What the file says, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub metrics: Option<Listen>,
    pub sinks: Vec<Sink>,
    /// Who is told of held calls.
    pub approvals: Option<Webhook>,
    /// Which program answers them.
    pub decider: Option<Decider>,
    pub log: Options,
}

/// Where metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Of this host alone.
    Loopback(SocketAddr),
    Unix(PathBuf),
}

/// Where records go besides the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    pub to: To,
    pub only: Only,
    /// Most bytes that wait for it; beyond, records are left out for this sink, and counted.
    pub queue_bytes: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// journald's socket, in its own protocol.
    Journald(PathBuf),
    /// OTLP logs as JSON over HTTP.
    Otlp(Url),
    /// Records as JSON over HTTP.
    Webhook(Url),
}

impl To {
    /// What the sink is called in metrics.
    pub fn name(&self) -> String {
        match self {
            Self::Journald(_) => "journald".to_owned(),
            Self::Otlp(url) => format!("otlp {url}"),
            Self::Webhook(url) => format!("webhook {url}"),
        }
    }
}

/// Which records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Only {
    #[default]
    All,
    Decisions,
    /// Decisions whose call failed.
    Refused,
}

/// Bytes that wait for a sink, unless the file says otherwise.
const QUEUE: u64 = 8 << 20;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    metrics: Option<MetricsText>,
    sinks: Vec<SinkText>,
    approvals: Option<approvals::WebhookText>,
    decider: Option<approvals::DeciderText>,
    log: LogText,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MetricsText {
    listen: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SinkText {
    journald: Option<PathBuf>,
    otlp: Option<String>,
    webhook: Option<String>,
    only: Option<Only>,
    queue: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LogText {
    segment: Option<String>,
    keep: Option<String>,
    sync_each: bool,
}

/// Reads the file; `None` reads the default one, which need not be there.
pub fn load(path: Option<&Path>) -> Result<Settings, ConfigError> {
    let at = path.unwrap_or(Path::new(DEFAULT));
    let text = match fs::read_to_string(at) {
        Ok(text) => text,
        Err(error) if path.is_none() && error.kind() == io::ErrorKind::NotFound => {
            return Ok(Settings::default());
        }
        Err(source) => return Err(ConfigError::Read { path: at.to_owned(), source }),
    };
    parse(&text).map_err(|text| ConfigError::Wrong { path: at.to_owned(), text })
}

/// Where the configuration is.
pub const DEFAULT: &str = "/etc/guard/guard.yaml";

/// Reads the text, and the secrets that it names.
pub fn parse(text: &str) -> Result<Settings, String> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Settings::default());
    }
    let file: File = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    let defaults = Options::default();
    let log = Options {
        segment_bytes: bytes(file.log.segment.as_deref(), "log: segment")?.unwrap_or(defaults.segment_bytes),
        keep_bytes: bytes(file.log.keep.as_deref(), "log: keep")?,
        sync_each: file.log.sync_each,
    };
    let metrics = file.metrics.map(|metrics| listen(&metrics.listen)).transpose()?;
    let sinks = file.sinks.into_iter().map(sink).collect::<Result<_, _>>()?;
    let approvals = file.approvals.map(approvals::webhook).transpose()?;
    let decider = file.decider.map(approvals::decider).transpose()?;
    Ok(Settings { metrics, sinks, approvals, decider, log })
}

fn listen(text: &str) -> Result<Listen, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return match path.starts_with('/') {
            true => Ok(Listen::Unix(path.into())),
            false => Err(format!("`{text}`: write the whole path: unix:/run/guard/metrics.sock")),
        };
    }
    let address: SocketAddr = text
        .parse()
        .map_err(|_| format!("`{text}`: write 127.0.0.1:9464 or unix:/run/guard/metrics.sock"))?;
    if address.ip().is_loopback() {
        Ok(Listen::Loopback(address))
    } else {
        Err(format!("`{text}` is not of this host alone: write 127.0.0.1:{}", address.port()))
    }
}

fn sink(text: SinkText) -> Result<Sink, String> {
    let to = match (text.journald, text.otlp, text.webhook) {
        (Some(path), None, None) => To::Journald(path),
        (None, Some(url), None) => To::Otlp(Url::parse(&url)?),
        (None, None, Some(url)) => To::Webhook(Url::parse(&url)?),
        _ => {
            return Err(
                "a sink is one of `journald`, `otlp` and `webhook`: write each as an entry of its own".into(),
            );
        }
    };
    // A person's telephone is not for everything.
    let usual = if matches!(to, To::Webhook(_)) { Only::Refused } else { Only::All };
    let queue = bytes(text.queue.as_deref(), "sinks: queue")?.unwrap_or(QUEUE);
    Ok(Sink {
        to,
        only: text.only.unwrap_or(usual),
        queue_bytes: usize::try_from(queue).unwrap_or(usize::MAX),
    })
}

/// `64MiB`.
fn bytes(text: Option<&str>, what: &str) -> Result<Option<u64>, String> {
    let Some(text) = text else { return Ok(None) };
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = match unit.trim() {
        "B" | "" => Some(0),
        "KiB" => Some(10),
        "MiB" => Some(20),
        "GiB" => Some(30),
        _ => None,
    };
    let value =
        shift.zip(number.parse::<u64>().ok()).and_then(|(shift, number)| number.checked_mul(1 << shift));
    match value {
        Some(value) if value > 0 => Ok(Some(value)),
        _ => Err(format!("{what}: `{text}` is no size: write 64MiB")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_file_is_read() {
        let text = "metrics: { listen: '127.0.0.1:9464' }\n\
                    sinks:\n  - { journald: /run/systemd/journal/socket }\n  \
                    - { otlp: 'http://127.0.0.1:4318/v1/logs', only: decisions, queue: 1MiB }\n  \
                    - { webhook: 'http://[::1]:9000/hook' }\n\
                    log: { segment: 16MiB, keep: 1GiB, sync_each: true }\n";
        let settings = parse(text).unwrap();
        assert_eq!(settings.metrics, Some(Listen::Loopback("127.0.0.1:9464".parse().unwrap())));
        let only: Vec<Only> = settings.sinks.iter().map(|sink| sink.only).collect();
        assert_eq!(only, [Only::All, Only::Decisions, Only::Refused]);
        assert_eq!(settings.sinks[1].queue_bytes, 1 << 20);
        assert_eq!(settings.sinks[2].to.name(), "webhook http://::1:9000/hook");
        assert_eq!(
            settings.log,
            Options { segment_bytes: 16 << 20, keep_bytes: Some(1 << 30), sync_each: true }
        );
    }

    #[test]
    fn nothing_said_is_nothing_done() {
        assert_eq!(parse("").unwrap(), Settings::default());
        assert_eq!(parse("# nothing\n").unwrap(), Settings::default());
    }

    #[test]
    fn what_is_wrong_is_refused_with_what_to_write() {
        for (text, says) in [
            ("metric: {}\n", "metric"),
            ("metrics: { listen: '0.0.0.0:9464' }\n", "127.0.0.1:9464"),
            ("metrics: { listen: 'unix:run/x' }\n", "whole path"),
            ("sinks: [{ otlp: 'https://collector/' }]\n", "no TLS"),
            ("sinks: [{ otlp: 'collector:4318' }]\n", "http://127.0.0.1:4318"),
            ("sinks: [{ only: refused }]\n", "is one of"),
            ("sinks: [{ journald: /a, webhook: 'http://a/' }]\n", "is one of"),
            ("sinks: [{ webhook: 'http://a/', only: some }]\n", "some"),
            ("log: { keep: 10GB }\n", "64MiB"),
            ("log: { keep: 0MiB }\n", "64MiB"),
        ] {
            let wrong = parse(text).expect_err(text);
            assert!(wrong.contains(says), "{text}: {wrong}");
        }
    }
}
