//! Records as lines for people.

use guard_common::abi::Reason;
use guard_userspace::audit::read::Entry;
use guard_userspace::audit::visible;
use serde_json::Value;

/// What a call that is blocked returns.
const EPERM: i64 = 1;

/// One record on one line, or on more if there is a reason to give.
pub(super) fn row(entry: &Entry<'_>, line: &[u8]) -> String {
    let time = entry.time.get(..23).unwrap_or(&entry.time).replace('T', " ");
    if !entry.is_decision() {
        return format!("{time}  {}\n", other(entry, line).replace('\n', &format!("\n{:25}", "")));
    }
    let by = if entry.policy.is_empty() { String::new() } else { format!(" {}", entry.policy) };
    let came = outcome(entry).map_or(String::new(), |came| format!(" → {came}"));
    let mut text = format!(
        "{time}  {:8} {:8} {}{came}\n{:25}{}[{}]{by} {}: {}\n",
        entry.verdict, entry.action, entry.object, "", entry.comm, entry.pid, entry.rule, entry.reason
    );
    if let Some(candidate) = &entry.candidate_verdict {
        text.push_str(&format!(
            "{:25}would be {candidate}: {} {}\n",
            "", entry.candidate_policy, entry.candidate_rule
        ));
    }
    text
}

/// What came of a call, where its verdict and rule alone do not say it.
pub(super) fn outcome(entry: &Entry<'_>) -> Option<String> {
    let mut said = Vec::new();
    let plain = matches!(Reason::from_name(&entry.reason_code), Some(Reason::Rule | Reason::Default));
    // What is no rule is called by its reason code already. Of the other verdicts the code says how the call ended.
    let told = entry.reason_code == entry.rule && matches!(&*entry.verdict, "block" | "allow");
    if !plain && !told && !entry.reason_code.is_empty() {
        said.push(entry.reason_code.clone().into_owned());
    }
    let expected = if entry.verdict == "block" { EPERM } else { 0 };
    if entry.errno != expected {
        said.push(match entry.errno {
            0 => "went on".to_owned(),
            errno => error_name(errno),
        });
    }
    if entry.shadowed {
        said.push("let through by shadow mode".to_owned());
    }
    (!said.is_empty()).then(|| said.join(", "))
}

/// An error by its name, for those that guard returns.
fn error_name(errno: i64) -> String {
    match errno {
        EPERM => "EPERM".to_owned(),
        11 => "EAGAIN".to_owned(),
        18 => "EXDEV".to_owned(),
        other => format!("errno {other}"),
    }
}

/// What is no decision, in a few words.
pub(super) fn other(entry: &Entry<'_>, line: &[u8]) -> String {
    let said = Said(serde_json::from_slice(line).unwrap_or_default());
    match &*entry.kind {
        "lost" => format!("LOST     {} events", entry.count),
        "exec" => format!("runs     {}[{}] {}", entry.comm, entry.pid, entry.object),
        "enter" if entry.op == "fork" => {
            format!("forked   {}[{}] from [{}] {}", entry.comm, entry.pid, entry.ppid, entry.exe)
        }
        "enter" => format!("entered  {}[{}] {}", entry.comm, entry.pid, entry.exe),
        "exit" => format!("ended    {}[{}] {}: {}", entry.comm, entry.pid, entry.exe, status(entry)),
        "session-start" => format!("SESSION  begins in {} under {}", entry.cgroup, entry.policy),
        "session-end" => {
            let seconds = entry.nanoseconds as f64 / 1e9;
            let (decisions, refused) = (entry.decisions, entry.refused);
            format!("SESSION  ends after {seconds:.1} s: {decisions} decisions, {refused} refused")
        }
        "approval" | "approval-passed" | "approval-void" => said.approval(),
        "mode" => {
            let (policy, mode) = (said.text("policy"), said.text("mode"));
            format!("MODE     {policy} to {mode}{}{}", said.by(), said.remarks())
        }
        "run" => format!(
            "RUN      in {} under {}{}{}",
            said.text("cgroup"),
            said.text("policies"),
            said.by(),
            said.also(&[("for", "principal"), ("purpose", "purpose"), ("trace", "trace")])
        ),
        "generation" => format!("POLICIES generation {}: {}", said.text("generation"), said.text("policies")),
        "gateway" if said.0["up"] == true => format!("GATEWAY  {} answers", said.text("address")),
        "gateway" => format!("GATEWAY  {} does not answer{}", said.text("address"), said.remarks()),
        "session-act" => {
            let (act, count) = (said.text("act"), said.text("processes"));
            let of = format!("{act} of {} ({count} processes)", said.text("cgroup"));
            format!("SESSION  {of}{}{}", said.by(), said.remarks())
        }
        "session-killed" => {
            format!(
                "SESSION  {} killed: {} processes{}",
                said.text("cgroup"),
                said.text("killed"),
                said.remarks()
            )
        }
        "ftrace" if said.text("enabled") == "false" => {
            "SILENCED kernel.ftrace_enabled is 0: nothing is enforced from here on".to_owned()
        }
        "ftrace" => "HEARD    kernel.ftrace_enabled is 1 again: LSM programs are called".to_owned(),
        "control-refused" => format!("REFUSED  a task of a domain asked the daemon{}", said.by()),
        "agent-outside" => {
            let (exe, pid) = (said.text("exe"), said.text("pid"));
            format!("OUTSIDE  {exe}[{pid}] in {}{}", said.text("cgroup"), said.also(&[("signs", "signs")]))
        }
        kind => {
            let facts = said.rest();
            if facts.is_empty() { kind.to_owned() } else { format!("{kind}: {facts}") }
        }
    }
}

