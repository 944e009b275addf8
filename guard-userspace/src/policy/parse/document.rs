//! The top level.

use std::net::SocketAddr;
use std::sync::Arc;

use super::fields::Fields;
use super::section::sections;
use super::{Cx, did_you_mean, net, scalar, shown, tests_list};
use crate::policy::diag::{Code, Diagnostic};
use crate::policy::glob::Glob;
use crate::policy::model::{
    Audit, AuditAllows, AuditArgv, Boundary, Escalation, Limits, Mode, OnLoss, OnTimeout, Opened, Policy,
    Profile, Selector,
};
use crate::policy::source::{Span, Spanned};
use crate::policy::words;
use crate::policy::yaml::{Data, Node};

const MAX_TASKS: u32 = 4_194_304;
const MAX_PENDING: u32 = 1_024;

pub(super) fn policy(cx: &mut Cx, root: Option<&Node>) -> Option<Policy> {
    let root = root.filter(|node| !node.is_null());
    let Some(root) = root else {
        if !cx.truncated {
            cx.push(
                Diagnostic::new(
                    Code::MissingKey,
                    Span { line: 1, column: 1, ..Span::default() },
                    "the document is empty",
                )
                .help("begin with `version: 1` and `policy: NAME`; policies/examples/ has whole ones"),
            );
        }
        return None;
    };
    let fields = Fields::new(cx, root, &words::POLICY)?;
    let version = fields.need(cx, "version", "`version: 1`").and_then(|node| version(cx, node));
    let name = fields.need(cx, "policy", "`policy:` and a name").and_then(|node| cx.name(node, "policy"));
    let head = fields.head(cx);
    let profiles = profiles(cx, fields.get("profiles"));
    let policy = Policy {
        version: version.unwrap_or(1),
        source: Arc::clone(&cx.source),
        candidate_for: fields.get("candidate_for").and_then(|node| cx.name(node, "policy")),
        applies_to: applies_to(cx, &fields),
        mode: mode(cx, fields.get("mode")),
        gateway: fields.get("gateway").map(|node| gateways(cx, node)).unwrap_or_default(),
        audit: audit(cx, fields.get("audit")),
        sections: sections(cx, &fields, Some(("the policy", name.as_ref().map_or(head, |name| name.span)))),
        boundary: boundary(cx, fields.get("boundary")),
        limits: limits(cx, fields.get("limits")),
        profiles,
        escalation: escalation(cx, fields.get("escalation")),
        tests: tests_list::tests(cx, fields.get("tests")),
        name: name.unwrap_or_else(|| Spanned::new(String::new(), head)),
    };
    Some(policy)
}

fn version(cx: &mut Cx, node: &Node) -> Option<u32> {
    let text = cx.text(node, "the version", "`version: 1`")?;
    if text.value != "1" {
        let message = format!("this guard does not know version `{}` of the policy language", shown(&text));
        cx.push(Diagnostic::new(Code::UnknownVersion, text.span, message).help("write `version: 1`"));
        return None;
    }
    Some(1)
}

fn mode(cx: &mut Cx, node: Option<&Node>) -> Mode {
    match node.and_then(|node| cx.word(node, "mode", words::MODES)) {
        Some(1) => Mode::Shadow,
        Some(_) | None => Mode::Enforce,
    }
}

fn applies_to(cx: &mut Cx, fields: &Fields<'_>) -> Vec<Spanned<Selector>> {
    let example = "`applies_to:` with a line such as `- cgroup: /agents.slice/**`";
    let Some(node) = fields.need(cx, "applies_to", example) else { return Vec::new() };
    let Some(items) = cx.list(node, "a list of selectors", "`- cgroup: /agents.slice/**`") else {
        return Vec::new();
    };
    if items.is_empty() && !cx.truncated {
        cx.push(
            Diagnostic::new(
                Code::BadSelector,
                node.span,
                "a policy that applies to nothing protects nothing",
            )
            .help("name a cgroup, `- cgroup: /agents.slice/**`, or a unit, `- unit: claude-*.service`"),
        );
    }
    items.iter().filter_map(|item| selector(cx, item)).collect()
}

