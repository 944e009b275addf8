//! OpenTelemetry logs: the JSON of an `ExportLogsServiceRequest`, one for each record, as the file exporter of the
//! OpenTelemetry specification writes them, so that a collector's `otlpjsonfile` receiver takes them.

use serde_json::{Value, json};

use super::super::read::Entry;
use super::{is_refused, nanoseconds};

/// Severity numbers of the OpenTelemetry log data model.
const INFO: u32 = 9;
const WARN: u32 = 13;

/// One record.
pub fn otlp(entry: &Entry<'_>) -> Value {
    request(&entry.host, vec![log_record(entry)])
}

/// Several records of one host in one request.
pub fn otlp_batch<'a>(entries: impl IntoIterator<Item = &'a Entry<'a>>) -> Value {
    let mut host = String::new();
    let records = entries
        .into_iter()
        .map(|entry| {
            host.clear();
            host.push_str(&entry.host);
            log_record(entry)
        })
        .collect();
    request(&host, records)
}

fn request(host: &str, records: Vec<Value>) -> Value {
    json!({ "resourceLogs": [{
        "resource": { "attributes": [text_of("service.name", "guard"), text_of("host.name", host)] },
        "scopeLogs": [{
            "scope": { "name": "guard.audit", "version": env!("CARGO_PKG_VERSION") },
            "logRecords": records,
        }],
    }]})
}

fn log_record(entry: &Entry<'_>) -> Value {
    let (number, text) = if is_refused(entry) { (WARN, "WARN") } else { (INFO, "INFO") };
    let time = nanoseconds(entry).to_string();
    let mut record = json!({
        "timeUnixNano": time,
        "observedTimeUnixNano": time,
        "severityNumber": number,
        "severityText": text,
        "eventName": format!("guard.{}", entry.kind),
        "body": { "stringValue": body(entry) },
        "attributes": attributes(entry),
    });
    // Only a W3C trace id is one; anything else stays an attribute.
    if entry.trace.len() == 32 && entry.trace.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        record["traceId"] = json!(entry.trace);
    }
    record
}

fn body(entry: &Entry<'_>) -> String {
    if entry.is_decision() {
        format!("{} {} {}: {}", entry.verdict, entry.action, entry.object, entry.reason)
    } else {
        entry.kind.clone().into_owned()
    }
}

fn text_of(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn number_of(key: &str, value: u64) -> Value {
    // 64-bit integers are strings in the JSON of protocol buffers.
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}

fn attributes(entry: &Entry<'_>) -> Vec<Value> {
    let texts = [
        ("guard.session", &entry.session),
        ("guard.principal", &entry.principal),
        ("guard.policy", &entry.policy),
        ("guard.policy_sha256", &entry.policy_sha256),
        ("guard.mode", &entry.mode),
        ("guard.action", &entry.action),
        ("guard.op", &entry.op),
        ("guard.object", &entry.object),
        ("guard.verdict", &entry.verdict),
        ("guard.rule", &entry.rule),
        ("guard.reason_code", &entry.reason_code),
        ("guard.cgroup", &entry.cgroup),
        ("process.executable.path", &entry.exe),
        ("process.command", &entry.comm),
    ];
    let mut all: Vec<Value> =
        texts.iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| text_of(key, value)).collect();
    all.push(number_of("guard.record", entry.record));
    if let Some(candidate) = &entry.candidate_verdict {
        all.push(text_of("guard.candidate_verdict", candidate));
    }
    if entry.pid != 0 {
        all.push(number_of("process.pid", entry.pid));
        all.push(number_of("process.parent_pid", entry.ppid));
        all.push(number_of("guard.errno", entry.errno.unsigned_abs()));
    }
    all
}