/// How a process ended.
fn status(entry: &Entry<'_>) -> String {
    match (entry.exit_code, entry.signal) {
        (_, Some(signal)) => format!("killed by signal {signal}"),
        (Some(code), None) => format!("exit code {code}"),
        (None, None) => "unknown".to_owned(),
    }
}

/// A record that is read for a line alone. Texts of the daemon's are no names: nothing hidden of them is printed.
struct Said(Value);

impl Said {
    /// A member as text; empty if there is none.
    fn text(&self, name: &str) -> String {
        match &self.0[name] {
            Value::Null => String::new(),
            Value::String(text) => visible(text),
            other => visible(&other.to_string()),
        }
    }

    /// Who did it.
    fn by(&self) -> String {
        let known = [("uid", self.text("by_uid")), ("pid", self.text("by_pid"))];
        let known: Vec<String> =
            known.iter().filter(|(_, id)| !id.is_empty()).map(|(what, id)| format!("{what} {id}")).collect();
        let (name, known) = (self.text("by"), known.join(", "));
        match (name.as_str(), known.as_str()) {
            ("", "") => String::new(),
            ("", known) => format!(" by {known}"),
            (name, "") => format!(" by {name}"),
            (name, known) => format!(" by {name} ({known})"),
        }
    }

    /// What was said about it, each on a line of its own.
    fn remarks(&self) -> String {
        self.also(&[("note", "note"), ("why", "why"), ("failed", "failed")])
    }

    fn also(&self, members: &[(&str, &str)]) -> String {
        let given = members.iter().map(|(what, name)| (what, self.text(name)));
        given.filter(|(_, text)| !text.is_empty()).map(|(what, text)| format!("\n{what}: {text}")).collect()
    }

    fn approval(&self) -> String {
        let waited = self.0["waited_ms"].as_u64().unwrap_or_default() as f64 / 1e3;
        let mut text = format!(
            "ANSWER   {} {}: {}{} after {waited:.1} s\nrequest {} of [{}] {} {}",
            self.text("action"),
            self.text("object"),
            self.text("outcome"),
            self.by(),
            self.text("request"),
            self.text("pid"),
            self.text("policy"),
            self.text("rule"),
        );
        let seconds = self.text("for_session_seconds");
        if !seconds.is_empty() {
            text.push_str(&format!(", for the session, {seconds} s"));
        }
        text.push_str(&self.also(&[("decider", "decider")]));
        text.push_str(&self.remarks());
        text
    }

    /// The members that this kind alone has.
    fn rest(&self) -> String {
        const COMMON: [&str; 8] = ["kind", "record", "time", "boottime", "host", "boot", "prev", "sig"];
        let members = self.0.as_object().into_iter().flatten();
        let own = members.filter(|(name, value)| !COMMON.contains(&name.as_str()) && is_short(value));
        let facts: Vec<String> = own
            .map(|(name, _)| format!("{} {}", visible(name), self.text(name)))
            .filter(|fact| !fact.ends_with(' '))
            .collect();
        facts.join(", ")
    }
}

/// Digests, keys and lists are for machines.
fn is_short(value: &Value) -> bool {
    match value {
        Value::String(text) => text.len() < 64,
        Value::Array(_) | Value::Object(_) => false,
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}