/// What is left of a cgroup's path behind the place where cgroups are mounted, if it begins there.
fn below_mount(path: &str) -> Option<&str> {
    let below =
        ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].iter().find_map(|mount| path.strip_prefix(mount))?;
    (below.is_empty() || below.starts_with('/')).then_some(below)
}

fn selector(cx: &mut Cx, node: &Node) -> Option<Spanned<Selector>> {
    let fields = Fields::new(cx, node, &words::APPLIES_TO)?;
    let selector = match (fields.get("cgroup"), fields.get("unit")) {
        (Some(cgroup), None) => {
            let glob = cx.glob(cgroup, Glob::path)?;
            if let Some(inside) = below_mount(&glob.text) {
                let message = format!(
                    "a cgroup is named from the root of its hierarchy, and `{}` is where that is mounted",
                    shown(&glob.text[..glob.text.len() - inside.len()])
                );
                let inside = if inside.is_empty() { "/agents.slice/**" } else { inside };
                cx.push(
                    Diagnostic::new(Code::BadSelector, glob.span, message)
                        .help(format!("write `{}`", shown(inside))),
                );
                return None;
            }
            if glob.matches(b"/") || glob.text == "/**" {
                cx.push(
                    Diagnostic::new(
                        Code::BadSelector,
                        glob.span,
                        "this is every cgroup, the daemon's own among them",
                    )
                    .help("name the slice that the agents run in, such as `/agents.slice/**`"),
                );
                return None;
            }
            Selector::Cgroup(glob)
        }
        (None, Some(unit)) => {
            let glob = cx.glob(unit, Glob::text)?;
            if !unit_suffix(&glob.text) {
                let message = format!("`{}` names no unit that has a cgroup", shown(&glob.text));
                cx.push(
                    Diagnostic::new(Code::BadSelector, glob.span, message)
                        .help("end it in `.service`, `.scope` or `.slice`, as in `claude-*.service`"),
                );
                return None;
            }
            Selector::Unit(glob)
        }
        (Some(_), Some(_)) => {
            cx.push(
                Diagnostic::new(
                    Code::BadSelector,
                    fields.head(cx),
                    "a selector names a cgroup or a unit, not both",
                )
                .help("write two items; the policy applies to what either matches"),
            );
            return None;
        }
        (None, None) => {
            cx.push(
                Diagnostic::new(Code::BadSelector, fields.span, "this selector names nothing")
                    .help("write `cgroup: /agents.slice/**` or `unit: claude-*.service`"),
            );
            return None;
        }
    };
    Some(Spanned::new(selector, node.span))
}

fn unit_suffix(text: &str) -> bool {
    !text.contains('/') && [".service", ".scope", ".slice"].iter().any(|suffix| text.ends_with(suffix))
}

fn gateways(cx: &mut Cx, node: &Node) -> Vec<Spanned<SocketAddr>> {
    let Some(items) = cx.list(node, "a list of addresses", "`[127.0.0.1:18080]`") else { return Vec::new() };
    items.iter().filter_map(|item| net::gateway(cx, item)).collect()
}

fn audit(cx: &mut Cx, node: Option<&Node>) -> Audit {
    let mut audit = Audit::default();
    let Some(fields) = node.and_then(|node| Fields::new(cx, node, &words::AUDIT)) else { return audit };
    let word = |cx: &mut Cx, name, what, words| fields.get(name).and_then(|node| cx.word(node, what, words));
    if let Some(index) = word(cx, "allows", "choice of recorded allows", words::ALLOWS) {
        audit.allows = [AuditAllows::Every, AuditAllows::First, AuditAllows::None][index];
    }
    if let Some(index) = word(cx, "on_loss", "action on loss", words::ON_LOSS) {
        audit.on_loss = [OnLoss::Block, OnLoss::Allow][index];
    }
    if let Some(index) = word(cx, "argv", "form of arguments", words::ARGV) {
        audit.argv = [AuditArgv::Digest, AuditArgv::Text][index];
    }
    audit
}

