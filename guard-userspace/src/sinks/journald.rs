//! journald's native protocol: one datagram a record, `FIELD=value` lines (systemd's JOURNAL_NATIVE_PROTOCOL).
//! A value never has a newline: names are escaped in the record already.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixDatagram;
use tokio::time::timeout;

use super::deliver::late;
use crate::audit::export::is_refused;
use crate::audit::read::Entry;

const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn send(socket: &Path, lines: &[(&[u8], Entry<'_>)]) -> io::Result<()> {
    let journal = UnixDatagram::unbound()?;
    journal.connect(socket)?;
    for (line, entry) in lines {
        timeout(PATIENCE, journal.send(&datagram(line, entry))).await.map_err(|_| late("journald"))??;
    }
    Ok(())
}

fn datagram(line: &[u8], entry: &Entry<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len() + 512);
    let refused = entry.is_decision() && is_refused(entry);
    let message = if entry.is_decision() {
        format!("{} {} {}: {} ({})", entry.verdict, entry.action, entry.object, entry.reason, entry.rule)
    } else {
        entry.kind.clone().into_owned()
    };
    let record = entry.record.to_string();
    let pid = entry.pid.to_string();
    let fields: [(&str, &str); 13] = [
        ("MESSAGE", &message),
        // 4 is a warning, 6 is for information.
        ("PRIORITY", if refused { "4" } else { "6" }),
        ("SYSLOG_IDENTIFIER", "guard"),
        ("GUARD_KIND", &entry.kind),
        ("GUARD_RECORD", &record),
        ("GUARD_SESSION", &entry.session),
        ("GUARD_POLICY", &entry.policy),
        ("GUARD_ACTION", &entry.action),
        ("GUARD_OBJECT", &entry.object),
        ("GUARD_VERDICT", &entry.verdict),
        ("GUARD_RULE", &entry.rule),
        ("GUARD_REASON", &entry.reason_code),
        ("OBJECT_PID", if entry.pid == 0 { "" } else { &pid }),
    ];
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        // A policy's author may write a line break into a reason.
        out.extend(value.bytes().map(|byte| if byte == b'\n' { b' ' } else { byte }));
        out.push(b'\n');
    }
    out.extend_from_slice(b"GUARD_JSON=");
    out.extend_from_slice(line);
    out.push(b'\n');
    out
}
