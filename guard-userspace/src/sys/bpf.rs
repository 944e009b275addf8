//! Parts of bpf(2): maps of kinds that aya does not know, values of any size, arrays of maps.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use zerocopy::{FromBytes, Immutable, IntoBytes};

const MAP_CREATE: libc::c_long = 0;
const PROG_LOAD: libc::c_long = 5;
const PROG_TEST_RUN: libc::c_long = 10;
const MAP_LOOKUP_ELEM: libc::c_long = 1;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const MAP_DELETE_ELEM: libc::c_long = 3;
const MAP_GET_NEXT_KEY: libc::c_long = 4;
const OBJ_PIN: libc::c_long = 6;
const OBJ_GET: libc::c_long = 7;
const MAP_GET_FD_BY_ID: libc::c_long = 14;
const BTF_GET_FD_BY_ID: libc::c_long = 19;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const LINK_CREATE: libc::c_long = 28;

/// `BPF_CGROUP_INET_EGRESS`.
pub(crate) const CGROUP_EGRESS: u32 = 1;
/// `BPF_CGROUP_INET_SOCK_CREATE`.
pub(crate) const CGROUP_SOCK_CREATE: u32 = 2;
/// `BPF_CGROUP_SYSCTL`.
pub(crate) const CGROUP_SYSCTL: u32 = 18;

/// One attribute union, as large as any command here needs; unused parts stay zero, which the kernel asks.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Attr([u8; 128]);

impl Attr {
    fn new() -> Self {
        Self([0; 128])
    }

    fn u32(mut self, at: usize, value: u32) -> Self {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn u64(mut self, at: usize, value: u64) -> Self {
        self.0[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn fd(self, at: usize, fd: BorrowedFd<'_>) -> Self {
        self.u32(at, fd.as_raw_fd().cast_unsigned())
    }

    fn address<T: ?Sized>(self, at: usize, value: *const T) -> Self {
        self.u64(at, value.cast::<u8>() as u64)
    }

    /// # Safety
    ///
    /// 1. Every address in the attribute points to memory that outlives the call.
    /// 2. Memory that the command writes is mutable and as long as the map or the length field says.
    unsafe fn call(&mut self, command: libc::c_long) -> io::Result<libc::c_long> {
        // SAFETY: the attribute is as long as said; the caller answers for the addresses in it.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_mut_ptr(), self.0.len()) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
    }
}

fn owned(fd: libc::c_long) -> OwnedFd {
    // SAFETY: bpf(2) just gave this descriptor to us alone.
    unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap_or(-1)) }
}

/// What the kernel says of a map.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct MapInfo {
    pub(crate) kind: u32,
    pub(crate) id: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
    pub(crate) name: [u8; 16],
    pub(crate) ifindex: u32,
    pub(crate) btf_vmlinux: u32,
    pub(crate) netns_dev: u64,
    pub(crate) netns_ino: u64,
    pub(crate) btf: u32,
    pub(crate) btf_key: u32,
    pub(crate) btf_value: u32,
    pub(crate) _pad: u32,
}

/// Facts about a map.
pub(crate) fn map_info(map: BorrowedFd<'_>) -> io::Result<MapInfo> {
    let mut bytes = [0u8; size_of::<MapInfo>()];
    let mut attr = Attr::new().fd(0, map).u32(4, bytes.len() as u32).address(8, bytes.as_mut_ptr());
    // SAFETY: `bytes` outlives the call and is as long as said.
    unsafe { attr.call(OBJ_GET_INFO_BY_FD)? };
    MapInfo::read_from_bytes(&bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

/// Makes a map like `template`: same sizes, flags and type information, without which older kernels do not
/// take it into an array of maps (`bpf_map_meta_equal`).
pub(crate) fn map_like(template: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let info = map_info(template)?;
    let btf = if info.btf == 0 {
        None
    } else {
        // SAFETY: takes an id, no address.
        Some(owned(unsafe { Attr::new().u32(0, info.btf).call(BTF_GET_FD_BY_ID)? }))
    };
    let mut attr = Attr::new()
        .u32(0, info.kind)
        .u32(4, info.key_size)
        .u32(8, info.value_size)
        .u32(12, info.max_entries)
        .u32(16, info.flags);
    if let Some(btf) = &btf {
        attr = attr.u32(48, btf.as_raw_fd().cast_unsigned()).u32(52, info.btf_key).u32(56, info.btf_value);
    }
    // SAFETY: no address in the attribute.
    Ok(owned(unsafe { attr.call(MAP_CREATE)? }))
}

/// Opens a map by its id.
pub(crate) fn map_by_id(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes an id, no address.
    Ok(owned(unsafe { Attr::new().u32(0, id).call(MAP_GET_FD_BY_ID)? }))
}

fn check(map: BorrowedFd<'_>, key: usize, value: Option<usize>) -> io::Result<()> {
    let info = map_info(map)?;
    let per_cpu = matches!(info.kind, 5 | 6 | 10);
    if info.key_size as usize != key
        || value.is_some_and(|value| !per_cpu && info.value_size as usize != value)
    {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "map has keys of {} and values of {} bytes, not {key} and {value:?}",
                info.key_size, info.value_size
            ),
        ));
    }
    Ok(())
}

