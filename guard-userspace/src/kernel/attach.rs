//! Programs into the kernel: verified on every processor at once, attached in order, pinned.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::thread;
use std::time::Instant;

use aya::programs::links::FdLink;
use aya::programs::{Program, ProgramError, ProgramInfo};
use aya::{Btf, Ebpf, Endianness};
use tracing::debug;

use super::Pins;
use super::error::{LoadError, pin_error};
use super::hooks::{HOOKS, Hook, Kind};
use super::load::HookState;
use crate::sys::bpf;

/// A hook with its program, to be loaded.
type Job<'p> = (&'static Hook, &'p mut Program);

/// Loads every program that `states` promises, then attaches them in the order of [`HOOKS`] and pins the links.
pub(super) fn attach(
    object: &mut Ebpf,
    pins: &Pins,
    build: &str,
    states: &BTreeMap<&'static str, HookState>,
    cgroups: &Path,
    kernel: &super::btf::Btf,
) -> Result<(), LoadError> {
    let root = File::open(cgroups).map_err(|source| pin_error("open", cgroups, source))?;
    let types = hook_types(kernel)?;
    let promised = |hook: &&Hook| states.get(hook.name) == Some(&HookState::Attached);
    let hooks: Vec<&'static Hook> = HOOKS.iter().filter(promised).collect();
    let mut jobs: Vec<Job<'_>> = Vec::new();
    for (name, program) in object.programs_mut() {
        if let Some(hook) = hooks.iter().find(|hook| hook.name == name) {
            jobs.push((hook, program));
        }
    }
    if let Some(hook) = hooks.iter().find(|hook| !jobs.iter().any(|(job, _)| job.name == hook.name)) {
        let reason = "the object has no such program".to_owned();
        return Err(LoadError::Program { hook: hook.name, reason });
    }
    load_all(jobs, &types)?;
    for hook in hooks {
        let path = pins.links(build).join(hook.name);
        let refused = |reason| LoadError::Program { hook: hook.name, reason };
        let (program, kind) = match (object.program_mut(hook.name), hook.kind) {
            (Some(Program::CgroupSysctl(program)), _) => (program.fd(), bpf::CGROUP_SYSCTL),
            (Some(Program::CgroupSkb(program)), _) => (program.fd(), bpf::CGROUP_EGRESS),
            (Some(Program::CgroupSock(program)), _) => (program.fd(), bpf::CGROUP_SOCK_CREATE),
            (Some(Program::CgroupSockAddr(program)), Kind::Address(kind)) => (program.fd(), kind),
            (program, _) => {
                let link = link(program).map_err(|error| refused(explain(&error)))?;
                link.pin(&path).map_err(|error| pin_error("pin", &path, io::Error::other(error)))?;
                continue;
            }
        };
        let program = program.map_err(|error| refused(explain(&error)))?;
        bpf::link_cgroup(program.as_fd(), root.as_fd(), kind)
            .and_then(|link| bpf::pin(link.as_fd(), &path))
            .map_err(|source| pin_error("attach and pin", &path, source))?;
    }
    Ok(())
}

fn hook_types(kernel: &super::btf::Btf) -> Result<Btf, LoadError> {
    Btf::parse(&kernel.skeleton(), Endianness::default())
        .map_err(|error| LoadError::Object(Box::new(error.into())))
}

/// Loads one small LSM program.
pub(super) fn probe(object: &mut Ebpf, kernel: &super::btf::Btf) -> Result<(), LoadError> {
    let types = hook_types(kernel)?;
    let hook = HOOKS.iter().find(|hook| hook.name == "bprm_creds_for_exec");
    match (hook, object.program_mut("bprm_creds_for_exec")) {
        (Some(hook), Some(program)) => load_share(vec![(hook, program)], &types),
        _ => Err(LoadError::Program { hook: "bprm_creds_for_exec", reason: "not in the object".to_owned() }),
    }
}

/// The verifier takes most of the time and works on one program at a time for each caller.
fn load_all(mut jobs: Vec<Job<'_>>, types: &Btf) -> Result<(), LoadError> {
    let threads = thread::available_parallelism().map_or(1, usize::from).clamp(1, 8);
    let mut shares: Vec<Vec<Job<'_>>> = (0..threads).map(|_| Vec::new()).collect();
    for (i, job) in jobs.drain(..).enumerate() {
        shares[i % threads].push(job);
    }
    thread::scope(|scope| {
        let loaders: Vec<_> =
            shares.into_iter().map(|share| scope.spawn(move || load_share(share, types))).collect();
        loaders.into_iter().try_for_each(|loader| {
            loader.join().unwrap_or_else(|_| {
                Err(LoadError::Program { hook: "?", reason: "a loader thread panicked".to_owned() })
            })
        })
    })
}

fn load_share(share: Vec<Job<'_>>, types: &Btf) -> Result<(), LoadError> {
    for (hook, program) in share {
        let started = Instant::now();
        let loaded = match (hook.kind, &mut *program) {
            (Kind::Lsm, Program::Lsm(program)) => program.load(hook.name, types),
            (Kind::Tracepoint, Program::BtfTracePoint(program)) => program.load(hook.name, types),
            (Kind::Sysctl, Program::CgroupSysctl(program)) => program.load(),
            (Kind::Egress, Program::CgroupSkb(program)) => program.load(),
            (Kind::Address(_), Program::CgroupSockAddr(program)) => program.load(),
            (Kind::Socket, Program::CgroupSock(program)) => program.load(),
            (
                Kind::Lsm | Kind::Tracepoint | Kind::Sysctl | Kind::Egress | Kind::Address(_) | Kind::Socket,
                _,
            ) => Err(ProgramError::UnexpectedProgramType),
        };
        loaded.map_err(|error| LoadError::Program { hook: hook.name, reason: explain(&error) })?;
        let instructions = program.info().ok().as_ref().and_then(ProgramInfo::verified_instruction_count);
        debug!(hook = hook.name, instructions, milliseconds = started.elapsed().as_millis(), "loaded");
    }
    Ok(())
}

fn link(program: Option<&mut Program>) -> Result<FdLink, ProgramError> {
    match program {
        Some(Program::Lsm(program)) => {
            let link = program.attach()?;
            Ok(program.take_link(link)?.into())
        }
        Some(Program::BtfTracePoint(program)) => {
            let link = program.attach()?;
            Ok(program.take_link(link)?.into())
        }
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// The kernel's reason, with the end of the verifier's log, which is where it says what it minds.
pub(super) fn explain(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            // From 7.x on it ends with a line for each function, which says nothing of the reason.
            let said = log.lines().rev().filter(|line| !line.starts_with("subprog "));
            let tail: Vec<&str> = said.take(12).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            if tail.is_empty() { io_error.to_string() } else { format!("{io_error}\n{}", tail.join("\n")) }
        }
        other => other.to_string(),
    }
}
