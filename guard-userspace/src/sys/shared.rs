//! Words that the programs and this process both have before them: an array map, mapped.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// The words of an array map that was made with `BPF_F_MMAPABLE`.
#[derive(Debug)]
pub(crate) struct Shared {
    start: NonNull<AtomicU64>,
    words: usize,
}

impl Shared {
    /// Maps the first so many words of an array.
    pub(crate) fn map(map: BorrowedFd<'_>, words: usize) -> io::Result<Self> {
        let length = NonZeroUsize::new(words * 8).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping, at a place of the kernel's choice.
        let start = unsafe {
            mmap(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, map, 0)?
        };
        Ok(Self { start: start.cast(), words })
    }

    /// One of them. Panics on one that is not mapped, as a slice does.
    pub(crate) fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < self.words, "word {at} of {}", self.words);
        // SAFETY: inside the mapping, which lives as long as `self`; everybody changes the words atomically.
        unsafe { self.start.add(at).as_ref() }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: what `map` has mapped, and nobody holds a reference into it any more.
        let _ = unsafe { munmap(self.start.cast(), self.words * 8) };
    }
}