/// Sets a value. Key and value must have the map's sizes.
pub(crate) fn update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    update_with(map, key, value, 0)
}

/// Sets a value unless there is one; false if there was.
pub(crate) fn insert(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<bool> {
    const NOEXIST: u64 = 1;
    match update_with(map, key, value, NOEXIST) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        Err(error) => Err(error),
    }
}

fn update_with(map: BorrowedFd<'_>, key: &[u8], value: &[u8], flags: u64) -> io::Result<()> {
    check(map, key.len(), Some(value.len()))?;
    let mut attr = Attr::new().fd(0, map).address(8, key.as_ptr()).address(16, value.as_ptr()).u64(24, flags);
    // SAFETY: key and value outlive the call and have the map's sizes.
    unsafe { attr.call(MAP_UPDATE_ELEM)? };
    Ok(())
}

/// Opens a process by its id, as a key of task storage.
pub(crate) fn process(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(owned(fd)) }
}

/// Puts a map as the value of an array of maps.
pub(crate) fn update_fd(map: BorrowedFd<'_>, key: u32, value: BorrowedFd<'_>) -> io::Result<()> {
    update(map, key.as_bytes(), value.as_raw_fd().as_bytes())
}

/// Reads a value into `value`; false if the key is not there.
pub(crate) fn lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
    check(map, key.len(), Some(value.len()))?;
    let mut attr = Attr::new().fd(0, map).address(8, key.as_ptr()).address(16, value.as_mut_ptr());
    // SAFETY: key and value outlive the call and have the map's sizes.
    match unsafe { attr.call(MAP_LOOKUP_ELEM) } {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a key; false if it was not there.
pub(crate) fn delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<bool> {
    check(map, key.len(), None)?;
    let mut attr = Attr::new().fd(0, map).address(8, key.as_ptr());
    // SAFETY: the key outlives the call and has the map's size.
    match unsafe { attr.call(MAP_DELETE_ELEM) } {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The key after `key`, or the first one.
pub(crate) fn next_key(map: BorrowedFd<'_>, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<bool> {
    check(map, next.len(), None)?;
    let mut attr = Attr::new().fd(0, map).address(16, next.as_mut_ptr());
    if let Some(key) = key {
        attr = attr.address(8, key.as_ptr());
    }
    // SAFETY: both keys outlive the call and have the map's size.
    match unsafe { attr.call(MAP_GET_NEXT_KEY) } {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

fn path_string(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Attaches a program to a cgroup. aya's link for it cannot be pinned.
pub(crate) fn link_cgroup(program: BorrowedFd<'_>, cgroup: BorrowedFd<'_>, kind: u32) -> io::Result<OwnedFd> {
    // SAFETY: no address in the attribute.
    Ok(owned(unsafe { Attr::new().fd(0, program).fd(4, cgroup).u32(8, kind).call(LINK_CREATE)? }))
}

/// Loads a program that is asked for by hand (`BPF_PROG_TYPE_SYSCALL`), runs it once, and lets it go. It reads and writes
/// `context`.
pub(crate) fn run(instructions: &[u64], context: &mut [u64]) -> io::Result<()> {
    const KIND: u32 = 31;
    const SLEEPABLE: u32 = 1 << 4;
    let count = u32::try_from(instructions.len()).map_err(io::Error::other)?;
    let mut attr = Attr::new()
        .u32(0, KIND)
        .u32(4, count)
        .address(8, instructions.as_ptr())
        .address(16, c"GPL".as_ptr())
        .u32(44, SLEEPABLE);
    // SAFETY: the instructions are as many as said and outlive the call, as the licence does.
    let program = owned(unsafe { attr.call(PROG_LOAD)? });
    let bytes = u32::try_from(size_of_val(context)).map_err(io::Error::other)?;
    let mut attr = Attr::new().fd(0, program.as_fd()).u32(40, bytes).address(48, context.as_mut_ptr());
    // SAFETY: the context is as long as said, mutable, and outlives the call.
    unsafe { attr.call(PROG_TEST_RUN)? };
    Ok(())
}

/// Pins a map, program or link.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = path_string(path)?;
    let mut attr = Attr::new().address(0, path.as_ptr()).fd(8, object);
    // SAFETY: the path outlives the call and ends in a NUL.
    unsafe { attr.call(OBJ_PIN)? };
    Ok(())
}

/// Opens a pinned map, program or link.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = path_string(path)?;
    let mut attr = Attr::new().address(0, path.as_ptr());
    // SAFETY: the path outlives the call and ends in a NUL.
    Ok(owned(unsafe { attr.call(OBJ_GET)? }))
}