fn boundary(cx: &mut Cx, node: Option<&Node>) -> Boundary {
    let Some(fields) = node.and_then(|node| Fields::new(cx, node, &words::BOUNDARY)) else {
        return Boundary::default();
    };
    let example = "`[io-uring-special]`";
    let Some(items) = fields.get("allow").and_then(|node| cx.list(node, "a list of boundary items", example))
    else {
        return Boundary::default();
    };
    let known: Vec<&str> = Opened::all().map(Opened::name).collect();
    let mut allow: Vec<Spanned<Opened>> = Vec::new();
    for item in items {
        let Some(text) = cx.text(item, "a boundary item", "one item's name") else { continue };
        if let Some(opened) = Opened::from_name(&text) {
            allow.push(Spanned::new(opened, text.span));
            continue;
        }
        let message = format!("there is no boundary item `{}`", shown(&text));
        let all = "one of those that `guard policy schema` lists";
        cx.push(
            Diagnostic::new(Code::UnknownBoundaryItem, text.span, message)
                .help(did_you_mean(&text, &known, all)),
        );
    }
    Boundary { allow }
}

fn limits(cx: &mut Cx, node: Option<&Node>) -> Limits {
    let Some(fields) = node.and_then(|node| Fields::new(cx, node, &words::LIMITS)) else {
        return Limits::default();
    };
    Limits {
        max_runtime: fields.get("max_runtime").and_then(|node| scalar::duration(cx, node)),
        max_tasks: fields
            .get("max_tasks")
            .and_then(|node| scalar::number(cx, node, MAX_TASKS))
            .map(|tasks| Spanned::new(u64::from(tasks.value), tasks.span)),
        max_memory: fields.get("max_memory").and_then(|node| scalar::size(cx, node)),
        max_bytes_out: fields.get("max_bytes_out").and_then(|node| scalar::size(cx, node)),
    }
}

fn profiles(cx: &mut Cx, node: Option<&Node>) -> Vec<Profile> {
    let Some(node) = node else { return Vec::new() };
    let Data::Map(entries) = &node.data else {
        cx.wrong_type(
            node,
            "profiles by name",
            "write each profile's name as a key, and its sections below it",
        );
        return Vec::new();
    };
    let mut profiles: Vec<Profile> = Vec::new();
    for (name, node) in entries {
        let named = cx.check_name(name, "profile");
        if !cx.profiles.insert(name.value.clone()) {
            let first =
                profiles.iter().find(|profile| profile.name == *name).map(|profile| profile.name.span);
            let diagnostic = Diagnostic::new(
                Code::DuplicateKey,
                name.span,
                format!("the profile `{}` is here twice", shown(name)),
            )
            .help("keep one, or give one of them another name");
            cx.push(match first {
                Some(first) => diagnostic.related(first, "first written here"),
                None => diagnostic,
            });
            continue;
        }
        let Some(fields) = Fields::new(cx, node, &words::PROFILE) else { continue };
        let inherit = fields.get("inherit").and_then(|node| cx.bool(node)).unwrap_or(false);
        let whose = format!("the profile `{}`", shown(name));
        let must_state = (!inherit).then_some((whose.as_str(), name.span));
        let sections = sections(cx, &fields, must_state);
        let gateway = fields.get("gateway").map(|node| gateways(cx, node));
        if named {
            profiles.push(Profile { name: name.clone(), span: node.span, inherit, gateway, sections });
        }
    }
    profiles
}

fn escalation(cx: &mut Cx, node: Option<&Node>) -> Escalation {
    let mut escalation = Escalation::default();
    let Some(fields) = node.and_then(|node| Fields::new(cx, node, &words::ESCALATION)) else {
        return escalation;
    };
    escalation.timeout = fields.get("timeout").and_then(|node| scalar::duration(cx, node));
    if let Some(node) = fields.get("on_timeout") {
        let known = cx.word(node, "action on time-out", words::ON_TIMEOUT);
        escalation.on_timeout = known.map_or(escalation.on_timeout, |_| OnTimeout::Block);
    }
    let number = |cx: &mut Cx, name| {
        fields.get(name).and_then(|node| scalar::number(cx, node, MAX_PENDING)).map(|number| number.value)
    };
    escalation.max_pending = number(cx, "max_pending").unwrap_or(escalation.max_pending);
    escalation.max_pending_per_session =
        number(cx, "max_pending_per_session").unwrap_or(escalation.max_pending_per_session);
    escalation
}
