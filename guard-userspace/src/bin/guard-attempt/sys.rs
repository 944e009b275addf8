//! System calls as a program that wants to get round guard would make them. The only module with `unsafe`.

#![expect(unsafe_code, reason = "this is the module for it")]

pub(crate) mod uring;

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use nix::unistd::{ForkResult, Pid, fork};

/// An argument of [`call`].
#[derive(Debug)]
pub(crate) enum Arg<'a> {
    Num(i64),
    Text(&'a CStr),
    In(&'a [u8]),
    Out(&'a mut [u8]),
}

impl From<i32> for Arg<'_> {
    fn from(value: i32) -> Self {
        Self::Num(i64::from(value))
    }
}

impl From<u64> for Arg<'_> {
    fn from(value: u64) -> Self {
        Self::Num(value.cast_signed())
    }
}

impl From<usize> for Arg<'_> {
    fn from(value: usize) -> Self {
        Self::Num(value.cast_signed() as i64)
    }
}

impl From<BorrowedFd<'_>> for Arg<'_> {
    fn from(value: BorrowedFd<'_>) -> Self {
        Self::Num(i64::from(value.as_raw_fd()))
    }
}

impl From<&OwnedFd> for Arg<'_> {
    fn from(value: &OwnedFd) -> Self {
        Self::Num(i64::from(value.as_raw_fd()))
    }
}

impl<'a> From<&'a CStr> for Arg<'a> {
    fn from(value: &'a CStr) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a CString> for Arg<'a> {
    fn from(value: &'a CString) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a [u8]> for Arg<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::In(value)
    }
}

impl<'a> From<&'a mut [u8]> for Arg<'a> {
    fn from(value: &'a mut [u8]) -> Self {
        Self::Out(value)
    }
}

/// A path as the kernel takes it.
pub(crate) fn c(path: impl AsRef<Path>) -> CString {
    CString::new(path.as_ref().as_os_str().as_bytes()).unwrap_or_default()
}

