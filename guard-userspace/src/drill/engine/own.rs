//! Runs the drills of an operator's own policy, and judges them.

use std::fs;
use std::path::PathBuf;

use super::result::{Arm, Outcome, Status};
use super::{Session, Tried};
use crate::drill::arm::{self, Start};
use crate::drill::own::{Own, Planned};
use crate::drill::records::Records;
use crate::drill::{DrillError, End, Kind, Stance, Tier, Way, doing, ground};
use crate::policy::model::{Proto, Request};

/// The group that reports show them in, and the word that selects them alone.
pub(super) const GROUP: &str = "The policy's own rules";
pub(super) const WORD: &str = "policy";

/// Outside first, then inside; nothing for what cannot be tried.
pub(super) fn run(session: &mut Session<'_>, own: &Own) -> Result<Vec<Tried>, DrillError> {
    let Planned::Try { request, .. } = &own.plan else { return Ok(Vec::new()) };
    let tree = &session.stage.tree;
    let (root, program) = (tree.join("root"), tree.join("program"));
    fs::create_dir_all(&root).map_err(doing(format!("make {}", root.display())))?;
    if !program.exists() {
        ground::program(&program, None).map_err(doing(format!("write {}", program.display())))?;
    }
    let mut tried = Vec::new();
    for inside in [false, true] {
        let mut arguments = words(request);
        arguments.push(format!("root={}", root.display()));
        arguments.push(format!("program={}", program.display()));
        let cgroup = inside.then(|| session.stage.cgroup(Stance::Own));
        let start = Start {
            program: &session.options.helper,
            arguments,
            way: Way::Direct,
            cgroup,
            away: PathBuf::new(),
            limit: session.limit(),
        };
        let ended = arm::run(&start, || {}).map_err(doing(format!("try {}", own.id)))?;
        let effect = ended.effect;
        tried.push(Tried {
            tier: Tier::Root,
            way: Way::Direct,
            inside,
            ended,
            effect,
            news: Vec::new(),
            counted: 0,
        });
    }
    Ok(tried)
}

/// The request, as `guard-attempt` takes it.
fn words(request: &Request) -> Vec<String> {
    let digits = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let at = |path: &[u8]| format!("path={}", digits(path));
    let proto = |proto: &Proto| format!("proto={}", if *proto == Proto::Udp { "udp" } else { "tcp" });
    let (action, rest) = match request {
        Request::Exec { path, argv } => {
            let args = argv.iter().skip(1);
            let mut words = vec![at(path), format!("args={}", args.len())];
            words.extend(args.enumerate().map(|(n, arg)| format!("arg{n}={}", digits(arg))));
            ("exec", words)
        }
        Request::Load(path) => ("load", vec![at(path)]),
        Request::Write(path) => ("write", vec![at(path)]),
        Request::Read(path) => ("read", vec![at(path)]),
        Request::Connect { to, proto: with } => ("connect", vec![format!("to={to}"), proto(with)]),
        Request::ConnectUnix(name) => ("unix", vec![at(name)]),
        Request::Listen { port, proto: with } => ("listen", vec![format!("port={port}"), proto(with)]),
    };
    ["rule".to_owned(), action.to_owned()].into_iter().chain(rest).collect()
}

pub(super) fn judge(own: &Own, tried: &[Tried], records: &Records) -> Outcome {
    let (request, blocked) = match &own.plan {
        Planned::Left(why) => {
            return Outcome::own(
                GROUP,
                own,
                own.says.clone(),
                Status::Skipped,
                vec![why.clone()],
                Vec::new(),
            );
        }
        Planned::Try { request, blocked } => (request, *blocked),
    };
    let says = format!("{} ({request})", own.says);
    let worked = |end: &End| match request {
        Request::Exec { .. } => *end == End::Became(ground::RAN),
        _ => *end == End::Did,
    };
    let (mut wrong, mut arms) = (Vec::new(), Vec::new());
    for one in tried {
        let end = &one.ended.end;
        if !one.inside
            && let End::NotReady(why) = end
        {
            let why = format!("it cannot be prepared here: {why}");
            return Outcome::own(GROUP, own, says, Status::Skipped, vec![why], Vec::new());
        }
        if !worked(end) && records.tells(&one.ended, "gateway-down") {
            let why =
                "nothing answers at the gateway, so guard lets nobody call it: start it and drill again";
            return Outcome::own(GROUP, own, says, Status::Skipped, vec![why.to_owned()], Vec::new());
        }
        let found = if !one.inside || !blocked {
            let whose = if one.inside { "the policy allows it, and it" } else { "outside it" };
            (!worked(end)).then(|| format!("{whose} ended with {end}; {}", records.tell(&one.ended)))
        } else {
            refused(own, request, one, worked(end), records)
        };
        arms.push(Arm::of(one, found.clone()));
        wrong.extend(found);
    }
    let status = if wrong.is_empty() { Status::Green } else { Status::Gap };
    Outcome::own(GROUP, own, says, status, wrong, arms)
}

/// What is wrong with an attempt that had to fail.
fn refused(own: &Own, request: &Request, one: &Tried, worked: bool, records: &Records) -> Option<String> {
    let end = &one.ended.end;
    if one.effect || worked {
        return Some(format!("it went through: {end}; {}", records.tell(&one.ended)));
    }
    // Arguments are seen when the program is in its new image already, and end it there.
    let by_arguments = matches!(request, Request::Exec { argv, .. } if argv.len() > 1);
    let right = *end == End::Errno(libc::EPERM) || by_arguments && *end == End::Killed(libc::SIGKILL);
    if !right {
        return Some(format!("no effect, but it ended with {end}; {}", records.tell(&one.ended)));
    }
    let action = request.action().name();
    let rule = (!own.id.ends_with("-default")).then_some(own.id.as_str());
    let missing = !records.names(&one.ended, action, rule);
    missing.then(|| format!("refused, but no record names the rule: {}", records.tell(&one.ended)))
}

/// They have no place in the catalogue, so their outcome is made of the rule.
impl Outcome {
    fn own(group: &str, own: &Own, name: String, status: Status, why: Vec<String>, arms: Vec<Arm>) -> Self {
        Self {
            id: format!("policy:{}", own.id),
            name,
            group: group.to_owned(),
            kind: match own.plan {
                Planned::Try { blocked: true, .. } => Kind::Attack,
                Planned::Try { blocked: false, .. } | Planned::Left(_) => Kind::Keep,
            },
            status,
            why,
            hooks: Vec::new(),
            attack: Vec::new(),
            owasp: Vec::new(),
            cve: Vec::new(),
            covers: Vec::new(),
            record: Vec::new(),
            arms,
        }
    }
}
