//! One request at a time through an io_uring, without a library.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{call, call_fd};

/// A request: the fields of `struct io_uring_sqe` that file operations use.
#[derive(Debug, Default)]
pub(in super::super) struct Request<'a> {
    pub(in super::super) opcode: u8,
    /// `IOSQE_ASYNC` and the like.
    pub(in super::super) flags: u8,
    pub(in super::super) fd: i32,
    /// The second path.
    pub(in super::super) second: Option<&'a CStr>,
    pub(in super::super) first: Option<&'a CStr>,
    /// A structure in the place of the first path.
    pub(in super::super) bytes: Option<&'a [u8]>,
    /// A number in the place of the second path.
    pub(in super::super) number: u64,
    pub(in super::super) len: u32,
    pub(in super::super) op_flags: u32,
}

pub(in super::super) const OP_SENDMSG: u8 = 9;
pub(in super::super) const OP_ACCEPT: u8 = 13;
pub(in super::super) const OP_CONNECT: u8 = 16;
pub(in super::super) const OP_OPENAT: u8 = 18;
pub(in super::super) const OP_WRITE: u8 = 23;
pub(in super::super) const OP_SEND: u8 = 26;
pub(in super::super) const OP_RENAMEAT: u8 = 35;
pub(in super::super) const OP_UNLINKAT: u8 = 36;
pub(in super::super) const OP_MKDIRAT: u8 = 37;
pub(in super::super) const OP_SYMLINKAT: u8 = 38;
pub(in super::super) const OP_LINKAT: u8 = 39;
pub(in super::super) const OP_SOCKET: u8 = 45;
pub(in super::super) const OP_SEND_ZC: u8 = 47;
pub(in super::super) const ASYNC: u8 = 1 << 4;

const ENTRIES: usize = 4;

/// A ring with its three mappings.
#[derive(Debug)]
pub(in super::super) struct Ring {
    fd: OwnedFd,
    queues: *mut u8,
    entries: *mut u8,
    params: [u32; 30],
}

impl Ring {
    pub(in super::super) fn new(flags: u32) -> io::Result<Self> {
        let mut params = [0u32; 30];
        params[2] = flags;
        let mut bytes: Vec<u8> = params.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let fd = call_fd(libc::SYS_io_uring_setup, &mut [ENTRIES.into(), bytes.as_mut_slice().into()])?;
        for (word, chunk) in params.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_ne_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        }
        Ok(Self { queues: map(&fd, 0)?, entries: map(&fd, 0x1000_0000)?, fd, params })
    }

    /// Submits one request, waits, gives its result.
    pub(in super::super) fn run(&self, request: &Request<'_>) -> io::Result<i32> {
        let address = |text: Option<&CStr>| text.map_or(0, |text| text.as_ptr() as u64);
        let mut entry = [0u8; 64];
        entry[0] = request.opcode;
        entry[1] = request.flags;
        entry[4..8].copy_from_slice(&request.fd.to_ne_bytes());
        let bytes = request.bytes.map_or(0, |bytes| bytes.as_ptr() as u64);
        entry[8..16].copy_from_slice(&(address(request.second) | request.number).to_ne_bytes());
        entry[16..24].copy_from_slice(&(address(request.first) | bytes).to_ne_bytes());
        entry[24..28].copy_from_slice(&request.len.to_ne_bytes());
        entry[28..32].copy_from_slice(&request.op_flags.to_ne_bytes());
        // struct io_uring_params: sq_off from word 10 on (head, tail, ring_mask, …, array at 6).
        let (sq, cq) = (&self.params[10..20], &self.params[20..30]);
        let tail = self.word(sq[1]).load(Ordering::Acquire);
        let slot = tail & self.word(sq[2]).load(Ordering::Relaxed);
        // SAFETY: `slot` is below the number of entries of the mapping.
        unsafe { std::ptr::copy_nonoverlapping(entry.as_ptr(), self.entries.add(slot as usize * 64), 64) };
        self.word(sq[6] + slot * 4).store(slot, Ordering::Relaxed);
        self.word(sq[1]).store(tail + 1, Ordering::Release);
        call(
            libc::SYS_io_uring_enter,
            &mut [(&self.fd).into(), 1.into(), 1.into(), 1.into(), 0.into(), 0.into()],
        )?;
        let head = self.word(cq[0]).load(Ordering::Relaxed);
        let at = cq[5] + (head & self.word(cq[2]).load(Ordering::Relaxed)) * 16;
        let result = self.word(at + 8).load(Ordering::Acquire).cast_signed();
        self.word(cq[0]).store(head + 1, Ordering::Release);
        if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result) }
    }

    fn word(&self, offset: u32) -> &AtomicU32 {
        // SAFETY: an aligned word of the mapping, which lives as long as the process.
        unsafe { &*self.queues.add(offset as usize).cast::<AtomicU32>() }
    }
}

/// The queues' offsets fit into a page; since 5.4 one mapping holds both.
fn map(fd: &OwnedFd, offset: i64) -> io::Result<*mut u8> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    let at = unsafe {
        libc::mmap(std::ptr::null_mut(), 4096, protection, libc::MAP_SHARED, fd.as_raw_fd(), offset)
    };
    if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(at.cast()) }
}