/// A structure of words, as bytes.
pub(crate) fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Any system call. Not for those that change this program's own memory map behind its back.
pub(crate) fn call(number: libc::c_long, args: &mut [Arg<'_>]) -> io::Result<i64> {
    let mut raw = [0i64; 6];
    for (raw, arg) in raw.iter_mut().zip(args) {
        *raw = match arg {
            Arg::Num(number) => *number,
            Arg::Text(text) => text.as_ptr() as i64,
            Arg::In(bytes) => bytes.as_ptr() as i64,
            Arg::Out(bytes) => bytes.as_mut_ptr() as i64,
        };
    }
    // SAFETY: pointers come from slices that outlive the call, and callers give the kernel their true sizes.
    let result = unsafe { libc::syscall(number, raw[0], raw[1], raw[2], raw[3], raw[4], raw[5]) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A system call that makes a descriptor.
pub(crate) fn call_fd(number: libc::c_long, args: &mut [Arg<'_>]) -> io::Result<OwnedFd> {
    let fd = call(number, args)?;
    // SAFETY: the kernel just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The child's id in the parent, nothing in the child.
pub(crate) fn split() -> io::Result<Option<Pid>> {
    // SAFETY: an attempt's process has one thread when it forks, so the child may do all that the parent may.
    Ok(match unsafe { fork() }? {
        ForkResult::Parent { child } => Some(child),
        ForkResult::Child => None,
    })
}

/// Runs `body` in a child process, which ends with what it returns.
pub(crate) fn spawn(body: impl FnOnce() -> i32) -> io::Result<Pid> {
    match split()? {
        Some(child) => Ok(child),
        None => end_with(body),
    }
}

/// Ends this process with what `body` returns, or with a panic's status.
pub(crate) fn end_with(body: impl FnOnce() -> i32) -> ! {
    leave(catch_unwind(AssertUnwindSafe(body)).unwrap_or(101))
}

/// As fork, through clone3, with flags and a cgroup's descriptor: `CLONE_INTO_CGROUP`.
pub(crate) fn spawn_into(cgroup: BorrowedFd<'_>, body: impl FnOnce() -> i32) -> io::Result<Pid> {
    const CLONE_INTO_CGROUP: u64 = 1 << 33;
    let mut arguments = [0u64; 11];
    arguments[0] = CLONE_INTO_CGROUP;
    arguments[4] = libc::SIGCHLD as u64;
    arguments[10] = cgroup.as_raw_fd() as u64;
    let arguments = words(&arguments);
    match call(libc::SYS_clone3, &mut [arguments.as_slice().into(), arguments.len().into()])? {
        0 => end_with(body),
        pid => Ok(Pid::from_raw(pid as i32)),
    }
}

/// Ends this process at once, without what the parent's copy will do at its end.
pub(crate) fn leave(code: i32) -> ! {
    // SAFETY: always sound.
    unsafe { libc::_exit(code) }
}

/// Maps a file, and gives its first byte and the outcome of writing `byte` there if asked to.
pub(crate) fn map(
    fd: BorrowedFd<'_>,
    protection: i32,
    flags: i32,
    then: impl FnOnce(&Mapping) -> io::Result<()>,
) -> io::Result<()> {
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, fd.as_raw_fd(), 0) };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    then(&Mapping(at.cast()))
}

/// One page of a mapped file, until the process ends.
#[derive(Debug)]
pub(crate) struct Mapping(*mut u8);

impl Mapping {
    pub(crate) fn protect(&self, protection: i32) -> io::Result<()> {
        // SAFETY: the page is ours and nothing refers to it.
        match unsafe { libc::mprotect(self.0.cast(), 4096, protection) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The same by the newer call, with no key.
    pub(crate) fn protect_with_key(&self, protection: i32) -> io::Result<()> {
        let arguments = &mut [Arg::Num(self.0 as i64), 4096.into(), protection.into(), (-1).into()];
        call(libc::SYS_pkey_mprotect, arguments).map(drop)
    }

    /// The page must be writable, or this ends the process.
    pub(crate) fn write(&self, bytes: &[u8]) {
        // SAFETY: the page is mapped and longer than what attempts write.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.0, bytes.len().min(4096)) };
    }
}

/// ioctl(2) as a 32-bit program makes it, with a pointer to `value`. A kernel without such calls ends the process.
pub(crate) fn ioctl_32(fd: BorrowedFd<'_>, command: u32, value: u32) -> io::Result<()> {
    const MAP_32BIT: i32 = 0x40;
    const IOCTL: u64 = 54;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | MAP_32BIT;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the page is mapped, writable and aligned.
    unsafe { at.cast::<u32>().write(value) };
    let fd = fd.as_raw_fd() as u64;
    let mut result = IOCTL;
    // SAFETY: the pointer is to the page above, below 4 GiB; rbx, which the compiler keeps for itself, is put back.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {fd}",
            "int 0x80",
            "xchg rbx, {fd}",
            fd = inout(reg) fd => _,
            inout("rax") result,
            in("rcx") u64::from(command),
            in("rdx") at as u64,
            lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
    }
    let result = result as u32 as i32;
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(()) }
}

/// Moves a standard descriptor to where no program looks for it, closed on exec, and puts the null device there.
pub(crate) fn move_away(fd: i32) -> io::Result<OwnedFd> {
    let away = call_fd(libc::SYS_fcntl, &mut [fd.into(), libc::F_DUPFD_CLOEXEC.into(), 100.into()])?;
    let null = call_fd(
        libc::SYS_openat,
        &mut [libc::AT_FDCWD.into(), c"/dev/null".into(), (libc::O_RDWR | libc::O_CLOEXEC).into()],
    )?;
    call(libc::SYS_dup3, &mut [(&null).into(), fd.into(), 0.into()])?;
    Ok(away)
}

/// Lets a descriptor stay open when this process becomes another program.
pub(crate) fn keep_across_exec(fd: BorrowedFd<'_>) -> io::Result<()> {
    call(libc::SYS_fcntl, &mut [fd.into(), libc::F_SETFD.into(), 0.into()]).map(drop)
}

/// `struct sockaddr_in`.
pub(crate) fn v4(address: [u8; 4], port: u16) -> Vec<u8> {
    let mut bytes = vec![0; 16];
    bytes[..2].copy_from_slice(&2u16.to_ne_bytes());
    bytes[2..4].copy_from_slice(&port.to_be_bytes());
    bytes[4..8].copy_from_slice(&address);
    bytes
}

/// `struct sockaddr_in6`.
pub(crate) fn v6(address: [u8; 16], port: u16) -> Vec<u8> {
    let mut bytes = vec![0; 28];
    bytes[..2].copy_from_slice(&10u16.to_ne_bytes());
    bytes[2..4].copy_from_slice(&port.to_be_bytes());
    bytes[8..24].copy_from_slice(&address);
    bytes
}

/// Takes over a descriptor that the kernel put into this process.
pub(crate) fn adopt(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: callers pass what they just received and nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
