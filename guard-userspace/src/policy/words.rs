//! The language's keys, once: the parser knows unknown ones by these tables, `fmt` orders by them, the
//! JSON Schema is generated from them.

/// A mapping with fixed keys.
#[derive(Debug)]
pub struct Object {
    /// What a message calls it: "a rule of exec".
    pub name: &'static str,
    pub doc: &'static str,
    /// In canonical order.
    pub keys: &'static [Key],
}

impl Object {
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.name)
    }
}

#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub doc: &'static str,
    pub required: bool,
    pub shape: &'static Shape,
}

#[derive(Debug)]
pub enum Shape {
    /// Any text.
    Text,
    /// Text of a form, given as a regular expression for the schema.
    Form(&'static str),
    Words(&'static [&'static str]),
    /// One of the boundary items, whose list the kernel half has.
    BoundaryItem,
    Bool,
    Number,
    List(&'static Shape),
    Object(&'static Object),
    /// A mapping from free names.
    Named(&'static Object),
}

const fn key(name: &'static str, shape: &'static Shape, doc: &'static str) -> Key {
    Key { name, doc, required: false, shape }
}

const fn must(name: &'static str, shape: &'static Shape, doc: &'static str) -> Key {
    Key { name, doc, required: true, shape }
}

const NAME: Shape = Shape::Form("^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$");
const GLOB: Shape = Shape::Text;
const GLOBS: Shape = Shape::List(&GLOB);
const DURATION: Shape = Shape::Form("^([0-9]+(ms|s|m|h|d))+$");
const SIZE: Shape = Shape::Form("^[0-9]+(B|KiB|MiB|GiB|TiB|kB|KB|MB|GB|TB)?$");
const SOCKET: Shape = Shape::Form("^(\\[[0-9a-fA-F:.]+\\]|[0-9.]+):[0-9]+$");
const GATEWAY: Shape = Shape::List(&SOCKET);
pub const VERDICTS: &[&str] = &["allow", "throttle", "sandbox", "escalate", "block"];
const VERDICT: Shape = Shape::Words(VERDICTS);
pub const DEFAULTS: &[&str] = &["allow", "escalate", "block"];
const DEFAULT: Shape = Shape::Words(DEFAULTS);
pub const MODES: &[&str] = &["enforce", "shadow"];
pub const ALLOWS: &[&str] = &["every", "first", "none"];
pub const ON_LOSS: &[&str] = &["block", "allow"];
pub const ARGV: &[&str] = &["digest", "text"];
pub const ON_TIMEOUT: &[&str] = &["block"];

macro_rules! rule {
    ($($key:expr),+ $(,)?) => {
        &[
            must("id", &NAME, "names the rule in records, tests and `guard why`; unique in the policy"),
            $($key,)+
            must("verdict", &VERDICT, "what happens when the rule matches; of all that match, the strictest wins"),
            key("profile", &NAME, "with `sandbox`: the profile that the task's tree lives in from now on"),
            key("rate", &Shape::Form("^[0-9]+/([0-9]+)?(ms|s|m|h|d)$"), "with `throttle`: how many per time, `600/1h`"),
            key("burst", &Shape::Number, "with `throttle`: how many at once; the rate's count if not stated"),
            key("shadow", &Shape::Bool, "decide and record this rule, let it through"),
            key("reason", &Shape::Text, "why; shown to whoever is denied"),
            key("remedy", &Shape::Text, "what to do instead; shown to whoever is denied"),
        ]
    };
}

macro_rules! section {
    ($section:ident, $rule:ident, $name:literal, $rule_name:literal, $doc:literal, $keys:expr) => {
        static $rule: Object = Object { name: $rule_name, doc: "one rule", keys: $keys };
        pub static $section: Object = Object {
            name: $name,
            doc: $doc,
            keys: &[
                key("default", &DEFAULT, "what happens when no rule matches"),
                key("rules", &Shape::List(&Shape::Object(&$rule)), "in any order; the order means nothing"),
            ],
        };
    };
}

const PATHS: Key = key("paths", &GLOBS, "globs over resolved absolute paths; the rule matches if any does");
const EXCEPT: Key = key("except", &GLOBS, "globs carved out of this rule, and of no other");

section!(
    EXEC,
    EXEC_RULE,
    "exec",
    "a rule of exec",
    "running a file",
    rule![
        PATHS,
        EXCEPT,
        key(
            "args",
            &Shape::List(&Shape::Text),
            "patterns for the first, second … argument that is not an option; an argument right behind an option without \
         `=` may be its value, so a rule stricter than allow matches if any reading does, an allow only if every one does"
        ),
    ]
);
section!(
    LOAD,
    LOAD_RULE,
    "load",
    "a rule of load",
    "mapping a file executable: shared libraries, programs run through the loader",
    rule![PATHS, EXCEPT]
);
section!(
    CONNECT,
    CONNECT_RULE,
    "connect",
    "a rule of connect",
    "anything that leaves: TCP, UDP, unix sockets",
    rule![
        key(
            "to",
            &Shape::List(&Shape::Text),
            "addresses or networks with ports: `10.1.0.0/16:443/tcp`, `[2001:db8::/32]:53/udp`, `*:443`"
        ),
        key("unix", &GLOBS, "globs over the paths of unix sockets, or `@name` for abstract ones"),
        key("except", &GLOBS, "globs carved out of this rule's `unix`, and of no other"),
    ]
);
section!(
    LISTEN,
    LISTEN_RULE,
    "listen",
    "a rule of listen",
    "letting others connect to a port",
    rule![key("ports", &Shape::List(&Shape::Text), "local ports: `3000`, `8000-8999/tcp`")]
);
section!(
    WRITE,
    WRITE_RULE,
    "write",
    "a rule of write",
    "opening for writing, create, truncate, rename, link, unlink, mkdir, metadata",
    rule![PATHS, EXCEPT]
);
section!(READ, READ_RULE, "read", "a rule of read", "opening for reading", rule![PATHS, EXCEPT]);

pub static APPLIES_TO: Object = Object {
    name: "a selector",
    doc: "which cgroups; one of the two",
    keys: &[
        key("cgroup", &GLOB, "glob over cgroup v2 paths: `/agents.slice/**`"),
        key("unit", &GLOB, "glob over systemd unit names: `claude-*.service`"),
    ],
};

pub static AUDIT: Object = Object {
    name: "audit",
    doc: "what is recorded",
    keys: &[
        key("allows", &Shape::Words(ALLOWS), "which allowed actions leave a record; denials always do"),
        key("on_loss", &Shape::Words(ON_LOSS), "what happens to an action for whose record there is no room"),
        key("argv", &Shape::Words(ARGV), "arguments as a digest, or as text (they hold secrets)"),
    ],
};

pub static BOUNDARY: Object = Object {
    name: "boundary",
    doc: "what can break the boundary is blocked, except",
    keys: &[key("allow", &Shape::List(&Shape::BoundaryItem), "single items to open")],
};

pub static LIMITS: Object = Object {
    name: "limits",
    doc: "of a session",
    keys: &[
        key("max_runtime", &DURATION, "how long a session may live"),
        key("max_tasks", &Shape::Number, "tasks at once"),
        key("max_memory", &SIZE, "memory of the session"),
        key("max_bytes_out", &SIZE, "bytes sent by the session"),
    ],
};

pub static PROFILE: Object = Object {
    name: "a profile",
    doc: "a tighter life, joined with the policy: the stricter answer wins",
    keys: &[
        key("inherit", &Shape::Bool, "sections that are not stated, and the gateway, are the policy's"),
        key("gateway", &GATEWAY, "address and port; `[]` is none"),
        key("exec", &Shape::Object(&EXEC), "running a file"),
        key("load", &Shape::Object(&LOAD), "mapping a file executable"),
        key("connect", &Shape::Object(&CONNECT), "anything that leaves"),
        key("listen", &Shape::Object(&LISTEN), "letting others connect"),
        key("write", &Shape::Object(&WRITE), "changing files"),
        key("read", &Shape::Object(&READ), "reading files"),
    ],
};

pub static ESCALATION: Object = Object {
    name: "escalation",
    doc: "how a held call ends",
    keys: &[
        key("timeout", &DURATION, "how long a call is held"),
        key("on_timeout", &Shape::Words(ON_TIMEOUT), "always block: what nobody answered is not let through"),
        key("max_pending", &Shape::Number, "held calls at once"),
        key("max_pending_per_session", &Shape::Number, "held calls of one session at once"),
    ],
};

pub static TEST: Object = Object {
    name: "a test",
    doc: "one request and the answer it must get",
    keys: &[
        must("name", &Shape::Text, "a sentence that the test proves"),
        key("exec", &Shape::List(&Shape::Text), "the program's path and its arguments"),
        key("load", &Shape::Text, "a path"),
        key("connect", &Shape::Text, "`10.1.2.3:443/tcp`, the path of a unix socket, or `@name`"),
        key("listen", &Shape::Text, "`8080/tcp`"),
        key("write", &Shape::Text, "a path"),
        key("read", &Shape::Text, "a path"),
        key("profile", &NAME, "ask as a task that lives in this profile"),
        must("expect", &VERDICT, "the verdict"),
        key("rule", &NAME, "the rule that must give it, or `default`"),
    ],
};

pub static POLICY: Object = Object {
    name: "a policy",
    doc: "what one kind of AI agent may do on this host",
    keys: &[
        must("version", &Shape::Number, "of the policy language: 1"),
        must("policy", &NAME, "the policy's name"),
        key(
            "candidate_for",
            &NAME,
            "this document is only a candidate for that policy: decided and recorded, never enforced",
        ),
        must(
            "applies_to",
            &Shape::List(&Shape::Object(&APPLIES_TO)),
            "the cgroups it governs, with all below them",
        ),
        key("mode", &Shape::Words(MODES), "`shadow` decides and records, and lets everything through"),
        key("gateway", &GATEWAY, "always connectable, never bindable: an address and a port"),
        key("audit", &Shape::Object(&AUDIT), "what is recorded"),
        must("exec", &Shape::Object(&EXEC), "running a file"),
        key("load", &Shape::Object(&LOAD), "mapping a file executable; without it allowed"),
        must("connect", &Shape::Object(&CONNECT), "anything that leaves"),
        key("listen", &Shape::Object(&LISTEN), "letting others connect; without it blocked"),
        must("write", &Shape::Object(&WRITE), "changing files"),
        key("read", &Shape::Object(&READ), "reading files; without it allowed"),
        key("boundary", &Shape::Object(&BOUNDARY), "opens single items of what is always blocked"),
        key("limits", &Shape::Object(&LIMITS), "of a session"),
        key("profiles", &Shape::Named(&PROFILE), "tighter lives that `sandbox` rules lead into"),
        key("escalation", &Shape::Object(&ESCALATION), "how held calls end"),
        key("tests", &Shape::List(&Shape::Object(&TEST)), "run by `guard policy test`"),
    ],
};
