//! System calls that neither aya nor nix offers, each behind a safe function. The only module with `unsafe`.

#![expect(unsafe_code, reason = "this is the module for it")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub(crate) mod bpf;
pub(crate) mod shared;

/// A descriptor that tokio can wait on.
pub(crate) fn wait_on(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and ours until it is dropped, and always the same number.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(io::Error::from)
}

/// Has blocks of 128 KiB and more always go back to the system when they are freed. glibc moves that border up with
/// each large block that is freed, so that what was only needed to start, the kernel's types and the object, would
/// stay with the daemon for good. And the kernel is not to fill the holes of the heap with huge pages, which many hosts
/// let it do for every program: ten megabytes of nothing come back within seconds of being given back.
pub(crate) fn return_large_blocks() {
    // SAFETY: takes numbers only.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
        libc::mallopt(libc::M_ARENA_MAX, 2);
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
}

/// Gives back the pages of this program's code and of `data`, a constant of it, which are read from its file again
/// when they are needed: of what a start runs and reads, most is not.
pub(crate) fn return_program_pages(data: &'static [u8]) {
    const PAGE: usize = 4096;
    let (Ok(maps), Ok(program)) =
        (std::fs::read_to_string("/proc/self/maps"), std::fs::read_link("/proc/self/exe"))
    else {
        return;
    };
    let at = data.as_ptr() as usize;
    let whole = (at.next_multiple_of(PAGE), (at + data.len()) / PAGE * PAGE);
    for line in maps.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [range, mode, _, _, _, path] = fields.as_slice() else { continue };
        let ends =
            range.split_once('-').map(|(a, b)| (usize::from_str_radix(a, 16), usize::from_str_radix(b, 16)));
        let Some((Ok(begin), Ok(end))) = ends.filter(|_| Path::new(path) == program) else { continue };
        let (begin, end) = match *mode {
            "r-xp" => (begin, end),
            "r--p" => (begin.max(whole.0), end.min(whole.1)),
            _ => continue,
        };
        if begin < end {
            // SAFETY: a private mapping of this program's file, and these pages of it hold what the file does: code,
            // which nothing relocates or writes to, or pages wholly inside a constant of bytes.
            unsafe { libc::madvise(begin as *mut libc::c_void, end - begin, libc::MADV_DONTNEED) };
        }
    }
}

/// Gives back what is freed now: a compilation leaves the heap full of holes.
pub(crate) fn return_free_memory() {
    // SAFETY: takes a number only.
    unsafe { libc::malloc_trim(0) };
}

/// socket(2), of any family and protocol by number: nix names only some.
pub(crate) fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// lsetxattr(2).
pub(crate) fn set_attribute(path: &Path, name: &str, value: &[u8]) -> io::Result<()> {
    let (path, name) = (c_path(path)?, CString::new(name)?);
    let value_at = value.as_ptr().cast();
    // SAFETY: both strings end in a NUL, the value is as long as said, and all outlive the call.
    match unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value_at, value.len(), 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Extended attributes of a file, or of the link itself, by name; as many as fit.
pub(crate) fn attributes(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let Ok(path) = c_path(path) else { return Vec::new() };
    let mut names = vec![0u8; 1024];
    // SAFETY: the path ends in a NUL, the buffer is as long as said, and both outlive the call.
    let length = unsafe { libc::llistxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    names.truncate(usize::try_from(length).unwrap_or(0));
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .filter_map(|name| {
            let text = CString::new(name).ok()?;
            let mut value = vec![0u8; 256];
            // SAFETY: as above.
            let length = unsafe {
                libc::lgetxattr(path.as_ptr(), text.as_ptr(), value.as_mut_ptr().cast(), value.len())
            };
            value.truncate(usize::try_from(length).unwrap_or(0));
            Some((name.to_vec(), value))
        })
        .collect()
}

/// A file's flags as `FS_IOC_GETFLAGS` tells them, where the file system has such.
pub(crate) fn file_flags(path: &Path) -> Option<u32> {
    const GET_FLAGS: u64 = 0x8008_6601;
    let file = File::open(path).ok()?;
    // The number says a long; the kernel writes an int.
    let mut flags = [0u32; 2];
    // SAFETY: the buffer is as long as the number of the request says, and outlives the call.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), GET_FLAGS, flags.as_mut_ptr()) };
    (done == 0).then_some(flags[0])
}

/// Which signal the kernel sends about a descriptor.
const F_SETSIG: i32 = 10;

/// A file that is leased: as long as this is kept, and not much longer than the kernel's own limit, whoever wants to open
/// it for writing waits.
#[derive(Debug)]
pub struct Leased {
    _file: File,
}

/// Takes a lease of a file that is open for reading; nothing where the file system has none. `WouldBlock` if somebody has
/// it open for writing, or has mapped it so.
pub(crate) fn lease(file: File) -> io::Result<Option<Leased>> {
    // SAFETY: numbers, and a descriptor that is open.
    let taken = unsafe {
        // Of whoever waits for the lease the kernel tells by a signal, which ends the process if it is the usual one.
        libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG);
        libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK)
    };
    if taken == 0 {
        return Ok(Some(Leased { _file: file }));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP) => Ok(None),
        _ => Err(error),
    }
}
