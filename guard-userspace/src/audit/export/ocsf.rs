//! OCSF 1.3: the class of an event by what was tried, with the profile `security_control` for what guard did.

use serde_json::{Value, json};

use super::super::read::Entry;
use super::{is_refused, nanoseconds};
use crate::events::Peer;

/// A class of OCSF and an activity in it.
struct Class {
    category: u32,
    class: u32,
    activity: u32,
}

impl Class {
    const fn new(category: u32, class: u32, activity: u32) -> Self {
        Self { category, class, activity }
    }

    /// 99 is "other" everywhere.
    fn of(entry: &Entry<'_>) -> Self {
        match &*entry.kind {
            "exec" => return Self::new(1, 1007, 1),
            "exit" => return Self::new(1, 1007, 2),
            _ => {}
        }
        match &*entry.action {
            // Process Activity: launch.
            "exec" => Self::new(1, 1007, 1),
            // Module Activity: load.
            "load" => Self::new(1, 1005, 1),
            // Network Activity: open, listen.
            "connect" => Self::new(4, 4001, 1),
            "listen" => Self::new(4, 4001, 7),
            // File System Activity.
            "read" => Self::new(1, 1001, 2),
            "write" => Self::new(1, 1001, file_activity(&entry.op)),
            // Kernel Activity for what would break the boundary, and for guard's own records.
            _ => Self::new(1, 1003, 99),
        }
    }
}

fn file_activity(op: &str) -> u32 {
    match op {
        "create" | "mkdir" | "mknod" | "symlink" | "link-to" => 1,
        "unlink" | "rmdir" => 4,
        "rename-from" | "rename-to" => 5,
        "times" | "xattr" | "attributes" => 6,
        "chmod" | "chown" | "acl" => 7,
        _ => 3,
    }
}

/// One record.
pub fn ocsf(entry: &Entry<'_>) -> Value {
    let class = Class::of(entry);
    let denied = is_refused(entry);
    let mut event = json!({
        "category_uid": class.category,
        "class_uid": class.class,
        "activity_id": class.activity,
        "type_uid": class.class * 100 + class.activity,
        "time": nanoseconds(entry) / 1_000_000,
        "severity_id": if denied { 3 } else { 1 },
        "status_id": if denied { 2 } else { 1 },
        "message": if entry.is_decision() { &*entry.reason } else { &*entry.kind },
        "metadata": {
            "version": "1.3.0",
            "product": { "name": "guard", "version": env!("CARGO_PKG_VERSION"), "vendor_name": "guard" },
            "profiles": ["host", "security_control"],
            "uid": entry.record.to_string(),
            "correlation_uid": if entry.trace.is_empty() { &entry.session } else { &entry.trace },
        },
        "device": { "hostname": entry.host, "type_id": 0, "os": { "name": "Linux", "type_id": 200 } },
        "unmapped": { "kind": entry.kind, "session": entry.session, "boot": entry.boot, "object": entry.object },
    });
    if matches!(&*entry.kind, "exec" | "exit") {
        let image = if entry.kind == "exec" { &entry.object } else { &entry.exe };
        let file = json!({ "name": base(image), "path": image, "type_id": 1 });
        event["actor"] = actor(entry);
        event["process"] = json!({ "pid": entry.pid, "file": file });
        event["exit_code"] = json!(entry.exit_code);
    }
    if !entry.is_decision() {
        return event;
    }
    event["action_id"] = json!(if denied { 2 } else { 1 });
    event["disposition_id"] = json!(if denied { 2 } else { 1 });
    event["policy"] =
        json!({ "name": entry.policy, "uid": entry.policy_sha256, "is_applied": entry.mode == "enforce" });
    event["firewall_rule"] = json!({ "uid": entry.rule, "name": entry.rule, "desc": entry.reason });
    event["actor"] = actor(entry);
    target(entry, &mut event);
    event
}

fn actor(entry: &Entry<'_>) -> Value {
    json!({
        "process": {
            "pid": entry.pid,
            "name": entry.comm,
            "file": { "name": base(&entry.exe), "path": entry.exe, "type_id": 1 },
            "parent_process": { "pid": entry.ppid },
            "user": { "uid": entry.uid.to_string() },
        },
        "user": { "uid": entry.uid.to_string(), "name": entry.principal },
    })
}

/// What the class requires of the object.
fn target(entry: &Entry<'_>, event: &mut Value) {
    let file = || json!({ "name": base(&entry.object), "path": entry.object, "type_id": 1 });
    match &*entry.action {
        "exec" => event["process"] = json!({ "pid": entry.pid, "file": file() }),
        "load" => event["module"] = json!({ "file": file() }),
        "read" | "write" => event["file"] = file(),
        "connect" | "listen" => {
            let end = match entry.object.parse::<Peer>() {
                Ok(peer) => json!({ "ip": peer.address.ip().to_string(), "port": peer.address.port() }),
                Err(_) => json!({ "name": entry.object }),
            };
            event[if entry.action == "connect" { "dst_endpoint" } else { "src_endpoint" }] = end;
        }
        _ => event["kernel"] = json!({ "name": entry.object, "type_id": 99 }),
    }
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
