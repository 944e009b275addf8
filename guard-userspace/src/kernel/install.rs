//! A policy generation: written to a map of its own, then made the live one by one update.

use std::io;
use std::os::fd::AsFd;

use guard_common::limits::ARENA_WORDS;
use guard_common::table::{AT_GENERATION, AT_MAGIC, AT_SHA256, MAGIC};
use thiserror::Error;
use zerocopy::IntoBytes;

use super::Kernel;
use crate::sys::bpf;

/// Why a generation could not be installed. The one before stays live, unless what was written reads otherwise.
#[derive(Debug, Error)]
pub enum InstallError {
    /// The arena is not one.
    #[error("the compiled policy has {words} words instead of {ARENA_WORDS}, or no header")]
    Arena {
        /// How many it has.
        words: usize,
    },
    /// The kernel refused.
    #[error("{what}")]
    Kernel {
        /// The operation.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What the kernel holds is not what was written.
    #[error("the kernel's copy of generation {generation} differs from what was written")]
    ReadBack {
        /// The generation.
        generation: u64,
    },
}

/// The live arena, seen from the host.
#[derive(Debug)]
pub struct Arenas<'k> {
    kernel: &'k Kernel,
}

impl<'k> Arenas<'k> {
    /// The arenas of a loaded kernel half.
    pub fn of(kernel: &'k Kernel) -> Self {
        Self { kernel }
    }

    /// Makes `arena` the live generation. Until [`Kernel::settle`] programs look everything up.
    ///
    /// The update of the array of maps is the flip: a program sees either the old map or the new one, and
    /// each holds a whole generation.
    pub fn install(&self, arena: &[u64]) -> Result<(), InstallError> {
        if arena.len() != ARENA_WORDS as usize || arena[AT_MAGIC as usize] != MAGIC {
            return Err(InstallError::Arena { words: arena.len() });
        }
        let fail = |what| move |source| InstallError::Kernel { what, source };
        let live;
        let template = match self.kernel.template() {
            Some(template) => template,
            None => {
                live = self.live().map_err(fail("open the live generation"))?.ok_or_else(|| {
                    fail("open the live generation")(io::Error::from(io::ErrorKind::NotFound))
                })?;
                live.as_fd()
            }
        };
        let next = bpf::map_like(template).map_err(fail("make a map for the next generation"))?;
        bpf::update(next.as_fd(), 0u32.as_bytes(), arena.as_bytes())
            .map_err(fail("write the next generation"))?;
        let outer = self.kernel.map("ARENAS").map_err(fail("find the arenas"))?;
        // Kernels before 6.1.75, 6.6.14 and 6.8 free what is taken out of an array of maps under programs that still walk it.
        let before = self.live().map_err(fail("open the live generation"))?;
        self.kernel.unsettle().map_err(fail("tell the programs that policies change"))?;
        // It returns when no program runs any more that has begun before, but for the one that may sleep: none of those
        // with what they kept from before meets a cgroup's new entry.
        if let Err(source) = bpf::update_fd(outer, 0, next.as_fd()) {
            if let Ok(Some((generation, _))) = self.identity() {
                let _ = self.kernel.settle(generation);
            }
            return Err(fail("flip to the next generation")(source));
        }
        // Until the next one, for the program that may sleep, which is not waited for.
        if let Ok(mut retired) = self.kernel.retired.lock() {
            *retired = before;
        }
        let held = self.read().map_err(fail("read the generation back"))?;
        if held.as_deref() != Some(arena) {
            return Err(InstallError::ReadBack { generation: arena[AT_GENERATION as usize] });
        }
        Ok(())
    }

    /// The live arena's map.
    fn live(&self) -> io::Result<Option<std::os::fd::OwnedFd>> {
        let mut id = 0u32;
        let outer = self.kernel.map("ARENAS")?;
        if !bpf::lookup(outer, 0u32.as_bytes(), id.as_mut_bytes())? || id == 0 {
            return Ok(None);
        }
        bpf::map_by_id(id).map(Some)
    }

    /// The live arena's words, as the kernel holds them.
    pub fn read(&self) -> io::Result<Option<Vec<u64>>> {
        let Some(map) = self.live()? else { return Ok(None) };
        let mut words = vec![0u64; ARENA_WORDS as usize];
        bpf::lookup(map.as_fd(), 0u32.as_bytes(), words.as_mut_slice().as_mut_bytes())?;
        Ok(Some(words))
    }

    /// Generation and SHA-256 of the live policies, as the kernel holds them.
    pub fn identity(&self) -> io::Result<Option<(u64, [u8; 32])>> {
        Ok(self.read()?.map(|words| {
            let mut digest = [0u8; 32];
            for (chunk, word) in digest.chunks_mut(8).zip(&words[AT_SHA256 as usize..]) {
                chunk.copy_from_slice(&word.to_be_bytes());
            }
            (words[AT_GENERATION as usize], digest)
        }))
    }
}
