//! The kernel half's decision without a hook around it: what the parity test asks. Nothing is attached.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya::Ebpf;
use aya::maps::Map;
use aya::programs::{Program, RawTracePointRunOptions, TestRun};
use guard_common::abi::{Action, Ask};
use guard_common::decide::Decision;
use guard_common::key;
use guard_common::limits::PATH_MAX;
use guard_common::table::Answer;
use zerocopy::{FromZeros, IntoBytes};

use super::btf::Btf;
use super::error::{LoadError, pin_error};
use super::load::Kernel;
use super::{Arenas, InstallError, Pins, checks};
use crate::compile::explain::Question;
use crate::sys::bpf;

/// A kernel half of its own, pinned nowhere that lasts and attached to nothing.
#[derive(Debug)]
pub struct Asker {
    object: Ebpf,
    kernel: Kernel,
    asks: OwnedFd,
}

const PROGRAM: &str = "ask";

impl Asker {
    /// Loads the one program. `pins` is a directory of a bpf file system that nobody uses; it goes with this.
    pub fn new(pins: Pins) -> Result<Self, LoadError> {
        let facts = checks::facts(&Btf::vmlinux()?)?;
        let (mut object, kernel) = Kernel::unattached(pins, &facts)?;
        let refused = |reason: String| LoadError::Program { hook: PROGRAM, reason };
        match object.program_mut(PROGRAM) {
            Some(Program::RawTracePoint(program)) => {
                program.load().map_err(|error| refused(super::attach::explain(&error)))?
            }
            _ => return Err(refused("the object has no such program".to_owned())),
        }
        let asks = match object.map("ASK") {
            Some(Map::Array(map)) => map.fd().as_fd().try_clone_to_owned(),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
        .map_err(|source| pin_error("find", std::path::Path::new("ASK"), source))?;
        Ok(Self { object, kernel, asks })
    }

    /// Makes this the policy that is asked.
    pub fn install(&self, arena: &[u64]) -> Result<(), InstallError> {
        Arenas::of(&self.kernel).install(arena)
    }

    /// What the kernel decides.
    pub fn ask(&self, domain: u32, question: &Question) -> io::Result<Decision> {
        let too_long = || io::Error::from(io::ErrorKind::ArgumentListTooLong);
        let mut ask = Ask::new_zeroed();
        ask.domain = domain;
        ask.action = question.action as u32;
        let length = question.bytes.len();
        let is_address = matches!(
            (question.action, question.bytes.first(), length),
            (Action::Connect | Action::Listen, Some(&key::V4), key::V4_LEN)
                | (Action::Connect | Action::Listen, Some(&key::V6), key::V6_LEN)
        );
        if is_address {
            let mut bytes = [0u8; 24];
            let at = bytes.len().checked_sub(length).ok_or_else(too_long)?;
            bytes[at..].copy_from_slice(&question.bytes);
            ask.key.as_mut_bytes().copy_from_slice(&bytes);
        } else {
            let start = PATH_MAX.checked_sub(length).ok_or_else(too_long)?;
            ask.start = start as u64;
            ask.bytes[start..].copy_from_slice(&question.bytes);
        }
        if let Some(args) = &question.args {
            let mut argv = b"program\0".to_vec();
            for arg in args {
                argv.extend_from_slice(arg);
                argv.push(0);
            }
            ask.argc = args.len() as u64 + 1;
            ask.argv_length = argv.len() as u64;
            ask.argv.get_mut(..argv.len()).ok_or_else(too_long)?.copy_from_slice(&argv);
        }
        bpf::update(self.asks.as_fd(), 0u32.as_bytes(), ask.as_bytes())?;
        let Some(Program::RawTracePoint(program)) = self.object.program(PROGRAM) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let run = program.test_run(RawTracePointRunOptions::default()).map_err(io::Error::other)?;
        bpf::lookup(self.asks.as_fd(), 0u32.as_bytes(), ask.as_mut_bytes())?;
        if run.return_value != 0 || ask.reason != 0 {
            return Err(io::Error::other(format!(
                "the program returned {} for reason {}",
                run.return_value, ask.reason
            )));
        }
        Ok(Decision {
            answer: Answer(ask.answer),
            policy: ask.policy as u8,
            shadow: Answer(ask.shadow),
            shadow_policy: ask.shadow_policy as u8,
            needs_args: false,
        })
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        let _ = self.kernel.pins().remove();
    }
}
